//! The association: handshake, packets in, packets out.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
use core::time::Duration;
use psyne_core::Time;

use super::config::Config;
use super::cookie::{Key, Peer};
use super::flight::Flight;
use super::inbound::Inbound;
use super::resets::Resets;
use super::streams::{MESSAGE_OVERHEAD_BYTES, Streams, Waiting};
use super::wire::{self, Offers, cause, kind};
use crate::Error;
use crate::association::{
    self, Association as Contract, Closed, Delivery, Event, Message, Output, Reliability,
};

/// Packets are cut from pieces of this size, so that most cost no allocation.
const SLAB_BYTES: usize = 64 * 1024;

/// Where in its life an association is (RFC 9260, 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Neither end has begun.
    Idle,
    /// Our INIT is out.
    CookieWait,
    /// The peer's cookie is out.
    CookieEchoed,
    Open,
    /// [`Association::shutdown`] waits for all to arrive.
    ShutdownPending,
    /// Our SHUTDOWN is out.
    ShutdownSent,
    /// The peer's SHUTDOWN waits for all of ours to arrive.
    ShutdownReceived,
    /// Our SHUTDOWN ACK is out.
    ShutdownAckSent,
    Over,
}

/// Counters of one association, from its beginning on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Packets sent.
    pub packets_out: u64,
    /// Packets that were taken.
    pub packets_in: u64,
    /// Packets that were dropped whole: too short, other ports, wrong checksum or tag.
    pub packets_dropped: u64,
    /// Chunks that were dropped: malformed, unknown, or not fitting the state.
    pub chunks_dropped: u64,
    /// Chunks of data sent again.
    pub chunks_repeated: u64,
    /// Chunks of data that came more than once.
    pub chunks_doubled: u64,
    /// Chunks of data that had no room here.
    pub chunks_refused: u64,
    /// Bytes of chunks that were found lost.
    pub bytes_lost: u64,
    /// Bytes of chunks in flight.
    pub bytes_in_flight: u64,
    /// Bytes of holes' neighbours and messages not yet taken, with what keeping them costs.
    pub bytes_held: u64,
    /// The smoothed round trip.
    pub rtt: Option<Duration>,
    /// The path's rate in bytes a second, as far as known.
    pub rate: u64,
}

/// A chunk that waits for a packet, and the tag that the packet must have.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) tag: u32,
    /// INIT ACK travels alone (RFC 9260, 6.10).
    pub(super) alone: bool,
    pub(super) chunk: Bytes,
}

/// The chunk that a handshake or a shutdown repeats until it is answered.
#[derive(Debug)]
pub(super) struct Repeat {
    pub(super) chunk: Bytes,
    pub(super) made: Time,
    pub(super) due: bool,
    pub(super) alarm: Time,
    pub(super) count: u32,
}

/// What is known once the peer is.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) tag: u32,
    pub(super) offers: Offers,
    pub(super) streams_out: u16,
    pub(super) inbound: Inbound,
    pub(super) resets: Resets,
}

impl Link {
    fn has_messages(&self) -> bool {
        self.inbound.assembly.has_ready()
    }
}

/// An SCTP association for data channels over DTLS.
#[derive(Debug)]
pub struct Association {
    pub(super) config: Config,
    pub(super) now: Time,
    pub(super) phase: Phase,
    pub(super) tag: u32,
    pub(super) tsn: u32,
    pub(super) key: Key,
    pub(super) link: Option<Link>,
    pub(super) streams: Streams,
    pub(super) flight: Flight,
    pub(super) repeat: Option<Repeat>,
    pub(super) answers: VecDeque<Answer>,
    pub(super) events: VecDeque<Event>,
    pub(super) heartbeat_at: Time,
    pub(super) heartbeat_due: bool,
    /// Heartbeats without an answer.
    pub(super) heartbeats: u32,
    pub(super) metrics: Metrics,
    held: bool,
    buffer: BytesMut,
}

