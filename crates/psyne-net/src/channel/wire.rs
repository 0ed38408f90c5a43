//! The driver's half of a channel: all that a transport sees of it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::watch;

use super::queue::Queue;
use super::{Channel, Gauge, Message, Options, Path, Reason};
use crate::Error;

/// What has to run for a channel or a listener to live: spawn it where you like. It ends when the
/// channel does; dropped before, it ends the channel with `Lost`.
#[must_use = "a channel lives as long as its driver runs: spawn it"]
pub struct Driver(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Driver {
    /// A driver that runs this.
    pub fn new(run: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Box::pin(run))
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Driver")
    }
}

/// How far a channel is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Opening,
    Open,
    Ended(Error),
}

/// What both halves of a channel see.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) outgoing: Queue,
    pub(super) incoming: Queue,
    pub(super) gauge: Gauge,
    pub(super) phase: watch::Sender<Phase>,
    /// Longest message that the peer takes.
    pub(super) peer_bytes_max: AtomicUsize,
    /// With what our side closed.
    pub(super) asked: Mutex<Option<Reason>>,
}

impl Shared {
    /// Our side closes: what waits is still sent. The first reason counts.
    pub(super) fn close(&self, reason: Reason) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.get_or_insert(reason);
        drop(asked);
        self.outgoing.close();
    }

    pub(super) fn asked(&self) -> Option<Reason> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn end(&self, why: Error) {
        let first = self.phase.send_if_modified(|phase| {
            let first = !matches!(phase, Phase::Ended(_));
            if first {
                *phase = Phase::Ended(why);
            }
            first
        });
        if first {
            self.outgoing.abandon();
            self.incoming.close();
        }
    }
}

/// Opens a channel by any transport: the user's half, and the half on which its driver is written.
///
/// A driver is one future that owns the [`Wire`]:
///
/// ```
/// # use psyne_net::channel::{self, Driver, Message, Options, Path, Reason};
/// # use psyne_net::{Error, uri::Scheme};
/// # async fn connect() -> Result<tokio::sync::mpsc::Receiver<Message>, Error> { Err(Error::Full) }
/// let (channel, wire) = channel::pair(&Options::default())?;
/// let driver = Driver::new(async move {
///     let mut line = match connect().await {
///         Ok(line) => line,
///         Err(error) => return wire.end(error),       // `ready`, `send`, `recv` say it
///     };
///     wire.open(65_536, Path::direct(Scheme::P2p, "here", "there"));
///     loop {
///         tokio::select! {
///             next = wire.next() => match next {
///                 Ok(message) => { /* send it; while that waits, so do senders */ }
///                 Err(reason) => { /* say goodbye */ return wire.closed_by_us(reason) }
///             },
///             Some(message) = line.recv(), if wire.has_room() => { wire.put(message); }
///             () = wire.room(), if !wire.has_room() => {} // not reading is the back pressure
///         }
///     }
/// });
/// # Ok::<(), Error>(())
/// ```
///
/// All methods take `&self`, so that two halves of one future may read and write at a time. But
/// only one may call [`Wire::next`], and only one [`Wire::room`] and [`Wire::put`].
///
/// # Errors
/// `Options`.
pub fn pair(options: &Options) -> Result<(Channel, Wire), Error> {
    options.check()?;
    let queue = || Queue::new(options.queue_messages_max, options.queue_bytes_max);
    let shared = Arc::new(Shared {
        options: options.clone(),
        outgoing: queue(),
        incoming: queue(),
        gauge: Gauge::new(),
        phase: watch::Sender::new(Phase::Opening),
        peer_bytes_max: AtomicUsize::new(0),
        asked: Mutex::new(None),
    });
    Ok((Channel::new(shared.clone()), Wire { shared }))
}

/// The driver's half of a channel. Dropped without [`Wire::end`], it ends the channel with `Lost`.
#[derive(Debug)]
pub struct Wire {
    shared: Arc<Shared>,
}

impl Wire {
    /// With what the channel was opened.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// Where to write what is measured.
    #[must_use]
    pub fn gauge(&self) -> &Gauge {
        &self.shared.gauge
    }

    /// The peer was reached, and takes messages of so many bytes: `ready` returns, messages come
    /// from [`Wire::next`].
    pub fn open(&self, peer_bytes_max: usize, path: Path) {
        self.shared.peer_bytes_max.store(peer_bytes_max, Ordering::Relaxed);
        self.shared.gauge.set_path(path);
        self.shared.phase.send_if_modified(|phase| {
            let opens = *phase == Phase::Opening;
            if opens {
                *phase = Phase::Open;
            }
            opens
        });
    }

    /// The next message to send. Safe to cancel.
    ///
    /// # Errors
    /// Our side closed, and everything that it sent was handed over: say goodbye with this reason
    /// and end. Said again each time.
    pub async fn next(&self) -> Result<Message, Reason> {
        loop {
            // Asked before looking: what was sent before closing is still there then.
            let is_closed = self.shared.outgoing.is_closed();
            if let Some(message) = self.try_next() {
                return Ok(message);
            }
            if is_closed {
                return Err(self.shared.asked().unwrap_or_else(Reason::normal));
            }
            self.shared.outgoing.filled.notified().await;
        }
    }

    /// The next message to send, if there is one: to fill a packet or a system call.
    #[must_use]
    pub fn try_next(&self) -> Option<Message> {
        let message = self.shared.outgoing.pop()?;
        self.shared.gauge.sent(message.len());
        Some(message)
    }

    /// Our side closed, with this; messages may still wait.
    #[must_use]
    pub fn is_closing(&self) -> Option<Reason> {
        self.shared.asked()
    }

    /// Whether a message that came has room.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.shared.incoming.has_room()
    }

    /// Waits until a message that came has room. Safe to cancel.
    pub async fn room(&self) {
        while !self.has_room() {
            self.shared.incoming.emptied.notified().await;
        }
    }

    /// Hands in a message that came. Without room it is dropped and counted, which is what an
    /// unreliable transport wants; a reliable one waits for [`Wire::room`] before.
    pub fn put(&self, message: Message) -> bool {
        // Counted before, so that who has received it finds it counted.
        self.shared.gauge.received(message.len());
        let fits = self.shared.incoming.push(message).is_ok();
        if !fits {
            self.shared.gauge.dropped_received();
        }
        fits
    }

    /// The channel is over: what came before can still be received, then everything says this.
    pub fn end(self, why: Error) {
        self.shared.end(why);
    }

    /// The channel is over, as our side asked.
    pub fn closed_by_us(self, reason: Reason) {
        self.end(Error::Closed { by_peer: false, reason });
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.end(Error::Lost { why: "its driver was dropped".to_owned() });
    }
}
