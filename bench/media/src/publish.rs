//! Publishers: real RTMP, paced by the clip's own times.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use psyne::Time;
use serde::{Deserialize, Serialize};
use streamr_media::rtmp::{self, Client, ClientEvent, Intent, Output, Target};

use crate::clip::Clip;
use crate::load::{Meter, Report, Step, Window, unix_us};

/// How finely publishers are paced.
const TICK: Duration = Duration::from_millis(2);
/// What servers say is read this often; nothing waits for it.
const HEAR_EVERY: Duration = Duration::from_secs(1);
/// Keyframes of many publishers are spread over one group of pictures of the sample.
const SPREAD_MS: u64 = 2_000;
/// Stamps that are kept: some ten seconds of one publisher.
const STAMPS_MAX: usize = 1_024;
/// A publisher that is this far behind its clip makes the round void.
const BEHIND_BYTES_MAX: usize = 512 << 10;

/// Who publishes what where.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// RTMP address.
    pub(crate) addr: SocketAddr,
    /// Stream keys, a publisher each.
    pub(crate) keys: Vec<String>,
    /// MP4.
    pub(crate) clip: PathBuf,
    /// Rate of each.
    pub(crate) mbit_per_s: f64,
}

/// What has been sent so far by all publishers together.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) tags: AtomicU64,
    pub(crate) bytes: AtomicU64,
    /// When the latest writes began, in microseconds since the Unix epoch, newest last.
    stamps: Mutex<VecDeque<u64>>,
}

impl Sent {
    /// The latest write that began before a moment, as a Unix time in microseconds; the moment
    /// itself if none is known.
    pub(crate) fn before(&self, unix_us: u64) -> u64 {
        let stamps = self.stamps.lock().expect("nobody panics with it");
        stamps.iter().rev().copied().find(|stamp| *stamp < unix_us).unwrap_or(unix_us)
    }

    fn stamp(&self) {
        let mut stamps = self.stamps.lock().expect("nobody panics with it");
        if stamps.len() == STAMPS_MAX {
            stamps.pop_front();
        }
        stamps.push_back(unix_us());
    }
}

/// One connection.
#[derive(Debug)]
struct Publisher {
    socket: TcpStream,
    client: Client,
    began: Instant,
    delay_ms: u64,
    next: usize,
    passes: u64,
    unsent: Vec<u8>,
}

impl Publisher {
    fn connect(spec: &Spec, key: &str, seed: u64) -> Result<Self> {
        let url: rtmp::Url = format!("rtmp://{}/live/{key}", spec.addr).parse()?;
        let socket = TcpStream::connect(spec.addr)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        let target = Target::new(&url, Intent::Publish);
        let client = Client::new(rtmp::Config::default(), target, Time::ZERO, seed);
        let (began, unsent) = (Instant::now(), Vec::new());
        let mut new = Self { socket, client, began, delay_ms: 0, next: 0, passes: 0, unsent };
        let mut buffer = [0; 8_192];
        while !new.drain()? {
            new.flush()?;
            let count = new.socket.read(&mut buffer).context("no answer to publish")?;
            ensure!(count > 0, "the server closed the connection instead of accepting {key}");
            new.client.handle_input(Time::ZERO, &buffer[..count])?;
        }
        new.flush()?;
        new.socket.set_nonblocking(true)?;
        Ok(new)
    }

    /// Collects what is to be sent; whether the server has just accepted.
    fn drain(&mut self) -> Result<bool> {
        let mut ready = false;
        loop {
            match self.client.poll_output() {
                Output::Transmit(bytes) => self.unsent.extend_from_slice(&bytes),
                Output::Event(ClientEvent::Ready) => ready = true,
                Output::Event(event) => bail!("the server does not want this stream: {event:?}"),
                Output::Wait(_) => return Ok(ready),
            }
        }
    }

