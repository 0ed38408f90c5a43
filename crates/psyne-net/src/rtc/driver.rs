//! The loop around sessions: sockets, timers, and what handles want.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use psyne_rtc::{Time, Transmit};

use super::bell::Key;
use super::routes::Routes;
use super::{Shared, session};
use crate::socket::{Buffer, Socket};

/// Datagrams of one session that leave in its turn: some 300 KiB, as much as a run of four system
/// calls carries. Then others have theirs.
const TURN_DATAGRAMS_MAX: usize = 256;

/// Between two looks at this machine's addresses: a cable plugged in is a path soon.
const GATHER_EVERY: Duration = Duration::from_secs(5);

/// What was counted over all sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Sessions that are not over.
    pub sessions: u64,
    /// Datagrams that came.
    pub datagrams_in: u64,
    /// Datagrams that were sent.
    pub datagrams_out: u64,
    /// Datagrams that came and were no session's: strangers', or too late.
    pub datagrams_unknown: u64,
    /// Datagrams that the operating system did not take, or that were to leave from an address
    /// that no socket has.
    pub datagrams_refused: u64,
}

/// Carries the datagrams of all sessions. Dropped before nobody holds a handle, a session or a
/// channel any more, it ends all sessions.
pub(super) struct Engine {
    shared: Arc<Shared>,
    sockets: Vec<Socket>,
    buffer: Buffer,
    scratch: Vec<u8>,
    /// What one session sends in its turn.
    out: Vec<Transmit>,
    gather_at: Instant,
    table: Table,
}

impl Engine {
    pub(super) fn new(shared: Arc<Shared>, sockets: Vec<Socket>) -> Self {
        Self {
            sockets,
            buffer: Buffer::default(),
            scratch: Vec::new(),
            out: Vec::new(),
            gather_at: Instant::now() + GATHER_EVERY,
            table: Table { origin: shared.config.session.origin, ..Table::new() },
            shared,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            if self.gather_at <= Instant::now() {
                self.gather_at = Instant::now() + GATHER_EVERY;
                self.shared.gather();
            }
            let left = self.take_notes();
            self.table.fire();
            self.take_turns().await;
            self.shared.bell.set_metrics(self.table.metrics());
            if left && self.table.sessions.is_empty() {
                return;
            }
            if self.table.dirty.is_empty() {
                self.wait().await;
            } else {
                tokio::task::yield_now().await;
            }
            self.receive();
        }
    }

    /// Whether nobody holds a handle any more.
    fn take_notes(&mut self) -> bool {
        let notes = self.shared.bell.notes();
        for session in notes.new {
            self.table.enter(session);
        }
        for local in notes.locals {
            self.table.each(|state, now| state.add_local(now, local));
        }
        self.table.dirty.extend(notes.dirty);
        notes.left
    }

    /// Each session that has something to say says it, once.
    async fn take_turns(&mut self) {
        for _ in 0..self.table.dirty.len() {
            let Some(key) = self.table.dirty.pop_front() else { return };
            self.out.clear();
            if self.table.take_turn(key, &mut self.out) {
                self.shared.end_session();
            }
            for together in self.out.chunk_by(|one, next| one.from == next.from) {
                let Some(first) = together.first() else { continue };
                let socket = self.sockets.iter().find(|socket| socket.sends_from(first.from));
                let refused = match socket {
                    Some(socket) => socket.send(together, &mut self.scratch).await,
                    None => together.len(),
                };
                let metrics = &mut self.table.metrics;
                metrics.datagrams_refused += refused as u64;
                metrics.datagrams_out += (together.len() - refused) as u64;
            }
        }
    }

    /// Until something comes, a timer is due, or somebody rings.
    async fn wait(&mut self) {
        let readable = poll_fn(|context| {
            // All are asked, so that each wakes us.
            let ready = |socket: &Socket| socket.poll_readable(context).is_ready();
            let count = self.sockets.iter().map(ready).filter(|ready| *ready).count();
            if count > 0 { Poll::Ready(()) } else { Poll::Pending }
        });
        let timer = self.table.timers.first().map(|(time, _)| self.table.instant(*time));
        let due = timer.map_or(self.gather_at, |timer| timer.min(self.gather_at));
        tokio::select! {
            () = readable => {}
            () = self.shared.bell.rings() => {}
            () = tokio::time::sleep_until(due.into()) => {}
        }
    }

