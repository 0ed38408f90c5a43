//! Feeding players.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes};
use streamr_media::fanout::{Framing, Reader, Window};
use streamr_media::rtmp::{Output, PlayerEvent};

use super::Stream;
use super::conn::{Conn, Player, Role, Wire};
use super::mailbox::Play;
use super::ring::{Ring, Sent};
use super::shard::{Shard, adopt};

/// Unsent bytes that the kernel takes for a player before it says "later". More would only make a
/// slow player's picture older: what it has not been sent can still be skipped.
const UNSENT_BYTES_MAX: u32 = 256 << 10;
/// What `control` may have to say at once; a player that makes it say more is closed.
const OUTBOX_BYTES_MAX: usize = 4 << 10;
/// Players fed before other sockets get their turn: some 5 ms on a slow core.
const FEEDS_PER_TURN: usize = 512;

/// A stream as one shard follows it.
pub(super) struct Following {
    stream: Arc<Stream>,
    window: Window,
    players: Vec<u32>,
    /// When the next batch goes out; `None` if there is nothing new.
    due: Option<Instant>,
    fed: Instant,
    /// Players that the batch has yet to be sent to: all seats below this one. Counted down,
    /// because a player that leaves is replaced by the last one, which then has been served.
    unfed: usize,
    /// When the batch that is being sent was due; `None` if all have been sent it.
    walk: Option<Instant>,
}

impl Following {
    /// When players are to be fed next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.walk.or(self.due)
    }
}

impl Shard {
    /// Takes an RTMP player over.
    pub(super) fn play(&mut self, play: Play) {
        let Ok(wire) = adopt(play.link) else { return };
        let reader = Reader::new(Framing::Rtmp, play.greeting);
        let id = self.follow(play.stream);
        let player = Player::new(id, reader, Some(Box::new(play.control)));
        limit_unsent(wire.socket());
        if let Some(slot) = self.insert(wire, Role::Player(player)) {
            self.seat(slot);
            // A session may hold what it said last, and the socket will not announce that again.
            self.listen(slot);
        } else {
            self.forget(id);
        }
    }

    /// Makes an HTTP connection a player of `stream`, with `head` before the media.
    pub(super) fn play_flv(&mut self, slot: usize, stream: Arc<Stream>, head: Bytes) {
        let reader = Reader::new(Framing::Flv, head);
        let id = self.follow(stream);
        let player = Player::new(id, reader, None);
        if let Some(conn) = self.conns.get_mut(slot) {
            limit_unsent(conn.wire.socket());
            conn.role = Role::Player(player);
            self.seat(slot);
        }
    }

    /// The stream has news: they go out when the last batch is old enough.
    pub(super) fn schedule(&mut self, id: u64) {
        let batch = self.config().write_batch;
        let now = self.now;
        if let Some(following) = self.following.get_mut(&id) {
            let at = (following.fed + batch).max(now);
            following.due = Some(following.due.map_or(at, |due| due.min(at)));
        }
    }

    /// Sends what is due to players, to those first who have waited longest.
    pub(super) fn feed_due(&mut self, ring: &mut Ring) {
        let now = self.now;
        let due = |(id, f): (&u64, &Following)| Some((f.next()?, *id)).filter(|(at, _)| *at <= now);
        let mut due: Vec<_> = self.following.iter().filter_map(due).collect();
        due.sort_unstable();
        let mut left = FEEDS_PER_TURN;
        for (_, id) in due {
            if left == 0 {
                break;
            }
            left -= self.feed_some(id, left, ring);
        }
    }

