//! RTMP players: a real handshake and `play`, then every byte is read and counted.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use psyne::Time;
use streamr_media::rtmp::{self, Client, ClientEvent, Intent, Output, Target};

use crate::load::{Meter, Report, Step, Window};
use crate::proc::Usage;
use crate::publish::{self, Feed};
use crate::wire::Counter;

/// Handshakes at once: below every server's listen backlog.
const JOINING_MAX: usize = 64;
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Reads are gathered for this long, as a network card would; at 200 a second it hides no batch.
const PAUSE: Duration = Duration::from_millis(4);
const READ_BYTES: usize = 256 << 10;
/// How long the first few players play before memory is looked at.
const FEW_SETTLE: Duration = Duration::from_millis(1_500);
/// How far a player's messages, and bytes, in the window may be from the publisher's. Batches and
/// keyframes at the window's edges make up to 2 and 5 % of them.
const MESSAGES_OFF_MAX: f64 = 0.03;
const BYTES_OFF_MAX: f64 = 0.08;

struct Player {
    socket: TcpStream,
    /// Until the server lets us play.
    client: Option<Box<Client>>,
    counter: Counter,
    opened: (u64, u64),
}

impl Player {
    fn connect(addr: SocketAddr, name: &str, seed: u64) -> Result<Self> {
        let url: rtmp::Url = format!("rtmp://{addr}/live/{name}").parse()?;
        let socket = std::net::TcpStream::connect(addr)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let target = Target::new(&url, Intent::Play);
        let client = Client::new(rtmp::Config::default(), target, Time::ZERO, seed);
        let mut player = Self {
            socket: TcpStream::from_std(socket),
            client: Some(Box::new(client)),
            counter: Counter::new(),
            opened: (0, 0),
        };
        player.talk()?;
        Ok(player)
    }

    /// Reads what is there; whether that let us begin to play.
    fn read(&mut self, buffer: &mut [u8]) -> Result<bool> {
        let mut began = false;
        loop {
            let count = match self.socket.read(buffer) {
                Ok(0) => bail!("the server closed a player's connection"),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(began),
                Err(error) => return Err(error).context("the server hung up on a player"),
            };
            self.counter.push(&buffer[..count]);
            if let Some(client) = &mut self.client {
                client.handle_input(Time::ZERO, &buffer[..count])?;
                began |= self.talk()?;
            }
            // Less than we could have taken: edge-triggered epoll tells us of what comes next.
            if count < buffer.len() {
                return Ok(began);
            }
        }
    }

    /// Sends what the client wants; whether it may play now.
    fn talk(&mut self) -> Result<bool> {
        let Some(client) = &mut self.client else { return Ok(false) };
        loop {
            match client.poll_output() {
                // A handshake fits into any socket's buffer.
                Output::Transmit(bytes) => self.socket.write_all(&bytes)?,
                Output::Event(ClientEvent::Ready | ClientEvent::Media(_)) => {
                    self.client = None;
                    return Ok(true);
                }
                Output::Event(event) => bail!("the server does not let us play: {event:?}"),
                Output::Wait(_) => return Ok(false),
            }
        }
    }
}

struct Crowd {
    poll: Poll,
    events: Events,
    players: Vec<Player>,
    playing: usize,
    buffer: Vec<u8>,
}

impl Crowd {
    fn new() -> Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(4_096),
            players: Vec::new(),
            playing: 0,
            buffer: vec![0; READ_BYTES],
        })
    }

    fn read(&mut self) -> Result<()> {
        std::thread::sleep(PAUSE);
        loop {
            self.poll.poll(&mut self.events, Some(Duration::ZERO))?;
            for event in &self.events {
                let player = &mut self.players[event.token().0];
                self.playing += usize::from(player.read(&mut self.buffer)?);
            }
            if self.events.iter().count() < self.events.capacity() {
                return Ok(());
            }
        }
    }

    /// Lets players join until there are `count` that play.
    fn grow(
        &mut self,
        feed: &mut Feed,
        (addr, name): (SocketAddr, &str),
        count: usize,
    ) -> Result<()> {
        let end = Instant::now() + JOIN_TIMEOUT;
        while self.playing < count {
            ensure!(Instant::now() < end, "only {} of {count} players may play", self.playing);
            feed.alive()?;
            while self.players.len() < count && self.players.len() - self.playing < JOINING_MAX {
                let index = self.players.len();
                let mut player = Player::connect(addr, name, index as u64)?;
                let readable = Interest::READABLE;
                self.poll.registry().register(&mut player.socket, Token(index), readable)?;
                self.players.push(player);
            }
            self.read()?;
        }
        Ok(())
    }
}

/// Publishes by `feed`, plays with a few and then with all players, and measures.
pub(crate) fn run(
    feed: &publish::Spec,
    name: &str,
    (players, few): (usize, usize),
    window: &Window,
) -> Result<Report> {
    let at = (feed.addr, name);
    let mut feed = Feed::start(feed)?;
    std::thread::sleep(Duration::from_millis(500));
    let mut crowd = Crowd::new()?;
    crowd.grow(&mut feed, at, few)?;
    let settled = Instant::now() + FEW_SETTLE;
    while Instant::now() < settled {
        crowd.read()?;
    }
    let few = Usage::of(window.pid)?;
    crowd.grow(&mut feed, at, players)?;
    let mut meter = Meter::new(window);
    let mut opened = (0, 0);
    let sent = |feed: &Feed| {
        (feed.sent.tags.load(Ordering::Relaxed), feed.sent.bytes.load(Ordering::Relaxed))
    };
    loop {
        crowd.read()?;
        match meter.step()? {
            Step::Go => {}
            Step::Open => {
                feed.alive()?;
                opened = sent(&feed);
                for player in &mut crowd.players {
                    player.opened = (player.counter.messages, player.counter.bytes);
                }
            }
            Step::Close => {
                feed.alive()?;
                let now = sent(&feed);
                let mut report = Report { few, ..meter.report() };
                judge(&mut report, &crowd.players, (now.0 - opened.0, now.1 - opened.1));
                return Ok(report);
            }
        }
    }
}

/// Every player must have had what was published, no less and no more.
fn judge(report: &mut Report, players: &[Player], (tags, bytes): (u64, u64)) {
    let off = |got: u64, due: u64| (got as f64 / due as f64 - 1.0).abs();
    let mut short = 0;
    let mut worst = (0.0_f64, 0.0_f64);
    for player in players {
        let messages = off(player.counter.messages - player.opened.0, tags);
        let volume = off(player.counter.bytes - player.opened.1, bytes);
        short += usize::from(messages > MESSAGES_OFF_MAX || volume > BYTES_OFF_MAX);
        worst = (worst.0.max(messages), worst.1.max(volume));
        report.bytes += (player.counter.bytes - player.opened.1) as f64;
    }
    report.units = players.len() as f64;
    report.check(short == 0, || {
        format!(
            "{short} of {} players were off the published rate, the worst by {:.0} % of the \
             messages and {:.0} % of the bytes",
            players.len(),
            worst.0 * 100.0,
            worst.1 * 100.0
        )
    });
}
