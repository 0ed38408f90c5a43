//! MPEG transport streams (ISO/IEC 13818-1) as SRT and files carry them.
//!
//! [`Demuxer`] finds packets in bytes cut anywhere, follows the tables of the first program, puts
//! PES packets together and hands out frames. What is damaged on the way is dropped, and the rest
//! goes on: a transport stream has no moment at which it is finally broken, apart from bytes that
//! are no transport stream at all.
//!
//! A PES packet whose length is not stated, as video has them, ends when the next one begins: such
//! pictures come one frame late. It may hold several pictures. Several may share one picture, which
//! is put together from the second such picture of a stream on: until then nobody waits for what
//! might follow. What is not carried is named by [`Demuxer::take_left_out`].

mod pes;
mod psi;
mod stream;

use std::collections::VecDeque;

use crate::Error;
use crate::media::{Demux, Event};
use pes::Pes;
use psi::Sections;
use stream::Stream;

const PACKET_BYTES: usize = 188;
const SYNC: u8 = 0x47;
const PAT_PID: u16 = 0;

/// Limits of a [`Demuxer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// A longer PES packet is dropped. 8 MiB holds a keyframe of 60 Mbit/s video.
    pub pes_bytes_max: usize,
    /// Streams of the program beyond these are ignored. 8 is what a broadcast uses.
    pub streams_max: usize,
    /// Bytes without a packet among them after which the source is given up: 1 MiB is some seconds
    /// of a live stream.
    pub garbage_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { pes_bytes_max: 8 << 20, streams_max: 8, garbage_bytes_max: 1 << 20 }
    }
}

/// Takes a transport stream apart. Events wait until they are polled; as many as the bytes of one
/// push make.
#[derive(Debug, Default)]
pub struct Demuxer {
    config: Config,
    /// Bytes of a packet that is not complete.
    rest: Vec<u8>,
    /// The last bytes were a packet, so the next ones are trusted to begin one. Otherwise a
    /// packet must be followed by another to count.
    synchronous: bool,
    garbage_bytes: usize,
    pat: Sections,
    map: Option<Map>,
    streams: Vec<Stream>,
    /// Last continuity counter of each PID that is followed.
    counters: Vec<(u16, u8)>,
    /// Last time seen, in 90 kHz, unwrapped.
    time: Option<i64>,
    events: VecDeque<Event>,
    left_out: Vec<&'static str>,
    /// As many as there are names.
    told: Vec<&'static str>,
}

#[derive(Debug)]
struct Map {
    pid: u16,
    sections: Sections,
    current: Vec<u8>,
}

/// A packet's header and payload.
struct Packet<'a> {
    pid: u16,
    starts: bool,
    counter: u8,
    announced_jump: bool,
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// `None` if it is damaged, scrambled or has no payload.
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<4>()?;
        if header[1] & 0x80 != 0 || header[3] & 0xc0 != 0 || header[3] & 0x10 == 0 {
            return None;
        }
        let (adaptation, payload) = if header[3] & 0x20 == 0 {
            (&[][..], rest)
        } else {
            let (&length, rest) = rest.split_first()?;
            rest.split_at_checked(usize::from(length))?
        };
        Some(Self {
            pid: u16::from(header[1] & 0x1f) << 8 | u16::from(header[2]),
            starts: header[1] & 0x40 != 0,
            counter: header[3] & 15,
            announced_jump: adaptation.first().is_some_and(|flags| flags & 0x80 != 0),
            payload,
        })
    }
}

/// What a continuity counter says about the packets before it.
enum Continuity {
    Whole,
    Repeated,
    Lost,
}