impl Association {
    /// An association that nobody has begun. It answers the peer's INIT; `seed` makes tags and the
    /// cookies' key, so it must be one that the peer cannot know.
    #[must_use]
    pub fn new(config: Config, now: Time, seed: u64) -> Self {
        let mut random = blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof();
        let (mut key, mut rest) = ([0; 32], [0; 16]);
        random.fill(&mut key);
        random.fill(&mut rest);
        let mut rest = &rest[..];
        let tag = wire::take_u32(&mut rest).unwrap_or_default().max(1);
        let tsn = wire::take_u32(&mut rest).unwrap_or_default();
        let probing = wire::take_u64(&mut rest).unwrap_or_default();
        Self {
            flight: Flight::new(&config, now, tsn, probing),
            heartbeat_at: now + config.heartbeat,
            config,
            now,
            phase: Phase::Idle,
            tag,
            tsn,
            key: Key(key),
            link: None,
            streams: Streams::new(false),
            repeat: None,
            answers: VecDeque::new(),
            events: VecDeque::new(),
            heartbeat_due: false,
            heartbeats: 0,
            metrics: Metrics::default(),
            held: false,
            buffer: BytesMut::new(),
        }
    }

    /// Ends the association when all that was sent has arrived (RFC 9260, 9.2). Nothing more is
    /// taken for sending.
    pub fn shutdown(&mut self, now: Time) {
        self.advance(now);
        match self.phase {
            Phase::Open => self.phase = Phase::ShutdownPending,
            Phase::Idle | Phase::CookieWait | Phase::CookieEchoed => self.end(Closed::Local),
            _ => {}
        }
        self.go_on_ending();
    }

    /// The path below carries other packets now. What is in flight keeps its size, so begin small.
    pub fn set_packet_bytes_max(&mut self, bytes: usize) {
        self.config.common.packet_bytes_max = bytes;
        self.flight.packet_bytes = bytes;
    }

    /// The peer takes messages of this length, which its description may tell late
    /// (`a=max-message-size`).
    pub fn set_send_message_bytes_max(&mut self, bytes: usize) {
        self.config.common.send_message_bytes_max = bytes;
    }

    /// How much of the path a stream gets beside others that have something to send: priority 256
    /// is twice 128, which is what a stream has at first (RFC 8831, 6.4).
    pub fn set_priority(&mut self, stream: u16, priority: u16) {
        self.streams.set_weight(stream, priority);
    }

