//! Blocked playlist reloads: many connections wait for one part; how late is the last of them?

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::fetch::{self, Responses};
use crate::load::{Report, Wait, unix_us};
use crate::proc::Usage;
use crate::publish::{self, Feed};

/// Parts from now to the one that is waited for: time to send all requests before it exists.
const PARTS_AHEAD: usize = 8;
const PLAYLIST_TIMEOUT: Duration = Duration::from_secs(20);
const PART_TIMEOUT: Duration = Duration::from_secs(6);

/// Sockets that each await one response.
pub(crate) struct Sockets {
    poll: Poll,
    events: Events,
    sockets: Vec<(TcpStream, Responses)>,
    buffer: Vec<u8>,
}

impl Sockets {
    /// Connects `count`.
    pub(crate) fn connect(addr: SocketAddr, count: usize) -> Result<Self> {
        let poll = Poll::new()?;
        let mut sockets = Vec::with_capacity(count);
        for index in 0..count {
            let socket = std::net::TcpStream::connect(addr)
                .with_context(|| format!("connection {index} of {count}"))?;
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            let mut socket = TcpStream::from_std(socket);
            poll.registry().register(&mut socket, Token(index), Interest::READABLE)?;
            sockets.push((socket, Responses::default()));
        }
        let events = Events::with_capacity(1_024);
        Ok(Self { poll, events, sockets, buffer: vec![0; 64 << 10] })
    }

    /// Sends the same request on all.
    fn ask(&mut self, request: &[u8]) -> Result<()> {
        for (socket, _) in &mut self.sockets {
            socket.write_all(request)?;
        }
        Ok(())
    }

    /// Unix times in microseconds at which the responses were complete. Fewer than all after
    /// `limit`.
    pub(crate) fn collect(&mut self, limit: Duration) -> Result<Vec<u64>> {
        let end = Instant::now() + limit;
        let mut times = Vec::with_capacity(self.sockets.len());
        while times.len() < self.sockets.len() && Instant::now() < end {
            self.poll.poll(&mut self.events, Some(Duration::from_millis(20)))?;
            for event in &self.events {
                let (socket, responses) = &mut self.sockets[event.token().0];
                match socket.read(&mut self.buffer) {
                    Ok(0) => bail!("the server closed a connection that waits"),
                    Ok(count) => {
                        if responses.push(&self.buffer[..count])? {
                            times.push(unix_us());
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error).context("the server hung up on a waiter"),
                }
            }
        }
        Ok(times)
    }
}

/// Where a playlist stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Edge {
    /// Number of the segment that is being made.
    msn: u64,
    /// Parts of it that exist.
    parts: usize,
    /// Parts of a whole segment.
    parts_per_segment: usize,
}

impl Edge {
    fn of(playlist: &str) -> Option<Self> {
        let mut edge = Self { msn: 0, parts: 0, parts_per_segment: 0 };
        for line in playlist.lines() {
            if let Some(first) = line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:") {
                edge.msn += first.trim().parse::<u64>().ok()?;
            } else if line.starts_with("#EXT-X-PART:") {
                edge.parts += 1;
            } else if line.starts_with("#EXTINF:") {
                edge.msn += 1;
                edge.parts_per_segment = edge.parts_per_segment.max(edge.parts);
                edge.parts = 0;
            }
        }
        (edge.parts_per_segment > 0).then_some(edge)
    }

    /// Segment and part number `ahead` parts after the next one.
    fn ahead(self, ahead: usize) -> (u64, usize) {
        let part = self.parts + ahead;
        let each = self.parts_per_segment;
        (self.msn + (part / each) as u64, part % each)
    }
}

/// Segments that a live playlist has had so far, as far as it knows.
pub(crate) fn segments(playlist: &str) -> u64 {
    let first = playlist.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:"));
    let first = first.and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0);
    first + playlist.lines().filter(|line| line.starts_with("#EXTINF:")).count() as u64
}

/// Publishes by `feed`, lets all wait for a part, several times.
pub(crate) fn run(feed: &publish::Spec, spec: &Wait) -> Result<Report> {
    let mut feed = Feed::start(feed)?;
    let edge = || -> Option<Edge> {
        let body = fetch::get(spec.addr, &spec.path).ok()?;
        Edge::of(&String::from_utf8_lossy(&body))
    };
    let end = Instant::now() + PLAYLIST_TIMEOUT;
    while edge().is_none() {
        ensure!(Instant::now() < end, "{} lists no parts", spec.path);
        feed.alive()?;
        std::thread::sleep(Duration::from_millis(200));
    }
    let mut report = Report { few: Usage::of(spec.pid)?, ..Report::default() };
    let mut sockets = Sockets::connect(spec.addr, spec.waiters)?;
    for _ in 0..spec.rounds {
        feed.alive()?;
        let (msn, part) = edge().context("the playlist is gone")?.ahead(PARTS_AHEAD);
        let path = format!("{}?_HLS_msn={msn}&_HLS_part={part}", spec.path);
        sockets.ask(&fetch::request(&path))?;
        let asked = unix_us();
        report.usage = Usage::of(spec.pid)?;
        let times = sockets.collect(PART_TIMEOUT)?;
        let missing = spec.waiters - times.len();
        report.check(missing == 0, || format!("{missing} of {} got no answer", spec.waiters));
        let Some(first) = times.iter().min() else { break };
        report.check(*first > asked, || "the part came before all were waiting".into());
        let began = feed.sent.before(*first);
        report.waits_ms.extend(times.iter().map(|time| (time - began) as f64 / 1e3));
    }
    report.units = spec.waiters as f64;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edge_is_read_and_looked_beyond() {
        let part = "#EXT-X-PART:DURATION=0.2,URI=\"x\"\n";
        let text = format!(
            "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:7\n{}#EXTINF:2.0,\na.m4s\n{}",
            part.repeat(10),
            part.repeat(4)
        );
        let edge = Edge::of(&text).unwrap();
        assert_eq!(edge, Edge { msn: 8, parts: 4, parts_per_segment: 10 });
        assert_eq!(edge.ahead(0), (8, 4));
        assert_eq!(edge.ahead(8), (9, 2));
        assert!(Edge::of("#EXTM3U\n").is_none());
    }
}