    /// Sends what it can to one player.
    pub(super) fn feed(&mut self, slot: usize) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let Role::Player(player) = &mut conn.role else { return };
        let Some(following) = self.following.get(&player.stream) else { return };
        if following.stream.ended() {
            dismiss(player);
        }
        let fed = pump(conn, &following.window, self.now);
        let over = !conn.blocked && following.stream.ended();
        match fed {
            Ok(fed) if !over => self.settle(fed),
            _ => self.close(slot),
        }
    }

    /// Hears what a player says.
    pub(super) fn listen(&mut self, slot: usize) {
        loop {
            let Some(conn) = self.conns.get_mut(slot) else { return };
            let Role::Player(player) = &mut conn.role else { return };
            let read = match conn.wire.read(&mut self.scratch, true) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Ok(0) | Err(_) => return self.close(slot),
                Ok(n) => n,
            };
            match hear(player, &self.scratch[..read]) {
                Ok(Stays(true)) if read == self.scratch.len() => return self.postpone(slot),
                Ok(Stays(true)) => {}
                Ok(Stays(false)) => return self.close(slot),
                Err(reason) => return self.refuse(slot, reason),
            }
        }
        self.feed(slot);
    }

    /// A player's connection is gone: its place goes to the last one in the list.
    pub(super) fn leave(&mut self, player: &Player) {
        let flv = player.control.is_none();
        self.discount(|c| if flv { &c.players_flv } else { &c.players_rtmp });
        let Some(following) = self.following.get_mut(&player.stream) else { return };
        following.stream.leave();
        let seat = player.seat as usize;
        following.players.swap_remove(seat);
        let moved = following.players.get(seat).copied();
        if let Some(conn) = moved.and_then(|slot| self.conns.get_mut(slot as usize))
            && let Role::Player(other) = &mut conn.role
        {
            other.seat = player.seat;
        }
        self.forget(player.stream);
    }

    fn refuse(&mut self, slot: usize, reason: &'static str) {
        tracing::info!(reason, "a player was disconnected");
        self.count(|c| &c.malformed, 1);
        self.close(slot);
    }

    fn follow(&mut self, stream: Arc<Stream>) -> u64 {
        let (id, shard, now) = (stream.id(), self.index, self.now);
        self.following.entry(id).or_insert_with(|| {
            stream.set_follows(shard, true);
            let window = stream.window();
            Following {
                stream,
                window,
                players: Vec::new(),
                due: Some(now),
                fed: now,
                unfed: 0,
                walk: None,
            }
        });
        id
    }

    /// Stops following a stream that has no players here.
    fn forget(&mut self, id: u64) {
        if self.following.get(&id).is_some_and(|f| f.players.is_empty())
            && let Some(following) = self.following.remove(&id)
        {
            following.stream.set_follows(self.index, false);
        }
    }

    /// Enters a new player in its stream's list and sends it what there is.
    fn seat(&mut self, slot: usize) {
        let Some(Role::Player(player)) = self.conns.get_mut(slot).map(|c| &mut c.role) else {
            return;
        };
        let flv = player.control.is_none();
        if let Some(following) = self.following.get_mut(&player.stream) {
            player.seat = following.players.len() as u32;
            following.players.push(slot as u32);
            following.stream.join();
        }
        self.count(|c| if flv { &c.players_flv } else { &c.players_rtmp }, 1);
        self.feed(slot);
    }

    /// Feeds at most `most` of a stream's players and says how many they were.
    fn feed_some(&mut self, id: u64, most: usize, ring: &mut Ring) -> usize {
        let Some(following) = self.following.get_mut(&id) else { return 0 };
        if following.walk.is_none() {
            following.walk = following.due.take();
            following.fed = self.now;
            following.unfed = following.players.len();
            following.stream.catch_up(self.index, &mut following.window);
        }
        let ended = following.stream.ended();
        let (mut sent, mut gone) = (Fed::default(), Vec::new());
        let to = following.unfed.min(following.players.len());
        let from = to.saturating_sub(most);
        for &slot in following.players[from..to].iter().rev() {
            let Some(conn) = self.conns.get_mut(slot as usize) else { continue };
            if conn.blocked {
                continue;
            }
            if !ended && let Some(skips) = offer(conn, slot, &following.window, ring) {
                sent.skips += skips;
                continue;
            }
            if ended && let Role::Player(player) = &mut conn.role {
                dismiss(player);
            }
            match pump(conn, &following.window, self.now) {
                Ok(fed) if conn.blocked || !ended => sent += fed,
                _ => gone.push(slot),
            }
        }
        for result in ring.finish() {
            let Some(conn) = self.conns.get_mut(result.slot as usize) else { continue };
            let slot = result.slot;
            match take_back(conn, result, &following.window, self.now) {
                Ok(fed) => sent += fed,
                Err(_) => gone.push(slot),
            }
        }
        following.unfed = from;
        if from == 0 {
            following.walk = None;
        }
        self.settle(sent);
        for slot in gone {
            self.close(slot as usize);
        }
        to - from
    }

    fn settle(&self, fed: Fed) {
        self.count(|c| &c.sent_bytes, fed.bytes);
        self.count(|c| &c.skips, fed.skips);
    }
}

/// What was done for players.
#[derive(Clone, Copy, Debug, Default)]
struct Fed {
    bytes: u64,
    skips: u64,
}

