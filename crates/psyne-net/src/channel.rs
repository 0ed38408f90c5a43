//! One channel for all transports: messages to one peer and back.

mod listener;
mod message;
mod metrics;
mod options;
mod queue;
mod wire;

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::BytesMut;

use crate::Error;
pub use listener::{Acceptor, Listener, listener};
pub use message::{Kind, Message, Reason};
pub use metrics::{Gauge, Metrics, Path};
pub use options::{BackPressure, Delivery, Keepalive, Options, Reliability};
pub use wire::{Driver, Wire, pair};
use wire::{Phase, Shared};

/// A channel to a peer. It lives as long as its [`Driver`] runs. Dropped, it is closed with
/// [`Reason::NORMAL`]; what was sent before is still delivered.
#[derive(Debug)]
pub struct Channel {
    sender: Sender,
    receiver: Receiver,
}

impl Channel {
    fn new(shared: Arc<Shared>) -> Self {
        let handle = Arc::new(Handle(shared));
        let receiver = Receiver { handle: handle.clone() };
        Self { sender: Sender { handle }, receiver }
    }

    /// Waits until the peer is reached.
    ///
    /// # Errors
    /// Why it could not be: `Connect`, `Handshake`, `TimedOut`, `Closed`, `Lost`.
    pub async fn ready(&self) -> Result<(), Error> {
        self.sender.handle.opened().await
    }

    /// As [`Sender::send`].
    ///
    /// # Errors
    /// The same.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        self.sender.send(message).await
    }

    /// As [`Sender::try_send`].
    ///
    /// # Errors
    /// The same.
    pub fn try_send(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        self.sender.try_send(message)
    }

    /// As [`Sender::loan`].
    ///
    /// # Errors
    /// The same.
    pub async fn loan(&mut self, bytes: usize) -> Result<Loan<'_>, Error> {
        self.sender.loan(bytes).await
    }

    /// As [`Receiver::recv`].
    ///
    /// # Errors
    /// The same.
    pub async fn recv(&mut self) -> Result<Message, Error> {
        self.receiver.recv().await
    }

    /// As [`Receiver::try_recv`].
    ///
    /// # Errors
    /// The same.
    pub fn try_recv(&mut self) -> Result<Option<Message>, Error> {
        self.receiver.try_recv()
    }

    /// As [`Sender::close`].
    pub fn close(&self, reason: Reason) {
        self.sender.close(reason);
    }

    /// Waits until the channel is over, and says why.
    pub async fn closed(&self) -> Error {
        self.sender.closed().await
    }

    /// How it is doing.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.sender.metrics()
    }

    /// Its two directions, for two tasks. The channel is closed when both are dropped.
    #[must_use]
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }
}

/// The user's side of what both halves see. The last one dropped closes the channel.
#[derive(Debug)]
struct Handle(Arc<Shared>);

impl Handle {
    async fn opened(&self) -> Result<(), Error> {
        if let Some(known) = self.phase() {
            return known;
        }
        let mut phase = self.0.phase.subscribe();
        let known = phase.wait_for(|phase| *phase != Phase::Opening).await;
        drop(known);
        self.phase().unwrap_or(Ok(()))
    }

    /// Whether it is open, or why it is no more; none while that is not known.
    fn phase(&self) -> Option<Result<(), Error>> {
        match &*self.0.phase.borrow() {
            Phase::Opening => None,
            Phase::Open => Some(Ok(())),
            Phase::Ended(why) => Some(Err(why.clone())),
        }
    }

    fn ended(&self) -> Option<Error> {
        self.phase()?.err()
    }

    async fn closed(&self) -> Error {
        let mut phase = self.0.phase.subscribe();
        drop(phase.wait_for(|phase| matches!(phase, Phase::Ended(_))).await);
        self.ended().unwrap_or(Error::Lost { why: "its driver was dropped".to_owned() })
    }

    fn metrics(&self) -> Metrics {
        self.0.gauge.read(self.0.outgoing.len())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close(Reason::normal());
    }
}

/// The direction away from this side.
#[derive(Debug)]
pub struct Sender {
    handle: Arc<Handle>,
}

