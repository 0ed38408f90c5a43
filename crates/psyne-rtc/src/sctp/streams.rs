//! Messages that wait to be sent, and which stream is next.
//!
//! Streams take turns by deficit round robin (Shreedhar and Varghese, 1995): O(1) a fragment.
//! DATA's fragments must follow each other (RFC 9260, 6.9), so a turn ends only between messages;
//! those of I-DATA need not (RFC 8260, 3.6).

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use psyne_core::Time;

use super::wire::flag;

/// Bytes that a stream sends in its turn: a few packets, so that each is still bundled.
const TURN_BYTES: i64 = 4_096;
/// What a waiting message costs beside its bytes.
pub(super) const MESSAGE_OVERHEAD_BYTES: usize = 64;
/// A shorter piece than this is not cut off to fill up a packet.
const PIECE_BYTES_MIN: usize = 256;

/// Names a message with limits, for its fragments in flight.
pub(super) type Ticket = u32;
/// The ticket of a message without limits.
pub(super) const NO_TICKET: Ticket = u32::MAX;

/// A message as the application gave it.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) data: Bytes,
    pub(super) protocol: u32,
    pub(super) ordered: bool,
    pub(super) expires: Option<Time>,
    pub(super) ticket: Ticket,
}

/// A piece of a message that fits a packet.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) stream: u16,
    pub(super) flags: u8,
    pub(super) number: u32,
    pub(super) protocol: u32,
    pub(super) fragment: u32,
    pub(super) ticket: Ticket,
    pub(super) data: Bytes,
}

#[derive(Debug, Default)]
struct Stream {
    waiting: VecDeque<Waiting>,
    /// Fragments of the first message that have left.
    fragment: u32,
    ordered: u32,
    unordered: u32,
    /// Bytes that are neither acknowledged nor given up.
    buffered: usize,
    credit: i64,
    weight: u16,
}

/// All outgoing streams.
#[derive(Debug)]
pub(super) struct Streams {
    streams: BTreeMap<u16, Stream>,
    /// Streams with something to send; the first is in its turn.
    turns: VecDeque<u16>,
    interleaved: bool,
    /// Bytes that have not left, and their messages.
    waiting: usize,
    messages: usize,
    /// Messages whose time was over before they left.
    expired: Vec<Ticket>,
}

impl Streams {
    pub(super) fn new(interleaved: bool) -> Self {
        Self {
            streams: BTreeMap::new(),
            turns: VecDeque::new(),
            interleaved,
            waiting: 0,
            messages: 0,
            expired: Vec::new(),
        }
    }

    pub(super) fn set_interleaved(&mut self, interleaved: bool) {
        self.interleaved = interleaved;
    }

    pub(super) fn interleaved(&self) -> bool {
        self.interleaved
    }

    pub(super) fn push(&mut self, id: u16, message: Waiting) {
        let stream = self.streams.entry(id).or_default();
        stream.buffered += message.data.len();
        self.waiting += message.data.len();
        self.messages += 1;
        if stream.waiting.is_empty() {
            self.turns.push_back(id);
        }
        stream.waiting.push_back(message);
    }