impl std::ops::AddAssign for Fed {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.skips += other.skips;
    }
}

/// Puts what a player is to be sent next into the ring and says how often it was moved ahead;
/// `None` if it cannot be sent to in this way now.
fn offer(conn: &mut Conn, slot: u32, window: &Window, ring: &mut Ring) -> Option<u64> {
    let (Wire::Plain(socket), Role::Player(player)) = (&conn.wire, &mut conn.role) else {
        return None;
    };
    if !ring.is_open() || player.paused || !player.outbox.is_empty() {
        return None;
    }
    let skips = player.reader.skips();
    if let Some(bytes) = player.reader.share(window) {
        ring.push(slot, socket.clone(), bytes);
    }
    Some(u64::from(player.reader.skips() - skips))
}

/// Takes note of what a player's socket took, and goes on if there is more.
fn take_back(conn: &mut Conn, sent: Sent, window: &Window, now: Instant) -> io::Result<Fed> {
    let Role::Player(player) = &mut conn.role else { return Ok(Fed::default()) };
    let taken = match sent.result {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
        taken => taken?,
    };
    player.reader.advance(taken);
    if taken > 0 {
        conn.progress = now;
    }
    let mut fed = Fed { bytes: taken as u64, skips: 0 };
    conn.blocked = taken < sent.bytes;
    if !conn.blocked {
        fed += pump(conn, window, now)?;
    }
    Ok(fed)
}

/// Writes to a player until it has everything or takes no more.
fn pump(conn: &mut Conn, window: &Window, now: Instant) -> io::Result<Fed> {
    let Role::Player(player) = &mut conn.role else { return Ok(Fed::default()) };
    let skips = player.reader.skips();
    let mut bytes = 0;
    loop {
        let may_speak = player.reader.at_boundary();
        // The goodbye is the last word: what was published before the end goes first.
        let in_turn = !player.dismissed || player.paused || player.reader.peek(window).is_none();
        let speaks = may_speak && in_turn && !player.outbox.is_empty();
        let next = if speaks {
            &player.outbox[..]
        } else if player.paused && may_speak {
            break;
        } else if let Some(bytes) = player.reader.peek(window) {
            bytes
        } else {
            break;
        };
        let whole = next.len();
        let sent = match conn.wire.write(next) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
            sent => sent?,
        };
        bytes += sent as u64;
        if speaks {
            player.outbox.advance(sent);
        } else {
            player.reader.advance(sent);
        }
        if sent < whole || conn.wire.is_pending() {
            conn.blocked = true;
            break;
        }
    }
    if bytes > 0 {
        conn.progress = now;
    }
    Ok(Fed { bytes, skips: u64::from(player.reader.skips() - skips) })
}

/// Whether a player wants to go on.
struct Stays(bool);

/// Lets a player's machine hear what it said. The error is a reason to disconnect it.
fn hear(player: &mut Player, bytes: &[u8]) -> Result<Stays, &'static str> {
    let Some(control) = &mut player.control else { return Ok(Stays(true)) };
    control.handle_input(bytes).map_err(|error| error.code())?;
    speak(player)
}

/// Tells a player, once, that the stream is over.
fn dismiss(player: &mut Player) {
    if let Some(control) = &mut player.control
        && !player.dismissed
    {
        player.dismissed = true;
        control.end();
        // It is closed in any case.
        let _ = speak(player);
    }
}

/// Takes what a player's machine has to say.
fn speak(player: &mut Player) -> Result<Stays, &'static str> {
    let Some(control) = &mut player.control else { return Ok(Stays(true)) };
    loop {
        match control.poll_output() {
            Output::Transmit(bytes) if player.outbox.is_empty() => player.outbox = bytes,
            Output::Transmit(bytes) => {
                player.outbox = [&player.outbox[..], &bytes].concat().into();
            }
            Output::Event(PlayerEvent::Paused) => player.paused = true,
            Output::Event(PlayerEvent::Resumed) => player.paused = false,
            Output::Event(PlayerEvent::Left) => return Ok(Stays(false)),
            Output::Wait(_) => return Ok(Stays(true)),
        }
        if player.outbox.len() > OUTBOX_BYTES_MAX {
            return Err("it asks faster than it listens");
        }
    }
}

fn limit_unsent(socket: &mio::net::TcpStream) {
    let _ = socket2::SockRef::from(socket).set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
}
