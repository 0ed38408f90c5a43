//! One thread of the engine: its sockets, and the loop that serves them.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustls::ServerConfig;
use slab::Slab;
use tokio::sync::mpsc;

use super::conn::{Conn, Http, Phase, Role, Wire};
use super::deliver::Delivery;
use super::feed::Following;
use super::listener::Listener;
use super::mailbox::{Command, Mailbox};
use super::metrics::{Counters, add, sub};
use super::ring::Ring;
use super::tls::Tls;
use super::waiters::Waiters;
use super::{Config, Handover, Link, Media};

pub(super) const WAKER: Token = Token(usize::MAX);
/// Tokens from here down to `WAKER` are listeners, below are connections.
const LISTENERS: usize = usize::MAX / 2;
/// One read takes at most this much; requests and RTMP control messages are far smaller.
const SCRATCH_BYTES: usize = 64 << 10;
const EVENTS: usize = 1_024;
/// Timeouts are in seconds, so a connection is looked at this often is enough.
const SWEEP_EVERY: Duration = Duration::from_millis(100);
/// A whole table is swept in this many steps, so that no step is long.
const SWEEP_STEPS: usize = 10;
/// Connections taken before other sockets get their turn.
const ACCEPTS_MAX: usize = 256;
/// What a connection may use up before other sockets get their turn; see `Shard::spend`.
const TURN: u32 = 64;
/// Bytes sent that weigh as much as one request.
const TURN_BYTES: usize = 32 << 10;

/// What all shards of an engine have in common.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) media: Arc<dyn Media>,
    pub(super) mailboxes: Arc<[Mailbox]>,
    pub(super) counters: Arc<[Counters]>,
    pub(super) handovers: mpsc::Sender<Handover>,
}

/// One thread's worth of the engine.
pub(super) struct Shard {
    pub(super) index: usize,
    poll: Poll,
    pub(super) shared: Arc<Shared>,
    listeners: Vec<(mio::net::TcpListener, Option<Arc<ServerConfig>>)>,
    pub(super) conns: Slab<Conn>,
    pub(super) following: HashMap<u64, Following>,
    pub(super) waiters: Waiters,
    pub(super) waits: u32,
    pub(super) deliveries: VecDeque<Delivery>,
    /// What is left of the turn of the connection that is being served.
    pub(super) turn: u32,
    /// Connections that have used their turn up, with more to do. At most one entry each.
    postponed: Vec<u32>,
    pub(super) scratch: Vec<u8>,
    pub(super) head: Vec<u8>,
    pub(super) now: Instant,
    date: (u64, String),
    swept: usize,
    sweep_at: Instant,
}

impl Shard {
    pub(super) fn new(
        index: usize,
        poll: Poll,
        shared: Arc<Shared>,
        listeners: &[Listener],
    ) -> io::Result<Self> {
        let mut own = Vec::new();
        for (i, listener) in listeners.iter().enumerate() {
            let socket = listener.socket.try_clone()?;
            socket.set_nonblocking(true)?;
            let mut socket = mio::net::TcpListener::from_std(socket);
            poll.registry().register(&mut socket, Token(LISTENERS + i), Interest::READABLE)?;
            own.push((socket, listener.tls.clone()));
        }
        Ok(Self {
            index,
            poll,
            shared,
            listeners: own,
            conns: Slab::new(),
            following: HashMap::new(),
            waiters: Waiters::default(),
            waits: 0,
            deliveries: VecDeque::new(),
            turn: TURN,
            postponed: Vec::new(),
            scratch: vec![0; SCRATCH_BYTES],
            head: Vec::new(),
            now: Instant::now(),
            date: (0, String::new()),
            swept: 0,
            sweep_at: Instant::now(),
        })
    }