    /// Whether messages are interleaved (RFC 8260), which both ends must offer.
    #[must_use]
    pub fn is_interleaved(&self) -> bool {
        self.streams.interleaved()
    }

    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let inbound = self.link.as_ref().map(|link| &link.inbound);
        Metrics {
            chunks_repeated: self.flight.repeats,
            chunks_doubled: inbound.map_or(0, |inbound| inbound.doubled),
            chunks_refused: inbound.map_or(0, |inbound| inbound.refused),
            bytes_lost: self.flight.lost_bytes(),
            bytes_in_flight: self.flight.flying(),
            bytes_held: inbound.map_or(0, |inbound| inbound.assembly.used() as u64),
            rtt: self.flight.rtt().smooth(),
            rate: self.flight.rate(),
            ..self.metrics
        }
    }

    pub(super) fn advance(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// What this end offers.
    pub(super) fn offers(&self) -> Offers {
        Offers {
            forward: true,
            interleaving: self.config.interleaving,
            reset: true,
            zero_checksum: self.config.zero_checksum,
        }
    }

    /// The peer is known, so there is somewhere to put what it sends.
    pub(super) fn join(&mut self, peer: &Peer, rtt: Option<Duration>) {
        let ours = self.offers();
        let interleaving = ours.interleaving && peer.offers.interleaving;
        self.streams.set_interleaved(interleaving);
        self.flight.open(self.now, peer.window, interleaving, rtt);
        self.link = Some(Link {
            tag: peer.tag,
            offers: Offers { interleaving, ..peer.offers },
            streams_out: peer.streams_in.min(self.config.common.streams_max),
            inbound: Inbound::new(&self.config, peer.tsn),
            resets: Resets::new(self.tsn, peer.tsn),
        });
    }

    pub(super) fn open(&mut self) {
        self.phase = Phase::Open;
        self.repeat = None;
        self.heartbeat_at = self.now + self.config.heartbeat;
        self.events.push_back(Event::Connected);
    }

    /// It is over; an ABORT may still leave.
    pub(super) fn end(&mut self, reason: Closed) {
        if self.phase != Phase::Over {
            self.phase = Phase::Over;
            self.repeat = None;
            self.events.push_back(Event::Closed(reason));
        }
    }

    /// Ends it and tells the peer why.
    pub(super) fn abort_with(&mut self, reason: Closed, cause: u16, text: &str) {
        if self.phase == Phase::Over {
            return;
        }
        if let Some(link) = &self.link {
            let tag = link.tag;
            let mut chunk = BytesMut::new();
            wire::chunk(&mut chunk, kind::ABORT, 0, |out| {
                wire::tlv(out, cause, |out| out.put_slice(text.as_bytes()));
            });
            self.answers.clear();
            self.answers.push_back(Answer { tag, alone: true, chunk: chunk.freeze() });
        }
        self.end(reason);
    }

    /// Queues a chunk for the peer, unless too many wait.
    pub(super) fn answer(&mut self, chunk: BytesMut) {
        let Some(tag) = self.link.as_ref().map(|link| link.tag) else { return };
        self.answer_to(tag, false, chunk);
    }

    pub(super) fn answer_to(&mut self, tag: u32, alone: bool, chunk: BytesMut) {
        if self.answers.len() < self.config.answers_max {
            self.answers.push_back(Answer { tag, alone, chunk: chunk.freeze() });
        } else {
            self.metrics.chunks_dropped += 1;
        }
    }

    /// The steps of a shutdown that all data's arrival allows.
    pub(super) fn go_on_ending(&mut self) {
        let empty = self.streams.is_empty() && self.flight.is_empty();
        let Some(link) = self.link.as_ref().filter(|_| empty) else { return };
        let cumulative = link.inbound.cumulative() as u32;
        match self.phase {
            Phase::ShutdownPending => {
                self.phase = Phase::ShutdownSent;
                self.repeat_chunk(kind::SHUTDOWN, |out| out.put_u32(cumulative));
            }
            Phase::ShutdownReceived => {
                self.phase = Phase::ShutdownAckSent;
                self.repeat_chunk(kind::SHUTDOWN_ACK, |_| ());
            }
            _ => {}
        }
    }

    /// Sends a chunk until it is answered.
    pub(super) fn repeat_chunk(&mut self, kind: u8, write: impl FnOnce(&mut BytesMut)) {
        let mut chunk = BytesMut::new();
        wire::chunk(&mut chunk, kind, 0, write);
        let (now, chunk) = (self.now, chunk.freeze());
        self.repeat = Some(Repeat { chunk, made: now, due: true, alarm: now, count: 0 });
    }

    fn admit(&self, message: &Message) -> Result<(), Error> {
        let common = &self.config.common;
        let link = self.link.as_ref().filter(|_| self.is_open()).ok_or(Error::NotOpen)?;
        if message.data.is_empty() {
            return Err(Error::Malformed { what: "a message without bytes" });
        }
        if message.data.len() > common.send_message_bytes_max {
            let max = common.send_message_bytes_max;
            return Err(Error::TooMuch { what: "send_message_bytes_max", max });
        }
        if message.stream >= link.streams_out {
            return Err(Error::TooMuch { what: "streams_max", max: link.streams_out.into() });
        }
        if link.resets.is_resetting(message.stream) {
            return Err(Error::NotOpen);
        }
        if message.data.len() > self.room_bytes() { Err(Error::Full) } else { Ok(()) }
    }

    fn packet(&mut self) -> Option<Bytes> {
        let limit = self.config.common.packet_bytes_max;
        if self.buffer.capacity() < limit + wire::HEADER_BYTES {
            self.buffer.reserve(SLAB_BYTES.max(2 * limit));
        }
        let mut out = core::mem::take(&mut self.buffer);
        let whole = self.fill(&mut out, limit);
        let packet = (out.len() > wire::HEADER_BYTES).then(|| out.split().freeze());
        out.clear();
        self.buffer = out;
        let packet = packet?;
        self.metrics.packets_out += 1;
        debug_assert!(whole, "a packet has a tag");
        Some(packet)
    }

    /// Writes what is to be sent into a packet, and says whether there was anything.
    fn fill(&mut self, out: &mut BytesMut, limit: usize) -> bool {
        let Some(tag) = self.next_tag() else { return false };
        let common = &self.config.common;
        let (source, destination) = (common.local_port, common.remote_port);
        wire::begin(out, wire::Header { source, destination, tag });
        let alone = self.fill_answers(out, limit, tag);
        let sum = alone || self.fill_repeat(out);
        if !sum && self.link.is_some() {
            self.fill_data(out, limit);
        }
        if out.len() > wire::HEADER_BYTES && (sum || !self.may_leave_out_sum()) {
            wire::seal(out);
        }
        true
    }

    fn may_leave_out_sum(&self) -> bool {
        let peer = self.link.as_ref().is_some_and(|link| link.offers.zero_checksum);
        peer && self.config.zero_checksum && self.phase != Phase::CookieEchoed
    }

    /// The tag of the next packet: INIT has none, and some answers go to where there is no link
    /// yet.
    fn next_tag(&self) -> Option<u32> {
        if let Some(answer) = self.answers.front() {
            return Some(answer.tag);
        }
        match (&self.link, self.phase) {
            (_, Phase::Over) => None,
            (_, Phase::CookieWait) => Some(0),
            (Some(link), _) => Some(link.tag),
            (None, _) => None,
        }
    }

    /// Answers for this tag, as many as fit; `true`: nothing else may join them.
    fn fill_answers(&mut self, out: &mut BytesMut, limit: usize, tag: u32) -> bool {
        while let Some(answer) = self.answers.front() {
            let begun = out.len() > wire::HEADER_BYTES;
            let fits = out.len() + answer.chunk.len() <= limit && !answer.alone;
            if answer.tag != tag || begun && !fits {
                break;
            }
            let Some(answer) = self.answers.pop_front() else { break };
            out.put_slice(&answer.chunk);
            if answer.alone {
                return true;
            }
        }
        self.phase == Phase::Over
            || self.link.as_ref().is_none_or(|link| link.tag != tag)
                && out.len() > wire::HEADER_BYTES
    }

    /// The chunk of a handshake or a shutdown; `true`: it travels alone or needs the checksum.
    fn fill_repeat(&mut self, out: &mut BytesMut) -> bool {
        let timeout = self.flight.rtt().timeout();
        let Some(repeat) = self.repeat.as_mut().filter(|repeat| repeat.due) else {
            return matches!(self.phase, Phase::CookieWait);
        };
        // INIT and COOKIE ECHO have a packet of their own.
        let first = matches!(self.phase, Phase::CookieWait | Phase::CookieEchoed);
        if first && out.len() > wire::HEADER_BYTES {
            return false;
        }
        repeat.due = false;
        let doublings = repeat.count.min(16);
        let wait = (timeout * (1 << doublings)).min(self.config.rto_max);
        repeat.alarm = self.now + wait;
        out.put_slice(&repeat.chunk);
        first
    }

    fn fill_data(&mut self, out: &mut BytesMut, limit: usize) {
        let Some(link) = &mut self.link else { return };
        if self.phase == Phase::CookieEchoed {
            return;
        }
        let data = self.flight.may_send(self.now, &self.streams);
        if link.inbound.is_due(self.now) || data && link.inbound.is_waiting() {
            // Half of the packet at most, so that data goes on however many holes there are.
            let room = (limit.saturating_sub(out.len())) / 2;
            link.inbound.write_sack(out, room.max(16));
        }
        if core::mem::take(&mut self.heartbeat_due) {
            let now = self.now.as_micros();
            wire::chunk(out, kind::HEARTBEAT, 0, |out| wire::tlv(out, 1, |out| out.put_u64(now)));
        }
        if link.offers.reset && link.resets.is_due(&self.streams, self.flight.next_tsn()) {
            link.resets.write(out, limit, self.now + self.flight.rtt().timeout());
        }
        if data {
            self.flight.fill(self.now, &mut self.streams, out, limit);
        }
    }

    /// When something must happen without an input.
    fn next_time(&self) -> Option<Time> {
        if self.phase == Phase::Over {
            return None;
        }
        let repeat = self.repeat.as_ref().map(|repeat| repeat.alarm);
        let Some(link) = &self.link else { return repeat };
        let times = [
            repeat,
            link.inbound.next_time(),
            link.resets.next_time(),
            self.flight.next_time(),
            Some(self.heartbeat_at),
        ];
        times.into_iter().flatten().min()
    }

    fn repeat_again(&mut self) {
        let handshake = matches!(self.phase, Phase::CookieWait | Phase::CookieEchoed);
        let most = if handshake { self.config.init_repeats_max } else { self.config.repeats_max };
        let Some(repeat) = self.repeat.as_mut().filter(|r| !r.due && r.alarm <= self.now) else {
            return;
        };
        repeat.due = true;
        repeat.count += 1;
        if repeat.count > most {
            // Who asked for the end may have gone as soon as it saw ours coming.
            let asked = self.phase == Phase::ShutdownAckSent;
            self.end(if asked { Closed::Remote } else { Closed::Silent });
        }
    }

    fn beat(&mut self) {
        if self.heartbeat_at > self.now {
            return;
        }
        // The first one asks; those after it are repetitions.
        self.heartbeat_due = true;
        self.heartbeats += 1;
        self.heartbeat_at = self.now + self.flight.rtt().timeout().max(Duration::from_secs(1));
    }
}