impl Demuxer {
    /// A demuxer before its first byte.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, ..Self::default() }
    }

    /// What the program has and this demuxer leaves out, by name: each one once.
    pub fn take_left_out(&mut self) -> Vec<&'static str> {
        core::mem::take(&mut self.left_out)
    }

    /// The source ended as it should: hands out what waits for its end, then [`Event::End`].
    pub fn finish(&mut self) {
        for at in 0..self.streams.len() {
            let last = self.streams[at].assembler.finish();
            let whole = last.and_then(|pes| self.streams[at].joined(pes, &self.config));
            let held = self.streams[at].take_held();
            for pes in whole.into_iter().chain(held) {
                self.take_pes(at, &pes);
            }
        }
        self.events.push_back(Event::End);
    }

    fn take_packet(&mut self, bytes: &[u8]) {
        let Some(packet) = Packet::parse(bytes) else { return };
        let stream = self.streams.iter().position(|stream| stream.elementary.pid == packet.pid);
        let is_map = self.map.as_ref().is_some_and(|map| map.pid == packet.pid);
        if packet.pid != PAT_PID && !is_map && stream.is_none() {
            return;
        }
        match self.continuity(&packet) {
            Continuity::Repeated => return,
            Continuity::Lost => self.drop_damaged(packet.pid, stream),
            Continuity::Whole => {}
        }
        if packet.pid == PAT_PID {
            self.take_association(&packet);
        } else if let Some(at) = stream {
            self.take_payload(at, &packet);
        } else {
            self.take_map(&packet);
        }
    }

    fn continuity(&mut self, packet: &Packet<'_>) -> Continuity {
        let Some((_, last)) = self.counters.iter_mut().find(|(pid, _)| *pid == packet.pid) else {
            self.counters.push((packet.pid, packet.counter));
            return Continuity::Whole;
        };
        let before = core::mem::replace(last, packet.counter);
        if packet.counter == (before + 1) & 15 || packet.announced_jump {
            Continuity::Whole
        } else if packet.counter == before {
            Continuity::Repeated
        } else {
            Continuity::Lost
        }
    }

    fn drop_damaged(&mut self, pid: u16, stream: Option<usize>) {
        match (stream, &mut self.map) {
            (Some(at), _) => self.streams[at].drop_damaged(),
            (None, Some(map)) if map.pid == pid => map.sections.clear(),
            _ => self.pat.clear(),
        }
    }

    fn take_association(&mut self, packet: &Packet<'_>) {
        let section = self.pat.push(packet.starts, packet.payload);
        let Some(pid) = section.as_deref().and_then(psi::program_map_pid) else { return };
        if self.map.as_ref().is_none_or(|map| map.pid != pid) {
            self.map = Some(Map { pid, sections: Sections::default(), current: Vec::new() });
        }
    }

    fn take_map(&mut self, packet: &Packet<'_>) {
        let Some(map) = &mut self.map else { return };
        let Some(section) = map.sections.push(packet.starts, packet.payload) else { return };
        if section == map.current {
            return;
        }
        let Some(program) = psi::program_map(&section) else { return };
        map.current = section;
        for name in program.left_out {
            if !self.told.contains(&name) {
                self.told.push(name);
                self.left_out.push(name);
            }
        }
        let elementary = program.streams;
        self.streams.retain(|stream| elementary.contains(&stream.elementary));
        for new in elementary {
            let known = self.streams.iter().any(|stream| stream.elementary.pid == new.pid);
            if !known && self.streams.len() < self.config.streams_max {
                self.streams.push(Stream::new(new, self.free_index(new)));
            }
        }
        let map_pid = map_pid(&self.map);
        let streams = &self.streams;
        self.counters.retain(|&(pid, _)| {
            let carried = streams.iter().any(|stream| stream.elementary.pid == pid);
            pid == PAT_PID || Some(pid) == map_pid || carried
        });
    }

    fn free_index(&self, new: psi::Elementary) -> u8 {
        let kind = new.codec.kind();
        let taken = |index| {
            let mut ids = self.streams.iter().map(Stream::id);
            ids.any(|id| id.kind == kind && id.index == index)
        };
        (0..u8::MAX).find(|&index| !taken(index)).unwrap_or(u8::MAX)
    }

    fn take_payload(&mut self, at: usize, packet: &Packet<'_>) {
        let assembler = &mut self.streams[at].assembler;
        let before = if packet.starts { assembler.start() } else { None };
        let whole = assembler.push(packet.payload, self.config.pes_bytes_max);
        for pes in before.into_iter().chain(whole) {
            if let Some(pes) = self.streams[at].joined(pes, &self.config) {
                self.take_pes(at, &pes);
            }
        }
    }

    fn take_pes(&mut self, at: usize, pes: &Pes) {
        let times_us = pes.pts.zip(pes.dts).map(|(pts, dts)| {
            let dts = self.unwrap(dts);
            (to_us(nearest(dts, pts)), to_us(dts))
        });
        self.streams[at].take(pes, times_us, &mut self.events);
    }

    fn unwrap(&mut self, time: u64) -> i64 {
        let time = self.time.map_or(time as i64, |last| nearest(last, time));
        self.time = Some(time);
        time
    }
}

fn map_pid(map: &Option<Map>) -> Option<u16> {
    map.as_ref().map(|map| map.pid)
}

/// The time nearest to `reference` whose low 33 bits are `time`.
const fn nearest(reference: i64, time: u64) -> i64 {
    // Sign-extends the 33-bit difference.
    let ahead = (time as i64).wrapping_sub(reference) << 31 >> 31;
    reference + ahead
}

const fn to_us(ticks: i64) -> i64 {
    (ticks * 100).div_euclid(9)
}

impl Demux for Demuxer {
    /// # Errors
    /// [`Error::Limit`] of `garbage_bytes_max`: the bytes are no transport stream.
    fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut joined = core::mem::take(&mut self.rest);
        joined.extend_from_slice(bytes);
        let mut rest = &joined[..];
        while rest.len() >= PACKET_BYTES {
            let followed = rest.get(PACKET_BYTES).map(|&next| next == SYNC);
            if rest[0] == SYNC && !self.synchronous && followed.is_none() {
                break;
            }
            if rest[0] == SYNC && (self.synchronous || followed == Some(true)) {
                (self.synchronous, self.garbage_bytes) = (true, 0);
                self.take_packet(&rest[..PACKET_BYTES]);
                rest = &rest[PACKET_BYTES..];
                continue;
            }
            let skipped = rest[1..].iter().position(|&byte| byte == SYNC);
            let skipped = skipped.map_or(rest.len(), |at| at + 1);
            rest = &rest[skipped..];
            self.synchronous = false;
            self.garbage_bytes += skipped;
            if self.garbage_bytes > self.config.garbage_bytes_max {
                let (value, max) = (self.garbage_bytes, self.config.garbage_bytes_max);
                let (value, max) = (value as u64, max as u64);
                return Err(Error::Limit { limit: "garbage_bytes_max", value, max });
            }
        }
        self.rest = rest.to_vec();
        Ok(())
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}
