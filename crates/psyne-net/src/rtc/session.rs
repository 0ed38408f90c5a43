//! A session as the application holds it, and what it shares with the driver.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use psyne_rtc::turn::ClientConfig;
use psyne_rtc::{ChannelEvent, ChannelId, Closed, Open, Payload, Time, Transmit};
use tokio::sync::Notify;

use super::Owner;
use super::bell::{Bell, Key};
use super::channel::{Channel, Inbox};
use crate::Error;

/// What a message that waits costs beside its bytes.
const MESSAGE_OVERHEAD_BYTES: usize = 64;

/// What happened to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Tell the other side this candidate, by signaling: [`Session::add_candidate`].
    Candidate(String),
    /// Datagrams go this way from now on. If nobody asks, only the last of these is kept.
    Path {
        /// Our address.
        local: SocketAddr,
        /// Theirs.
        remote: SocketAddr,
    },
    /// The path is lost: [`Session::restart`] finds another.
    PathLost,
    /// Channels can be used.
    Connected,
}

/// A session with one other side. Dropped with all its channels, it is closed.
#[derive(Clone, Debug)]
pub struct Session {
    inner: Arc<Inner>,
}

/// The application's share of a session, which ends with it.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) shared: Arc<Shared>,
    _owner: Arc<Owner>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.command(|state, now| state.machine.close(now));
    }
}

impl Session {
    pub(super) fn new(owner: Arc<Owner>, config: psyne_rtc::Config, seed: psyne_rtc::Seed) -> Self {
        let bell = Arc::clone(&owner.0.bell);
        let shared = Arc::new(Shared {
            key: bell.next_key(),
            origin: config.origin,
            receive_bytes_max: owner.0.config.receive_bytes_max,
            // It is handed over, which is its first turn.
            dirty: AtomicBool::new(true),
            changed: Notify::new(),
            state: Mutex::new(State::new(psyne_rtc::Session::new(config, Time::ZERO, seed))),
            bell,
        });
        let now = shared.now();
        let mut state = shared.state();
        for local in shared.bell.locals() {
            state.add_local(now, local);
        }
        drop(state);
        if !shared.bell.enter(Arc::clone(&shared)) {
            shared.abandon();
        }
        Self { inner: Arc::new(Inner { shared, _owner: owner }) }
    }

    /// Offers the session. What the other side answers goes to [`Session::accept`].
    ///
    /// # Errors
    /// As [`psyne_rtc::Session::offer`].
    pub fn offer(&self) -> Result<String, Error> {
        self.command(|state, now| state.machine.offer(now))
    }

    /// Answers an offer.
    ///
    /// # Errors
    /// As [`psyne_rtc::Session::answer`].
    pub fn answer(&self, offer: &str) -> Result<String, Error> {
        self.command(|state, now| state.machine.answer(now, offer))
    }

    /// Takes the answer to our offer.
    ///
    /// # Errors
    /// As [`psyne_rtc::Session::accept`].
    pub fn accept(&self, answer: &str) -> Result<(), Error> {
        self.command(|state, now| state.machine.accept(now, answer))
    }

    /// Offers the session anew, to find another path.
    ///
    /// # Errors
    /// As [`psyne_rtc::Session::restart`].
    pub fn restart(&self) -> Result<String, Error> {
        self.command(|state, now| state.machine.restart(now))
    }

    /// Takes a candidate of the other side's, after its description.
    ///
    /// # Errors
    /// As [`psyne_rtc::Session::add_remote`].
    pub fn add_candidate(&self, candidate: &str) -> Result<(), Error> {
        self.command(|state, now| state.machine.add_remote(now, candidate))
    }

    /// Asks a TURN server for an address at which we can be reached, and offers it as a candidate.
    /// The relay's `base` is one of [`Handle::local_addrs`](super::Handle::local_addrs), with an
    /// address of this machine in the place of a wildcard. A server lends once to a base (RFC 8656
    /// §5): of sessions that share a socket, one can use it.
    ///
    /// # Errors
    /// As [`psyne_rtc::Session::add_relay`].
    pub fn add_relay(&self, relay: ClientConfig) -> Result<(), Error> {
        self.command(|state, now| state.machine.add_relay(now, relay))
    }