impl Contract for Association {
    fn connect(&mut self, now: Time) {
        self.advance(now);
        if self.phase == Phase::Idle {
            self.begin_handshake();
        }
    }

    fn handle_packet(&mut self, now: Time, packet: Bytes) {
        self.advance(now);
        self.read_packet(&packet);
        self.go_on_ending();
    }

    fn handle_timeout(&mut self, now: Time) {
        self.advance(now);
        if self.phase == Phase::Over {
            return;
        }
        self.repeat_again();
        let Some(link) = &mut self.link else { return };
        link.resets.handle_timeout(now);
        self.flight.handle_timeout(now, &mut self.streams);
        let silent = self.flight.silent.max(link.resets.silent);
        self.beat();
        if silent.max(self.heartbeats) > self.config.repeats_max {
            self.abort_with(Closed::Silent, cause::USER_ABORT, "silence");
        }
        self.go_on_ending();
    }

    fn send(&mut self, now: Time, message: Message, delivery: Delivery) -> Result<(), Error> {
        self.advance(now);
        self.admit(&message)?;
        let forward = self.link.as_ref().is_some_and(|link| link.offers.forward);
        // A peer that cannot be told to skip gets everything (RFC 3758, 3.1).
        let reliability = if forward { delivery.reliability } else { Reliability::Reliable };
        let ticket = self.flight.tickets.issue(self.now, reliability);
        let expires = self.flight.tickets.expires(ticket);
        let Message { stream, ppid: protocol, data } = message;
        let ordered = delivery.ordered;
        self.streams.push(stream, Waiting { data, protocol, ordered, expires, ticket });
        Ok(())
    }