    /// Serves until told to shut down.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        let mut commands = Vec::new();
        let mut ring = Ring::open(self.config().ring);
        loop {
            self.now = Instant::now();
            match self.poll.poll(&mut events, self.patience()) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                done => done?,
            }
            self.now = Instant::now();
            for event in &events {
                self.handle_event(event);
            }
            self.shared.mailboxes[self.index].drain(&mut commands);
            for command in commands.drain(..) {
                match command {
                    Command::Shutdown => return Ok(()),
                    Command::Play(play) => self.play(*play),
                    Command::Dirty(stream) => self.schedule(stream),
                    Command::Advance(topic, version) => self.advance(topic, version),
                }
            }
            self.go_on();
            self.deliver_some();
            self.feed_due(&mut ring);
            self.sweep();
        }
    }

    pub(super) fn config(&self) -> &Config {
        &self.shared.config
    }

    pub(super) fn count(&self, counter: impl Fn(&Counters) -> &AtomicU64, n: u64) {
        add(counter(&self.shared.counters[self.index]), n);
    }

    pub(super) fn discount(&self, counter: impl Fn(&Counters) -> &AtomicU64) {
        sub(counter(&self.shared.counters[self.index]), 1);
    }

    /// The time of day for answers, made once a second.
    pub(super) fn date(&mut self) -> &str {
        let now = SystemTime::now();
        let second = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
        if self.date.0 != second {
            self.date = (second, httpdate::fmt_http_date(now));
        }
        &self.date.1
    }

    fn patience(&self) -> Option<Duration> {
        if !self.postponed.is_empty() || !self.deliveries.is_empty() {
            return Some(Duration::ZERO);
        }
        let feed = self.following.values().filter_map(Following::next).min();
        let next = feed.map_or(self.sweep_at, |at| at.min(self.sweep_at));
        Some(next.saturating_duration_since(self.now))
    }

    /// A connection is about to be served.
    pub(super) fn begin_turn(&mut self) {
        self.turn = TURN;
    }

    /// Takes a request, or so many sent bytes, from the turn of the connection being served.
    pub(super) fn spend(&mut self, sent_bytes: usize) {
        let cost = if sent_bytes == 0 { 1 } else { sent_bytes / TURN_BYTES };
        self.turn = self.turn.saturating_sub(cost as u32);
    }

    /// Serves this connection again when others have had their turn.
    pub(super) fn postpone(&mut self, slot: usize) {
        if let Some(conn) = self.conns.get_mut(slot)
            && !std::mem::replace(&mut conn.postponed, true)
        {
            self.postponed.push(slot as u32);
        }
    }

    /// Gives those who used their last turn up another one.
    fn go_on(&mut self) {
        for slot in std::mem::take(&mut self.postponed) {
            let slot = slot as usize;
            let Some(conn) = self.conns.get_mut(slot) else { continue };
            conn.postponed = false;
            let player = matches!(conn.role, Role::Player(_));
            self.begin_turn();
            if player { self.listen(slot) } else { self.resume(slot) }
        }
    }

    fn handle_event(&mut self, event: &Event) {
        match event.token() {
            WAKER => {}
            Token(n) if n >= LISTENERS => self.accept(n - LISTENERS),
            Token(slot) => self.ready(slot, event),
        }
    }

    fn accept(&mut self, listener: usize) {
        for _ in 0..ACCEPTS_MAX {
            let (door, tls) = &self.listeners[listener];
            match door.accept() {
                Ok((socket, peer)) => {
                    self.greet(socket, peer.ip().to_canonical(), tls.clone());
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    // Out of file descriptors, or the peer left already.
                    tracing::warn!(%error, "a connection could not be accepted");
                    break;
                }
            }
        }
        // The listener is edge-triggered and may hold more: ask to be told again.
        let token = Token(LISTENERS + listener);
        let (socket, _) = &mut self.listeners[listener];
        if let Err(error) = self.poll.registry().reregister(socket, token, Interest::READABLE) {
            tracing::error!(%error, "a listener is lost");
        }
    }

    fn greet(&mut self, socket: mio::net::TcpStream, peer: IpAddr, tls: Option<Arc<ServerConfig>>) {
        let _ = socket.set_nodelay(true);
        let wire = match tls {
            None => Wire::Plain(Arc::new(socket)),
            Some(config) => match Tls::accept(socket, config) {
                Ok(tls) => Wire::Tls(Box::new(tls)),
                Err(error) => {
                    tracing::error!(%error, "the TLS configuration does not work");
                    return;
                }
            },
        };
        self.insert(wire, Role::Http(Http { peer: Some(peer), ..Http::default() }));
    }

    /// Takes a connection in, unless there are too many. Its slot, if it was.
    pub(super) fn insert(&mut self, wire: Wire, role: Role) -> Option<usize> {
        let open = |counters: &Counters| counters.connections.load(Ordering::Relaxed);
        let all: u64 = self.shared.counters.iter().map(open).sum();
        if all >= self.config().connections_max as u64 {
            self.count(|c| &c.refused, 1);
            return None;
        }
        let entry = self.conns.vacant_entry();
        let slot = entry.key();
        let interest = Interest::READABLE | Interest::WRITABLE;
        let mut socket = SourceFd(&wire.socket().as_raw_fd());
        self.poll.registry().register(&mut socket, Token(slot), interest).ok()?;
        entry.insert(Conn { wire, role, progress: self.now, blocked: false, postponed: false });
        self.count(|c| &c.connections, 1);
        Some(slot)
    }

    /// Closes a connection, whatever it is doing.
    pub(super) fn close(&mut self, slot: usize) {
        if let Some(mut conn) = self.remove(slot) {
            conn.wire.say_goodbye();
        }
    }

    /// Takes a connection out, so that somebody else can have its socket.
    pub(super) fn remove(&mut self, slot: usize) -> Option<Conn> {
        let conn = self.conns.try_remove(slot)?;
        let _ = self.poll.registry().deregister(&mut SourceFd(&conn.wire.socket().as_raw_fd()));
        self.discount(|c| &c.connections);
        if conn.wire.is_handshaking() {
            self.count(|c| &c.unshaken, 1);
        }
        match &conn.role {
            Role::Player(player) => self.leave(player),
            Role::Http(Http { phase: Phase::Waiting(_), .. }) => self.discount(|c| &c.waiters),
            Role::Http(_) => {}
        }
        Some(conn)
    }

    fn ready(&mut self, slot: usize, event: &Event) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let player = matches!(conn.role, Role::Player(_));
        if event.is_writable()
            && let Err(e) = conn.wire.flush()
            && e.kind() != io::ErrorKind::WouldBlock
        {
            return self.close(slot);
        }
        let unblocked = event.is_writable() && conn.blocked;
        conn.blocked &= !unblocked;
        self.begin_turn();
        if unblocked {
            if player { self.feed(slot) } else { self.send_rest(slot) }
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            if player { self.listen(slot) } else { self.read(slot, event.is_read_closed()) }
        }
    }

    fn sweep(&mut self) {
        if self.now < self.sweep_at {
            return;
        }
        self.sweep_at = self.now + SWEEP_EVERY;
        self.expire_waits();
        let step = self.conns.capacity() / SWEEP_STEPS + 1;
        for slot in self.swept..self.swept + step {
            if self.conns.get(slot).is_some_and(|conn| self.is_overdue(conn)) {
                self.count(|c| &c.stalled, 1);
                self.close(slot);
            }
        }
        self.swept += step;
        if self.swept >= self.conns.capacity() {
            self.swept = 0;
        }
    }

    fn is_overdue(&self, conn: &Conn) -> bool {
        let config = self.config();
        let patience = match &conn.role {
            _ if conn.blocked => config.stall_timeout,
            _ if conn.wire.is_handshaking() => config.head_timeout,
            Role::Http(Http { phase: Phase::Reading, input, .. }) if input.is_empty() => {
                config.idle_timeout
            }
            Role::Http(Http { phase: Phase::Reading, .. }) => config.head_timeout,
            _ => return false,
        };
        self.now.saturating_duration_since(conn.progress) > patience
    }
}

/// Makes a connection of another runtime ready for the shard.
pub(super) fn adopt(link: Link) -> io::Result<Wire> {
    link.socket.set_nonblocking(true)?;
    let _ = link.socket.set_nodelay(true);
    let socket = mio::net::TcpStream::from_std(link.socket);
    Ok(match link.session {
        None => Wire::Plain(Arc::new(socket)),
        Some(session) => Wire::Tls(Box::new(Tls::new(socket, *session))),
    })
}