    /// Opens a channel. Waits until the session is connected and the channel open. Safe to cancel:
    /// then it is closed.
    ///
    /// # Errors
    /// As [`psyne_rtc::Session::open`]; the session ends before.
    pub async fn open(&self, open: Open) -> Result<Channel, Error> {
        let id = self.command(|state, now| {
            let id = state.machine.open(now, open.clone())?;
            state.channels.insert(id, Inbox::new(open));
            Ok(id)
        })?;
        self.opened(id).await
    }

    /// The same on a stream that both sides know from elsewhere, as browsers' `negotiated`.
    ///
    /// # Errors
    /// As [`psyne_rtc::Session::open_negotiated`]; the session ends before.
    pub async fn open_negotiated(&self, open: Open, stream: u16) -> Result<Channel, Error> {
        let id = self.command(|state, now| {
            let id = state.machine.open_negotiated(now, open.clone(), stream)?;
            state.channels.insert(id, Inbox::new(open));
            Ok(id)
        })?;
        self.opened(id).await
    }

    async fn opened(&self, id: ChannelId) -> Result<Channel, Error> {
        let shared = &self.inner.shared;
        // From here on it is closed if nobody waits for it any more.
        let channel = Channel::new(Arc::clone(&self.inner), id);
        shared.until(|state| state.opened(id)).await.map(|()| channel)
    }

    /// The next channel that the other side opens; `None`: the session is over. Who leaves channels
    /// lying holds up the session when their messages have filled its receive buffer.
    pub async fn channel(&self) -> Option<Channel> {
        let taken = self.inner.shared.until(|state| match state.accepted.pop_front() {
            Some(id) => Some(Some(id)),
            None => state.over.map(|_| None),
        });
        Some(Channel::new(Arc::clone(&self.inner), taken.await?))
    }

    /// The next thing that happened; `None`: the session is over.
    pub async fn event(&self) -> Option<Event> {
        let shared = &self.inner.shared;
        let next = shared.until(|state| match state.events.pop_front() {
            Some(event) => Some(Some(event)),
            None => state.over.map(|_| None),
        });
        next.await
    }

    /// Waits until channels can be used.
    ///
    /// # Errors
    /// [`Error::Session`]: it ended before.
    pub async fn connected(&self) -> Result<(), Error> {
        let shared = &self.inner.shared;
        let known = shared.until(|state| match state.over {
            Some(reason) => Some(Err(Error::Session(reason))),
            None => state.connected.then_some(Ok(())),
        });
        known.await
    }

    /// Waits until the session is over, and says why.
    pub async fn closed(&self) -> Closed {
        self.inner.shared.until(|state| state.over).await
    }

    /// Why the session is over, if it is.
    #[must_use]
    pub fn over(&self) -> Option<Closed> {
        self.inner.shared.state().over
    }

    /// Ends the session and tells the other side. What was not sent is lost: close channels first,
    /// and wait for them.
    pub fn close(&self) {
        self.inner.shared.command(|state, now| state.machine.close(now));
    }

    /// What was counted so far.
    #[must_use]
    pub fn metrics(&self) -> psyne_rtc::Metrics {
        self.inner.shared.state().machine.metrics()
    }

    /// What was measured and counted below the channels.
    #[must_use]
    pub fn association_metrics(&self) -> psyne_rtc::association::Metrics {
        self.inner.shared.state().machine.association_metrics()
    }

    fn command<T>(
        &self,
        command: impl FnOnce(&mut State, Time) -> Result<T, psyne_rtc::Error>,
    ) -> Result<T, Error> {
        self.inner.shared.command(|state, now| match state.over {
            Some(reason) => Err(Error::Session(reason)),
            None => command(state, now).map_err(Error::from),
        })
    }
}

