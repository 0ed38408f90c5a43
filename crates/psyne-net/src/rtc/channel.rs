//! A data channel as the application holds it.

use std::collections::VecDeque;
use std::sync::Arc;

use psyne_rtc::association::Reliability;
use psyne_rtc::{ChannelId, Open, Payload};
use tokio::sync::Notify;

use super::session::{Inner, State};
use crate::Error;

/// A data channel. Dropped, it is closed when what was sent has arrived; what was not received is
/// lost.
#[derive(Debug)]
pub struct Channel {
    session: Arc<Inner>,
    id: ChannelId,
    open: Open,
    readable: Arc<Notify>,
    writable: Arc<Notify>,
}

impl Channel {
    pub(super) fn new(session: Arc<Inner>, id: ChannelId) -> Self {
        let mut state = session.shared.state();
        let inbox = state.channels.entry(id).or_insert_with(Inbox::gone);
        let (readable, writable) = (Arc::clone(&inbox.readable), Arc::clone(&inbox.writable));
        let open = inbox.open.clone();
        drop(state);
        Self { session, id, open, readable, writable }
    }

    /// Label, subprotocol and delivery.
    #[must_use]
    pub const fn description(&self) -> &Open {
        &self.open
    }

    /// Sends a message. Waits while the channel has its share of what may wait to be sent. Safe to
    /// cancel: then nothing was sent.
    ///
    /// # Errors
    /// As [`Channel::try_send`], but for `Full`.
    pub async fn send(&self, payload: Payload) -> Result<(), Error> {
        loop {
            let mut writable = core::pin::pin!(self.writable.notified());
            writable.as_mut().enable();
            match self.try_send(payload.clone()) {
                Err(Error::Rtc(psyne_rtc::Error::Full)) => writable.await,
                done => return done,
            }
        }
    }

    /// Sends a message now.
    ///
    /// # Errors
    /// As [`psyne_rtc::Session::send`]: `Full`, `TooMuch`, `NotOpen`; [`Error::Session`] after the
    /// end.
    pub fn try_send(&self, payload: Payload) -> Result<(), Error> {
        self.session.shared.command(|state, now| match state.over {
            Some(reason) => Err(Error::Session(reason)),
            None => Ok(state.machine.send(now, self.id, payload)?),
        })
    }

    /// The next message; `None`: the channel is closed and all that came was taken. Safe to cancel.
    pub async fn recv(&self) -> Option<Payload> {
        loop {
            let mut readable = core::pin::pin!(self.readable.notified());
            readable.as_mut().enable();
            if let Some(payload) = self.try_recv() {
                return Some(payload);
            }
            if self.is_closed() {
                return None;
            }
            readable.await;
        }
    }

    /// The next message, if there is one.
    #[must_use]
    pub fn try_recv(&self) -> Option<Payload> {
        let shared = &self.session.shared;
        let (payload, released) = shared.state().take(self.id, shared.receive_bytes_max())?;
        if released {
            shared.mark();
        }
        Some(payload)
    }

    /// Whether it is over, for either side's sake. What came before may still be there.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.session.shared.state().channels.get(&self.id).is_none_or(|inbox| inbox.closed)
    }

    /// Bytes that wait to be sent or acknowledged.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.session.shared.state().machine.buffered_bytes(self.id)
    }

    /// Messages that were dropped here, the oldest first, because nobody took them in time. Always
    /// 0 for a reliable channel.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.session.shared.state().channels.get(&self.id).map_or(0, |inbox| inbox.dropped)
    }

    /// Closes it, and waits until all that was sent has arrived, or the session is over. What the
    /// other side still sends can be received.
    pub async fn close(&self) {
        self.session.shared.command(|state, now| state.machine.close_channel(now, self.id));
        loop {
            let mut readable = core::pin::pin!(self.readable.notified());
            readable.as_mut().enable();
            if self.is_closed() {
                return;
            }
            readable.await;
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        let shared = &self.session.shared;
        let max = shared.receive_bytes_max();
        shared.command(|state: &mut State, now| state.forget(now, self.id, max));
    }
}

/// What came for a channel and was not taken.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) open: Open,
    pub(super) opened: bool,
    pub(super) closed: bool,
    /// Nobody holds it any more.
    pub(super) forgotten: bool,
    pub(super) messages: VecDeque<Payload>,
    pub(super) dropped: u64,
    pub(super) readable: Arc<Notify>,
    pub(super) writable: Arc<Notify>,
}

impl Inbox {
    pub(super) fn new(open: Open) -> Self {
        Self {
            open,
            opened: false,
            closed: false,
            forgotten: false,
            messages: VecDeque::new(),
            dropped: 0,
            readable: Arc::default(),
            writable: Arc::default(),
        }
    }

    /// Of a channel that was over before anybody took it.
    fn gone() -> Self {
        Self { closed: true, ..Self::new(Open::default()) }
    }

    pub(super) fn is_reliable(&self) -> bool {
        self.open.delivery.reliability == Reliability::Reliable
    }

    /// Wakes all who wait for it.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.readable.notify_waiters();
        self.writable.notify_waiters();
    }
}
