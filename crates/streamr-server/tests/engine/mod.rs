//! An engine on loopback, and clients that say exactly what a test wants said.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use bytes::Bytes;
use psyne::Time;
use streamr_media::rtmp::{self, Client, ClientEvent, Intent, Target};
use streamr_media::{fanout, flv};
use streamr_server::egress::{
    self, Answer, Block, Config, Handle, Handover, Listener, Media, Metrics, Reply, Stream, Topic,
};
use tokio::sync::mpsc::Receiver;

/// Long enough for a busy machine; nothing waits for it that works.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What the engine answers: `/hls/s/list` is short, `/hls/s/seg` is long, `/hls/s/block?N` waits
/// for version N, everything else is 404.
pub struct Shelf {
    pub list: Bytes,
    pub seg: Bytes,
    pub block_timeout: Duration,
    pub topic: OnceLock<Arc<Topic>>,
    pub streams: Mutex<HashMap<String, Arc<Stream>>>,
}

impl Default for Shelf {
    fn default() -> Self {
        let seg: Vec<u8> = (0..1_250_000u32).map(|n| (n % 251) as u8).collect();
        Self {
            list: Bytes::from_static(b"#EXTM3U\n"),
            seg: seg.into(),
            block_timeout: PATIENCE,
            topic: OnceLock::new(),
            streams: Mutex::default(),
        }
    }
}

impl Media for Shelf {
    fn hls(&self, _: &str, path: &str, query: Option<&str>) -> Answer {
        let ready = |body: Bytes| {
            let content_type = "application/vnd.apple.mpegurl";
            let etag = Some(Bytes::from_static(b"\"one\""));
            Answer::Ready(Reply { content_type, etag, body, ..Reply::text(200, "") })
        };
        match path {
            "list" => ready(self.list.clone()),
            "seg" => ready(self.seg.clone()),
            "block" => {
                let version = query.and_then(|q| q.parse().ok()).expect("a version");
                let topic = self.topic.get().expect("there is a topic").clone();
                if topic.version() >= version {
                    return ready(format!("version {version}").into());
                }
                Answer::Block(Block { topic, version, timeout: self.block_timeout })
            }
            _ => Answer::Ready(Reply::text(404, "no such thing\n")),
        }
    }

    fn stream(&self, name: &str) -> Option<Arc<Stream>> {
        self.streams.lock().expect("no test panics in here").get(name).cloned()
    }
}

pub struct Engine {
    pub handle: Handle,
    pub shelf: Arc<Shelf>,
    pub address: SocketAddr,
    pub handovers: Receiver<Handover>,
    running: Option<JoinHandle<std::io::Result<()>>>,
}

impl Engine {
    pub fn start(config: Config, shelf: Shelf) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
        Self::start_on(config, shelf, socket.into())
    }

    pub fn start_on(config: Config, shelf: Shelf, listener: Listener) -> Self {
        let address = listener.address().expect("it is bound");
        let shelf = Arc::new(shelf);
        let (handle, driver, handovers) =
            egress::new(config, shelf.clone(), vec![listener]).expect("an engine");
        assert!(shelf.topic.set(handle.topic()).is_ok());
        let running = Some(spawn(move || driver.run()));
        Self { handle, shelf, address, handovers, running }
    }

    /// One shard, and no limit that a test reaches by accident.
    pub fn plain() -> Self {
        Self::start(Config { shards: 1, ..Config::default() }, Shelf::default())
    }

    pub fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).expect("the engine listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a valid time");
        socket
    }

    pub fn ask(&self, request: &str) -> TcpStream {
        let mut socket = self.connect();
        socket.write_all(request.as_bytes()).expect("it is read");
        socket
    }

    pub fn live(&self, name: &str, config: fanout::Config) -> Arc<Stream> {
        let stream = self.handle.stream(config);
        let mut streams = self.shelf.streams.lock().expect("no test panics in here");
        streams.insert(name.to_owned(), stream.clone());
        stream
    }

    pub fn metrics(&self) -> Metrics {
        let mut sum = Metrics::default();
        for shard in self.handle.metrics() {
            sum.connections += shard.connections;
            sum.players_rtmp += shard.players_rtmp;
            sum.players_flv += shard.players_flv;
            sum.waiters += shard.waiters;
            sum.requests += shard.requests;
            sum.skips += shard.skips;
            sum.stalled += shard.stalled;
            sum.refused += shard.refused;
            sum.malformed += shard.malformed;
            sum.handed_over += shard.handed_over;
        }
        sum
    }

    /// Waits until the counters say so.
    pub fn until(&self, what: &str, holds: impl Fn(&Metrics) -> bool) {
        let start = Instant::now();
        while !holds(&self.metrics()) {
            assert!(start.elapsed() < PATIENCE, "never: {what}; {:?}", self.metrics());
            sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.handle.shutdown();
        let ended = self.running.take().expect("it was started").join();
        assert!(std::thread::panicking() || matches!(ended, Ok(Ok(()))), "{ended:?}");
    }
}