    fn receive(&mut self) {
        let Self { sockets, buffer, table, .. } = self;
        for socket in sockets {
            socket.receive(buffer, |local, remote, datagram| {
                table.handle_datagram((local, remote), datagram);
            });
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let unseen = self.shared.bell.end();
        for session in self.table.sessions.values().map(|entry| &entry.session).chain(&unseen) {
            session.abandon();
        }
    }
}

struct Entry {
    session: Arc<session::Shared>,
    wait: Option<Time>,
}

/// All sessions, and what is known of each.
struct Table {
    origin: Instant,
    sessions: HashMap<Key, Entry>,
    routes: Routes,
    timers: BTreeSet<(Time, Key)>,
    /// Whose turn it is: each session at most once.
    dirty: VecDeque<Key>,
    metrics: Metrics,
}

impl Table {
    fn new() -> Self {
        Self {
            origin: Instant::now(),
            sessions: HashMap::new(),
            routes: Routes::default(),
            timers: BTreeSet::new(),
            dirty: VecDeque::new(),
            metrics: Metrics::default(),
        }
    }

    fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    fn instant(&self, time: Time) -> Instant {
        let since = time.since(Time::ZERO);
        // One that no `Instant` can name never comes.
        self.origin.checked_add(since).unwrap_or_else(|| Instant::now() + GATHER_EVERY)
    }

    fn metrics(&self) -> Metrics {
        Metrics { sessions: self.sessions.len() as u64, ..self.metrics }
    }

    fn enter(&mut self, session: Arc<session::Shared>) {
        let key = session.key;
        self.sessions.insert(key, Entry { session, wait: None });
        self.dirty.push_back(key);
    }

    fn each(&mut self, mut command: impl FnMut(&mut session::State, Time)) {
        let now = self.now();
        for (key, entry) in &self.sessions {
            command(&mut entry.session.state(), now);
            if entry.session.mark_here() {
                self.dirty.push_back(*key);
            }
        }
    }

    /// Tells those the time who asked for it.
    fn fire(&mut self) {
        let now = self.now();
        while let Some((time, key)) = self.timers.first().copied().filter(|(time, _)| *time <= now)
        {
            self.timers.remove(&(time, key));
            let Some(entry) = self.sessions.get_mut(&key) else { continue };
            entry.wait = None;
            entry.session.state().machine.handle_timeout(now);
            if entry.session.mark_here() {
                self.dirty.push_back(key);
            }
        }
    }

    fn handle_datagram(&mut self, way: (SocketAddr, SocketAddr), datagram: &[u8]) {
        self.metrics.datagrams_in += 1;
        let now = self.now();
        let key = self.routes.find(now, way, datagram);
        let Some((key, entry)) = key.and_then(|key| Some((key, self.sessions.get(&key)?))) else {
            self.metrics.datagrams_unknown += 1;
            return;
        };
        let (local, remote) = way;
        if entry.session.state().machine.handle_datagram(now, local, remote, datagram) {
            self.routes.note_proved(now, key, way);
        }
        if entry.session.mark_here() {
            self.dirty.push_back(key);
        }
    }

    /// What a session has to say goes to `out` and to whom it concerns. Whether it is over now.
    fn take_turn(&mut self, key: Key, out: &mut Vec<Transmit>) -> bool {
        let now = self.now();
        let Some(entry) = self.sessions.get_mut(&key) else { return false };
        // Before it is drained: what comes after is another turn's.
        entry.session.unmark();
        let drained = entry.session.drain(out, TURN_DATAGRAMS_MAX);
        for name in &drained.resolve {
            entry.session.command(|state, now| state.machine.resolved(now, name, None));
        }
        if drained.more && entry.session.mark_here() {
            self.dirty.push_back(key);
        }
        if entry.wait != drained.wait {
            entry.wait.map(|old| self.timers.remove(&(old, key)));
            drained.wait.map(|new| self.timers.insert((new, key)));
            entry.wait = drained.wait;
        }
        for transmit in out.iter() {
            self.routes.note_sent(now, key, &transmit.data);
        }
        if drained.over {
            self.sessions.remove(&key);
            self.routes.forget(key);
            drained.wait.map(|time| self.timers.remove(&(time, key)));
        } else {
            self.routes.name(key, &drained.ufrag);
        }
        drained.over
    }
}