impl Sender {
    /// Sends a message: waits until the channel is open, then puts it into the queue to the
    /// driver, which [`Options::back_pressure`] rules. Safe to cancel: then nothing was sent.
    ///
    /// # Errors
    /// `TooLong`; `Full`, `TimedOut` as the back pressure says; why the channel is over.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        let message = message.into();
        self.handle.opened().await?;
        let BackPressure::Block { timeout } = self.handle.0.options.back_pressure else {
            return self.try_send(message);
        };
        match timeout {
            None => self.wait(message).await,
            Some(limit) => {
                let waiting = tokio::time::timeout(limit, self.wait(message));
                waiting.await.unwrap_or(Err(Error::TimedOut))
            }
        }
    }

    async fn wait(&mut self, message: Message) -> Result<(), Error> {
        loop {
            // A message's bytes are shared: this copies none.
            match self.try_send(message.clone()) {
                Err(Error::Full) => self.handle.0.outgoing.emptied.notified().await,
                done => return done,
            }
        }
    }

    /// Sends a message without waiting. Before the channel is open there is no room.
    ///
    /// # Errors
    /// `TooLong`; `Full`, if back pressure is to wait or to refuse; why the channel is over.
    pub fn try_send(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        let (message, shared) = (message.into(), &self.handle.0);
        self.handle.phase().unwrap_or(Err(Error::Full))?;
        if let Some(reason) = shared.asked() {
            return Err(Error::Closed { by_peer: false, reason });
        }
        let bytes_max = self.message_bytes_max();
        if message.len() > bytes_max {
            return Err(Error::TooLong { bytes: message.len(), bytes_max });
        }
        match shared.options.back_pressure {
            BackPressure::DropOldest => {
                shared.gauge.dropped_sent(shared.outgoing.push_over(message));
            }
            BackPressure::DropNewest => {
                let dropped = shared.outgoing.push(message).is_err();
                shared.gauge.dropped_sent(u64::from(dropped));
            }
            BackPressure::Block { .. } | BackPressure::Refuse => {
                return shared.outgoing.push(message).map_err(|_| Error::Full);
            }
        }
        Ok(())
    }

    /// Lends room for a message of `bytes` bytes, zeros at first, which [`Loan::commit`] sends
    /// without copying it again.
    ///
    /// # Errors
    /// `TooLong`; why the channel is over.
    pub async fn loan(&mut self, bytes: usize) -> Result<Loan<'_>, Error> {
        self.handle.opened().await?;
        let bytes_max = self.message_bytes_max();
        if bytes > bytes_max {
            return Err(Error::TooLong { bytes, bytes_max });
        }
        Ok(Loan { sender: self, data: BytesMut::zeroed(bytes) })
    }

    /// Longest message that the peer takes; 0 before the channel is open.
    #[must_use]
    pub fn message_bytes_max(&self) -> usize {
        self.handle.0.peer_bytes_max.load(Ordering::Relaxed)
    }

    /// Closes both directions. What was sent is delivered first, and the peer is told the reason.
    /// What the peer still sends is thrown away; what came before can be received.
    pub fn close(&self, reason: Reason) {
        self.handle.0.close(reason);
    }

    /// Waits until the channel is over, and says why. After [`Sender::close`]: until what was sent
    /// is with the peer, as far as the transport can tell.
    pub async fn closed(&self) -> Error {
        self.handle.closed().await
    }

    /// How it is doing.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.handle.metrics()
    }
}

/// The direction towards this side.
#[derive(Debug)]
pub struct Receiver {
    handle: Arc<Handle>,
}

impl Receiver {
    /// The next message. Safe to cancel.
    ///
    /// # Errors
    /// Why the channel is over, after everything that came before was received.
    pub async fn recv(&mut self) -> Result<Message, Error> {
        loop {
            if let Some(message) = self.try_recv()? {
                return Ok(message);
            }
            self.handle.0.incoming.filled.notified().await;
        }
    }

    /// The next message, if one is there.
    ///
    /// # Errors
    /// As [`Receiver::recv`].
    pub fn try_recv(&mut self) -> Result<Option<Message>, Error> {
        // Asked before looking: what came before the end is there then.
        let ended = self.handle.ended();
        match (self.handle.0.incoming.pop(), ended) {
            (None, Some(why)) => Err(why),
            (message, _) => Ok(message),
        }
    }

    /// Waits until the channel is over, and says why.
    pub async fn closed(&self) -> Error {
        self.handle.closed().await
    }

    /// How it is doing.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.handle.metrics()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.handle.0.incoming.abandon();
    }
}

/// Room for a message that is being written. Dropped without [`commit`](Self::commit), nothing was
/// sent.
#[derive(Debug)]
pub struct Loan<'a> {
    sender: &'a mut Sender,
    data: BytesMut,
}

impl Loan<'_> {
    /// Sends it, as binary.
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub async fn commit(self) -> Result<(), Error> {
        self.sender.send(self.data.freeze()).await
    }
}

impl Deref for Loan<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.data
    }
}

impl DerefMut for Loan<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }
}