/// An answer as it came.
#[derive(Debug, PartialEq, Eq)]
pub struct Got {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Got {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Reads one answer; `bodiless` if the request was HEAD.
pub fn receive(socket: &mut impl Read, bodiless: bool) -> Got {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).expect("an answer comes");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("heads are text");
    let status = head[9..12].parse().expect("a status");
    let mut got = Got { status, head, body: Vec::new() };
    let length = got.header("content-length").map_or(0, |n| n.parse().expect("a number"));
    got.body = vec![0; if bodiless { 0 } else { length }];
    socket.read_exact(&mut got.body).expect("the whole body comes");
    got
}

/// Whether the other side closes without another byte.
pub fn is_closed(socket: &mut TcpStream) -> bool {
    match socket.read(&mut [0]) {
        Ok(n) => n == 0,
        Err(e) => e.kind() == ErrorKind::ConnectionReset,
    }
}

/// Runs an RTMP server's side on a socket until it asks to play, then gives it to the engine.
pub fn accept_player(engine: &Engine, mut socket: TcpStream, stream: Arc<Stream>) {
    let mut server = rtmp::Server::new(rtmp::Config::default(), Time::ZERO, 7);
    let mut bytes = vec![0; 4_096];
    loop {
        loop {
            match server.poll_output() {
                rtmp::Output::Transmit(out) => socket.write_all(&out).expect("it is read"),
                rtmp::Output::Event(rtmp::Event::Play { stream: id, .. }) => {
                    server.accept(id);
                    return engine.handle.play_rtmp(socket, stream, server.into_player(id));
                }
                rtmp::Output::Event(event) => panic!("a player does not: {event:?}"),
                rtmp::Output::Wait(_) => break,
            }
        }
        let n = socket.read(&mut bytes).expect("the player speaks");
        server.handle_input(Time::ZERO, &bytes[..n]).expect("it is RTMP");
    }
}

/// An RTMP player whose socket the engine owns.
pub struct Player {
    pub socket: TcpStream,
    pub client: Client,
    pub events: Vec<ClientEvent>,
}

impl Player {
    pub fn join(engine: &Engine, stream: &Arc<Stream>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let socket = TcpStream::connect(address).expect("it listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a valid time");
        let (theirs, _) = listener.accept().expect("it was connected");
        let (app, tc_url) = ("live".into(), "rtmp://h/live".into());
        let target = Target { app, tc_url, name: "s".into(), intent: Intent::Play };
        let client = Client::new(rtmp::Config::default(), target, Time::ZERO, 3);
        let mut player = Self { socket, client, events: Vec::new() };
        std::thread::scope(|scope| {
            scope.spawn(|| accept_player(engine, theirs, stream.clone()));
            player.until(|events| events.contains(&ClientEvent::Ready));
        });
        player
    }

    /// Plays until it has seen enough, or the end of the connection.
    pub fn until(&mut self, enough: impl Fn(&[ClientEvent]) -> bool) {
        let mut bytes = vec![0; 64 << 10];
        loop {
            loop {
                match self.client.poll_output() {
                    rtmp::Output::Transmit(out) => {
                        // The engine may have closed already.
                        let _ = self.socket.write_all(&out);
                    }
                    rtmp::Output::Event(event) => self.events.push(event),
                    rtmp::Output::Wait(_) => break,
                }
            }
            if enough(&self.events) {
                return;
            }
            match self.socket.read(&mut bytes) {
                Ok(0) => return,
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return,
                Err(error) => panic!("the player waits in vain: {error}; {:?}", self.events.len()),
                Ok(n) => {
                    let input = &bytes[..n];
                    self.client.handle_input(Time::ZERO, input).expect("whole messages come");
                }
            }
        }
    }

    pub fn tags(&self) -> Vec<flv::Tag> {
        let tag = |event: &ClientEvent| match event {
            ClientEvent::Media(tag) => Some(tag.clone()),
            _ => None,
        };
        self.events.iter().filter_map(tag).collect()
    }
}

/// A made-up broadcast: each body ends with its number.
#[derive(Default)]
pub struct Broadcast {
    pub number: u32,
}

impl Broadcast {
    pub fn headers(&mut self, stream: &Stream) {
        self.push(stream, flv::Kind::Video, &[0x17, 0, 0, 0, 0], 40);
        self.push(stream, flv::Kind::Audio, &[0xaf, 0, 0x12, 0x10], 8);
    }

    pub fn picture(&mut self, stream: &Stream, key: bool, bytes: usize) {
        self.push(stream, flv::Kind::Video, &[if key { 0x17 } else { 0x27 }, 1, 0, 0, 0], bytes);
    }

    fn push(&mut self, stream: &Stream, kind: flv::Kind, start: &[u8], bytes: usize) {
        let mut body = start.to_vec();
        body.resize(bytes.max(start.len() + 4) - 4, 0x5a);
        body.extend(self.number.to_be_bytes());
        let tag = flv::Tag { kind, timestamp_ms: self.number * 40, body: body.into() };
        self.number += 1;
        stream.publish(&tag).expect("it is within the limits");
    }
}

pub fn number_of(tag: &flv::Tag) -> u32 {
    let end = tag.body.last_chunk().expect("bodies end with a number");
    u32::from_be_bytes(*end)
}