    fn reset(&mut self, now: Time, stream: u16) {
        self.advance(now);
        if let Some(link) = self.link.as_mut().filter(|link| link.offers.reset) {
            link.resets.want(stream);
        }
    }

    fn hold_messages(&mut self, hold: bool) {
        self.held = hold;
    }

    fn abort(&mut self, now: Time) {
        self.advance(now);
        self.abort_with(Closed::Local, cause::USER_ABORT, "");
    }

    fn buffered_bytes(&self, stream: u16) -> usize {
        self.streams.buffered(stream)
    }

    fn room_bytes(&self) -> usize {
        let held = self.streams.cost() + self.flight.held();
        // One message always has room, or a buffer smaller than a message could never be filled.
        if held == 0 {
            return usize::MAX;
        }
        let max = self.config.common.send_buffer_bytes_max;
        max.saturating_sub(held + MESSAGE_OVERHEAD_BYTES)
    }

    fn metrics(&self) -> association::Metrics {
        let all = Self::metrics(self);
        association::Metrics {
            rtt: all.rtt,
            rate_bytes_per_s: all.rate,
            packets_out: all.packets_out,
            packets_in: all.packets_in,
            bytes_lost: all.bytes_lost,
        }
    }

    fn poll_output(&mut self) -> Output {
        if let Some(Event::Connected) = self.events.front() {
            self.events.pop_front();
            return Output::Event(Event::Connected);
        }
        if let Some(link) = self.link.as_mut().filter(|_| !self.held)
            && let Some(message) = link.inbound.assembly.pop()
        {
            link.inbound.taken();
            return Output::Event(Event::Message(message));
        }
        if let Some(packet) = self.packet() {
            return Output::Transmit(packet);
        }
        // An end of a stream, or of all, comes after the messages before it.
        let waits = self.held && self.link.as_ref().is_some_and(Link::has_messages);
        if let Some(event) = self.events.pop_front_if(|_| !waits) {
            return Output::Event(event);
        }
        Output::Wait(self.next_time())
    }
}