/// What the application and the driver share of a session.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) key: Key,
    origin: Instant,
    receive_bytes_max: usize,
    /// The driver knows that there is something to do.
    dirty: AtomicBool,
    /// Something happened that anybody but a channel may wait for.
    changed: Notify,
    state: Mutex<State>,
    bell: Arc<Bell>,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    /// Does something to the session, and has the driver see what comes of it.
    pub(super) fn command<T>(&self, command: impl FnOnce(&mut State, Time) -> T) -> T {
        let result = command(&mut self.state(), self.now());
        self.mark();
        result
    }

    /// The driver is to look at it.
    pub(super) fn mark(&self) {
        if self.mark_here() {
            self.bell.ring(self.key);
        }
    }

    /// The driver itself has something for it. Whether it did not know that already.
    pub(super) fn mark_here(&self) -> bool {
        !self.dirty.swap(true, Ordering::AcqRel)
    }

    /// The driver looks at it now.
    pub(super) fn unmark(&self) {
        self.dirty.store(false, Ordering::Release);
    }

    async fn until<T>(&self, mut known: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let mut changed = core::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(known) = known(&mut self.state()) {
                return known;
            }
            changed.await;
        }
    }

    /// Takes what the session wants: what is to be sent into `out` until that holds `max`, what
    /// happened to whom it concerns.
    pub(super) fn drain(&self, out: &mut Vec<Transmit>, max: usize) -> Drained {
        let mut state = self.state();
        let (mut changed, mut resolve) = (false, Vec::new());
        let (wait, more) = loop {
            if out.len() >= max {
                break (None, true);
            }
            match state.machine.poll_output() {
                psyne_rtc::Output::Transmit(transmit) => out.push(transmit),
                psyne_rtc::Output::Event(psyne_rtc::Event::Resolve(name)) => resolve.push(name),
                psyne_rtc::Output::Event(event) => {
                    changed |= state.note(event, self.receive_bytes_max);
                }
                psyne_rtc::Output::Wait(wait) => break (wait, false),
            }
        };
        let (over, ufrag) = (state.over.is_some() && !more, state.machine.ufrag().to_owned());
        let drained = Drained { wait, more, resolve, over, ufrag };
        drop(state);
        if changed {
            self.changed.notify_waiters();
        }
        drained
    }

    /// Nobody drives it any more.
    pub(super) fn abandon(&self) {
        self.state().note(psyne_rtc::Event::Closed(Closed::Local), 0);
        self.changed.notify_waiters();
    }
}

/// What came of draining a session.
pub(super) struct Drained {
    /// When it wants to be told the time.
    pub(super) wait: Option<Time>,
    /// There is more, for another turn.
    pub(super) more: bool,
    /// Names to look up by multicast DNS.
    pub(super) resolve: Vec<String>,
    /// It has ended, and said all.
    pub(super) over: bool,
    /// Its ICE name.
    pub(super) ufrag: String,
}

/// A session's machine, and what it said that nobody has heard yet.
#[derive(Debug)]
pub(super) struct State {
    pub(super) machine: psyne_rtc::Session,
    pub(super) channels: BTreeMap<ChannelId, Inbox>,
    /// Channels that the other side opened and nobody has taken: `channels_max` at most.
    accepted: VecDeque<ChannelId>,
    /// Candidates, as many as `local_candidates_max`, and two more.
    events: VecDeque<Event>,
    pub(super) over: Option<Closed>,
    connected: bool,
    /// Bytes of messages that wait for the application.
    waiting_bytes: usize,
    held: bool,
}

impl State {
    fn new(machine: psyne_rtc::Session) -> Self {
        Self {
            machine,
            channels: BTreeMap::new(),
            accepted: VecDeque::new(),
            events: VecDeque::new(),
            over: None,
            connected: false,
            waiting_bytes: 0,
            held: false,
        }
    }

    /// An address that is of no use to this session, or one too many, is none.
    pub(super) fn add_local(&mut self, now: Time, local: psyne_rtc::Local) {
        let _ = self.machine.add_local(now, local);
    }

    /// Whether it is known what became of a channel that we opened.
    fn opened(&self, id: ChannelId) -> Option<Result<(), Error>> {
        match (self.channels.get(&id), self.over) {
            (_, Some(reason)) => Some(Err(Error::Session(reason))),
            (Some(inbox), None) if inbox.closed => Some(Err(psyne_rtc::Error::NotOpen.into())),
            (Some(inbox), None) => inbox.opened.then_some(Ok(())),
            (None, None) => Some(Err(psyne_rtc::Error::NotOpen.into())),
        }
    }

    /// Whether somebody but a channel may have waited for it.
    fn note(&mut self, event: psyne_rtc::Event, receive_bytes_max: usize) -> bool {
        match event {
            psyne_rtc::Event::Candidate(text) => self.events.push_back(Event::Candidate(text)),
            psyne_rtc::Event::Path { local, remote } => {
                self.note_path(Event::Path { local, remote });
            }
            psyne_rtc::Event::PathLost => self.note_path(Event::PathLost),
            psyne_rtc::Event::Connected => {
                self.connected = true;
                self.events.push_back(Event::Connected);
            }
            psyne_rtc::Event::Closed(reason) => {
                self.over = Some(reason);
                self.channels.values_mut().for_each(Inbox::close);
            }
            psyne_rtc::Event::Channel(event) => return self.note_channel(event, receive_bytes_max),
            _ => return false,
        }
        true
    }