    fn flush(&mut self) -> Result<()> {
        while !self.unsent.is_empty() {
            match self.socket.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("the server hung up on a publisher"),
            }
        }
        ensure!(self.unsent.len() <= BEHIND_BYTES_MAX, "the server reads too slowly: void");
        Ok(())
    }

    /// Sends what is due.
    fn tick(&mut self, clip: &Clip, now: Instant, sent: &Sent) -> Result<()> {
        let media_ms = (now - self.began).as_millis() as u64;
        let mut any = false;
        while let Some(tag) = clip.tags.get(self.next) {
            let at_ms = u64::from(tag.timestamp_ms) + self.passes * u64::from(clip.duration_ms);
            if at_ms + self.delay_ms > media_ms {
                break;
            }
            let mut tag = tag.clone();
            tag.timestamp_ms = at_ms as u32;
            self.client.send(&tag);
            sent.tags.fetch_add(1, Ordering::Relaxed);
            sent.bytes.fetch_add(tag.body.len() as u64, Ordering::Relaxed);
            any = true;
            self.next += 1;
            if self.next == clip.tags.len() {
                (self.next, self.passes) = (0, self.passes + 1);
            }
        }
        if any || !self.unsent.is_empty() {
            sent.stamp();
            self.drain()?;
            self.flush()?;
        }
        Ok(())
    }

    fn hear(&mut self) -> Result<()> {
        let mut buffer = [0; 4_096];
        match self.socket.read(&mut buffer) {
            Ok(0) => bail!("the server closed a publisher's connection"),
            Ok(count) => self.client.handle_input(Time::ZERO, &buffer[..count])?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("the server hung up on a publisher"),
        }
        self.drain().map(|_| ())
    }
}

/// All publishers of one process.
pub(crate) struct Fleet {
    publishers: Vec<Publisher>,
    clip: Clip,
    heard: Instant,
    /// What they have sent.
    pub(crate) sent: Arc<Sent>,
}

impl Fleet {
    /// Connects all; returns when each was accepted.
    pub(crate) fn connect(spec: &Spec) -> Result<Self> {
        let clip = Clip::load(&spec.clip, spec.mbit_per_s)?;
        let mut publishers = Vec::with_capacity(spec.keys.len());
        for (seed, key) in spec.keys.iter().enumerate() {
            publishers.push(Publisher::connect(spec, key, seed as u64)?);
        }
        let began = Instant::now();
        let count = publishers.len() as u64;
        for (index, publisher) in publishers.iter_mut().enumerate() {
            publisher.began = began;
            publisher.delay_ms = SPREAD_MS * index as u64 / count;
            clip.head.iter().for_each(|tag| publisher.client.send(tag));
        }
        Ok(Self { publishers, clip, heard: began, sent: Arc::default() })
    }

    /// Sends what is due; call it every few milliseconds.
    pub(crate) fn tick(&mut self) -> Result<()> {
        let now = Instant::now();
        let hear = now - self.heard > HEAR_EVERY;
        for publisher in &mut self.publishers {
            publisher.tick(&self.clip, now, &self.sent)?;
            if hear {
                publisher.hear()?;
            }
        }
        if hear {
            self.heard = now;
        }
        Ok(())
    }
}

/// A fleet on a thread of its own, for loaders that need something to load.
pub(crate) struct Feed {
    /// What it has sent.
    pub(crate) sent: Arc<Sent>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Feed {
    /// Connects and starts.
    pub(crate) fn start(spec: &Spec) -> Result<Self> {
        let mut fleet = Fleet::connect(spec)?;
        let (sent, stop) = (Arc::clone(&fleet.sent), Arc::new(AtomicBool::new(false)));
        let asked = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !asked.load(Ordering::Relaxed) {
                fleet.tick()?;
                std::thread::sleep(TICK);
            }
            Ok(())
        });
        Ok(Self { sent, stop, thread: Some(thread) })
    }

    /// Fails if it has ended before its time.
    pub(crate) fn alive(&mut self) -> Result<()> {
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            self.end()?;
            bail!("the publisher stopped");
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take() {
            Some(thread) => thread.join().expect("a feed does not panic"),
            None => Ok(()),
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        // A fault of the publisher has been seen by `alive`, or no longer matters.
        let _ = self.end();
    }
}

/// Publishes and measures, or without a window publishes until killed.
pub(crate) fn run(spec: &Spec, window: Option<&Window>) -> Result<Report> {
    let mut fleet = Fleet::connect(spec)?;
    let Some(window) = window else {
        loop {
            fleet.tick()?;
            std::thread::sleep(TICK);
        }
    };
    let mut meter = Meter::new(window);
    let mut opened = 0;
    loop {
        fleet.tick()?;
        let tags = fleet.sent.tags.load(Ordering::Relaxed);
        match meter.step()? {
            Step::Go => {}
            Step::Open => opened = tags,
            Step::Close => {
                let mut report = meter.report();
                let due = fleet.clip.tags_per_s() * report.seconds * spec.keys.len() as f64;
                let share = (tags - opened) as f64 / due;
                report.units = spec.keys.len() as f64;
                report.check(share > 0.98, || {
                    format!("publishers sent {:.0} % of what was due", share * 100.0)
                });
                return Ok(report);
            }
        }
        std::thread::sleep(TICK);
    }
}