    /// How much of the path a stream gets beside others: 256 is twice 128 (RFC 8831, 6.4). Zero:
    /// as 128.
    pub(super) fn set_weight(&mut self, id: u16, weight: u16) {
        self.streams.entry(id).or_default().weight = weight;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    pub(super) fn has_waiting(&self, id: u16) -> bool {
        self.streams.get(&id).is_some_and(|stream| !stream.waiting.is_empty())
    }

    pub(super) fn buffered(&self, id: u16) -> usize {
        self.streams.get(&id).map_or(0, |stream| stream.buffered)
    }

    /// Bytes of all streams that have not left.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// The same, with what each message costs beside its bytes.
    pub(super) fn cost(&self) -> usize {
        self.waiting + self.messages * MESSAGE_OVERHEAD_BYTES
    }

    /// Bytes of the stream were acknowledged or given up.
    pub(super) fn settle(&mut self, id: u16, bytes: usize) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.buffered = stream.buffered.saturating_sub(bytes);
        }
    }

    /// The peer took an acknowledgement back.
    pub(super) fn unsettle(&mut self, id: u16, bytes: usize) {
        self.streams.entry(id).or_default().buffered += bytes;
    }

    /// The stream's numbers begin anew.
    pub(super) fn reset(&mut self, id: u16) {
        if let Some(stream) = self.streams.get_mut(&id) {
            (stream.ordered, stream.unordered) = (0, 0);
            if stream.buffered == 0 && stream.waiting.is_empty() {
                self.streams.remove(&id);
            }
        }
    }

    /// What ran out of time since the last call.
    pub(super) fn take_expired(&mut self) -> impl Iterator<Item = Ticket> + '_ {
        self.expired.drain(..)
    }

    /// The next piece, of at most `room` bytes of payload. `None`: nothing waits, or what waits is
    /// better sent in a packet of its own.
    pub(super) fn next(&mut self, now: Time, room: usize, full: bool) -> Option<Piece> {
        loop {
            let id = *self.turns.front()?;
            let stream = self.streams.get_mut(&id)?;
            let Some(first) = stream.waiting.front() else {
                self.turns.pop_front();
                continue;
            };
            if first.expires.is_some_and(|time| time <= now) && stream.fragment == 0 {
                self.expire(id);
                continue;
            }
            let inside = stream.fragment > 0 && !self.interleaved;
            if stream.credit <= 0 && !inside {
                stream.credit += TURN_BYTES * i64::from(weight(stream.weight)) / 128;
                self.turns.rotate_left(1);
                continue;
            }
            let left = first.data.len();
            if left > room && !full && room < PIECE_BYTES_MIN || room == 0 {
                return None;
            }
            return Some(self.cut(id, room));
        }
    }

    fn cut(&mut self, id: u16, room: usize) -> Piece {
        let stream = self.streams.get_mut(&id).expect("it has its turn");
        let first = stream.waiting.front_mut().expect("a stream in turns has a message");
        let data = first.data.split_to(first.data.len().min(room));
        let begins = stream.fragment == 0;
        let ends = first.data.is_empty();
        let numbers = if first.ordered { &mut stream.ordered } else { &mut stream.unordered };
        let piece = Piece {
            stream: id,
            flags: if begins { flag::BEGIN } else { 0 }
                | if ends { flag::END } else { 0 }
                | if first.ordered { 0 } else { flag::UNORDERED },
            number: *numbers,
            protocol: first.protocol,
            fragment: stream.fragment,
            ticket: first.ticket,
            data,
        };
        stream.fragment += 1;
        stream.credit -= piece.data.len() as i64;
        self.waiting -= piece.data.len();
        if ends {
            // Unordered DATA has no number that means anything.
            if first.ordered || self.interleaved {
                *numbers = numbers.wrapping_add(1);
            }
            self.end_message(id);
        }
        piece
    }

    /// The first message of the stream is done with.
    fn end_message(&mut self, id: u16) {
        let stream = self.streams.get_mut(&id).expect("it has its turn");
        stream.waiting.pop_front();
        self.messages -= 1;
        stream.fragment = 0;
        if stream.waiting.is_empty() {
            stream.credit = 0;
            match self.turns.front() {
                Some(front) if *front == id => drop(self.turns.pop_front()),
                _ => self.turns.retain(|turn| *turn != id),
            }
        }
    }

    fn expire(&mut self, id: u16) {
        let stream = self.streams.get_mut(&id).expect("it has its turn");
        let Some(first) = stream.waiting.front() else { return };
        let bytes = first.data.len();
        self.expired.push(first.ticket);
        stream.buffered -= bytes;
        self.waiting -= bytes;
        self.end_message(id);
    }

    /// Drops what has not left of a message that was given up, and makes an empty last piece of it.
    pub(super) fn give_up(&mut self, id: u16, ticket: Ticket) -> Option<Piece> {
        let stream = self.streams.get_mut(&id)?;
        let first = stream.waiting.front().filter(|first| first.ticket == ticket)?;
        let (bytes, ordered, protocol) = (first.data.len(), first.ordered, first.protocol);
        let numbers = if ordered { &mut stream.ordered } else { &mut stream.unordered };
        let piece = Piece {
            stream: id,
            flags: flag::END | if ordered { 0 } else { flag::UNORDERED },
            number: *numbers,
            protocol,
            fragment: stream.fragment,
            ticket,
            data: Bytes::new(),
        };
        if ordered || self.interleaved {
            *numbers = numbers.wrapping_add(1);
        }
        stream.buffered -= bytes;
        self.waiting -= bytes;
        self.end_message(id);
        Some(piece)
    }
}

fn weight(weight: u16) -> u16 {
    if weight == 0 { 128 } else { weight.clamp(8, 4_096) }
}