    /// Who does not listen wants to know the last, not all.
    fn note_path(&mut self, event: Event) {
        self.events.retain(|old| !matches!(old, Event::Path { .. } | Event::PathLost));
        self.events.push_back(event);
    }

    fn note_channel(&mut self, event: ChannelEvent, receive_bytes_max: usize) -> bool {
        match event {
            ChannelEvent::Opened { channel, open } => {
                let accepted = &mut self.accepted;
                let inbox = self.channels.entry(channel).or_insert_with(|| {
                    accepted.push_back(channel);
                    Inbox::new(open)
                });
                inbox.opened = true;
            }
            ChannelEvent::Message { channel, payload } => {
                self.note_message(channel, payload, receive_bytes_max);
                return false;
            }
            ChannelEvent::Drained { channel } => {
                if let Some(inbox) = self.channels.get(&channel) {
                    inbox.writable.notify_waiters();
                }
                return false;
            }
            ChannelEvent::Closed { channel } => self.note_end(channel),
        }
        true
    }

    /// What nobody holds, and nobody can make use of, is forgotten: else a peer could have us
    /// remember all that it ever opened.
    fn note_end(&mut self, id: ChannelId) {
        let Some(inbox) = self.channels.get_mut(&id) else { return };
        inbox.close();
        let waiting = self.accepted.iter().position(|accepted| *accepted == id);
        if inbox.forgotten || waiting.is_some() && inbox.messages.is_empty() {
            self.channels.remove(&id);
            waiting.map(|at| self.accepted.remove(at));
        }
    }

    fn note_message(&mut self, channel: ChannelId, payload: Payload, receive_bytes_max: usize) {
        let inbox = self.channels.get_mut(&channel).filter(|inbox| !inbox.forgotten);
        let Some(inbox) = inbox else { return };
        self.waiting_bytes += cost(&payload);
        inbox.messages.push_back(payload);
        inbox.readable.notify_waiters();
        if !inbox.is_reliable() {
            while self.waiting_bytes > receive_bytes_max {
                let Some(oldest) = inbox.messages.pop_front() else { break };
                self.waiting_bytes -= cost(&oldest);
                inbox.dropped += 1;
            }
        }
        if self.waiting_bytes >= receive_bytes_max && !self.held {
            self.held = true;
            self.machine.hold_messages(true);
        }
    }

    /// Takes a channel's next message. With it, whether the driver must look at the session.
    pub(super) fn take(&mut self, id: ChannelId, max: usize) -> Option<(Payload, bool)> {
        let payload = self.channels.get_mut(&id)?.messages.pop_front()?;
        self.waiting_bytes -= cost(&payload);
        Some((payload, self.release(max)))
    }

    /// Lets messages come again when half of what may wait is gone: to hold and release with each
    /// would make the other side's window flutter.
    fn release(&mut self, max: usize) -> bool {
        let release = self.held && self.waiting_bytes <= max / 2;
        if release {
            self.held = false;
            self.machine.hold_messages(false);
        }
        release
    }

    /// Nobody holds the channel any more: what it has is thrown away, and when it is over, it is.
    pub(super) fn forget(&mut self, now: Time, id: ChannelId, max: usize) {
        self.machine.close_channel(now, id);
        let Some(inbox) = self.channels.get_mut(&id) else { return };
        self.waiting_bytes -= inbox.messages.drain(..).map(|old| cost(&old)).sum::<usize>();
        inbox.forgotten = true;
        if inbox.closed {
            self.channels.remove(&id);
        }
        self.release(max);
    }
}

impl Shared {
    pub(super) const fn receive_bytes_max(&self) -> usize {
        self.receive_bytes_max
    }
}

fn cost(payload: &Payload) -> usize {
    MESSAGE_OVERHEAD_BYTES
        + match payload {
            Payload::Text(text) => text.len(),
            Payload::Binary(bytes) => bytes.len(),
        }
}
