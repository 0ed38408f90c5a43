//! Fragments become messages, and messages get their order (RFC 9260, 6.5 to 6.9; RFC 8260, 2.1).
//!
//! A run is what arrived of one message without a hole. DATA's fragments are neighbours by TSN,
//! those of I-DATA by their own numbers; with that as position, both are the same work. A fragment
//! that arrives in turn is copied once, to where its message will be handed over from.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::wire::{Data, flag, unwrap_u16, unwrap_u32};
use crate::association::Message;

/// What a message or a run costs beside its bytes, so that small ones are not free.
const OVERHEAD_BYTES: usize = 96;
/// Stream numbers count from here up, so that those before it can be told from those after.
const BASE: u64 = 1 << 32;

/// What ends the association: the peer broke a rule or a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// RFC 9260, 3.3.10.13; says what was wrong.
    Violation(&'static str),
    /// RFC 9260, 3.3.10.4.
    Resource,
    /// A chunk without payload (RFC 9260, 3.3.10.9).
    Empty,
}

/// Which sequence of positions a fragment belongs to, ordered so that a stream's lie together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Space {
    /// All DATA: positions are TSNs.
    Tsn,
    /// One message's I-DATA: stream, unordered, MID; positions are fragment numbers.
    Message(u16, bool, u32),
}

#[derive(Debug)]
struct Run {
    stream: u16,
    number: u32,
    unordered: bool,
    protocol: u32,
    begins: bool,
    ends: bool,
    /// The position after its last.
    next: u64,
    bytes: usize,
    parts: VecDeque<Vec<u8>>,
}

impl Run {
    fn new(data: &Data<'_>, position: u64, capacity: usize) -> Self {
        let mut part = Vec::with_capacity(capacity.max(data.payload.len()));
        part.extend_from_slice(data.payload);
        Self {
            stream: data.stream,
            number: data.number,
            unordered: data.flags & flag::UNORDERED != 0,
            protocol: data.protocol,
            begins: data.flags & flag::BEGIN != 0,
            ends: data.flags & flag::END != 0,
            next: position + 1,
            bytes: data.payload.len(),
            parts: VecDeque::from([part]),
        }
    }

    fn is_of(&self, data: &Data<'_>) -> bool {
        let unordered = data.flags & flag::UNORDERED != 0;
        // The SSN of unordered DATA means nothing (RFC 9260, 3.3.1).
        let numbered = data.interleaved || !unordered;
        self.stream == data.stream
            && self.unordered == unordered
            && (!numbered || self.number == data.number)
    }

    fn append(&mut self, data: &Data<'_>) {
        match self.parts.back_mut() {
            Some(part) => part.extend_from_slice(data.payload),
            None => self.parts.push_back(data.payload.to_vec()),
        }
        self.ends = data.flags & flag::END != 0;
        self.next += 1;
        self.bytes += data.payload.len();
    }

    /// Takes what follows without a hole. The shorter list of parts moves, so that no order of
    /// arrival costs more than the logarithm of the fragments each.
    fn join(&mut self, mut right: Self) {
        if self.parts.len() < right.parts.len() {
            while let Some(part) = self.parts.pop_back() {
                right.parts.push_front(part);
            }
            self.parts = right.parts;
        } else {
            self.parts.append(&mut right.parts);
        }
        (self.ends, self.next) = (right.ends, right.next);
        self.bytes += right.bytes;
    }

    fn into_bytes(mut self) -> Bytes {
        match (self.parts.pop_front(), self.parts.is_empty()) {
            (Some(part), true) => part.into(),
            (first, _) => {
                let mut all = Vec::with_capacity(self.bytes);
                first.into_iter().chain(self.parts).for_each(|part| all.extend_from_slice(&part));
                all.into()
            }
        }
    }
}

#[derive(Debug)]
struct Stream {
    /// The number that the next ordered message has.
    next: u64,
    early: BTreeMap<u64, Message>,
}

impl Default for Stream {
    fn default() -> Self {
        Self { next: BASE, early: BTreeMap::new() }
    }
}

/// All of the receiving side that lies above TSNs.
#[derive(Debug)]
pub(super) struct Assembly {
    message_bytes_max: usize,
    pieces_max: usize,
    runs: BTreeMap<(Space, u64), Run>,
    streams: BTreeMap<u16, Stream>,
    early: usize,
    used: usize,
    /// Length of the last message of more than one fragment: what room the next one gets at first.
    likely_bytes: usize,
    /// Whole, and next in their order.
    ready: VecDeque<Message>,
}

impl Assembly {
    pub(super) fn new(message_bytes_max: usize, pieces_max: usize) -> Self {
        Self {
            message_bytes_max,
            pieces_max,
            runs: BTreeMap::new(),
            streams: BTreeMap::new(),
            early: 0,
            used: 0,
            likely_bytes: 0,
            ready: VecDeque::new(),
        }
    }

    /// Bytes held, with what holding them costs.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Whether more pieces should come only to fill holes.
    pub(super) fn is_crowded(&self) -> bool {
        self.runs.len() + self.early >= self.pieces_max
    }

    /// Whether the application has something to take.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether something is held that waits for what has not arrived.
    pub(super) fn is_incomplete(&self) -> bool {
        self.early > 0 || !self.runs.is_empty()
    }

    /// The next message for the application.
    pub(super) fn pop(&mut self) -> Option<Message> {
        let message = self.ready.pop_front()?;
        self.used -= message.data.len() + OVERHEAD_BYTES;
        Some(message)
    }

    /// Takes a chunk that was not here before. `packet` is what its payload lies in.
    pub(super) fn push(&mut self, tsn: u64, data: &Data<'_>, packet: &Bytes) -> Result<(), Fault> {
        if data.payload.is_empty() {
            return Err(Fault::Empty);
        }
        if self.runs.len() + self.early >= 2 * self.pieces_max {
            return Err(Fault::Resource);
        }
        let whole = flag::BEGIN | flag::END;
        if data.flags & whole != whole {
            return self.push_fragment(tsn, data);
        }
        if data.payload.len() > self.message_bytes_max {
            return Err(Fault::Violation("message longer than agreed"));
        }
        // A slice keeps its whole packet alive: worth it where it is most of it.
        let bytes = if 2 * data.payload.len() > packet.len() {
            packet.slice_ref(data.payload)
        } else {
            Bytes::copy_from_slice(data.payload)
        };
        self.used += bytes.len() + OVERHEAD_BYTES;
        let message = Message { stream: data.stream, ppid: data.protocol, data: bytes };
        let unordered = data.flags & flag::UNORDERED != 0;
        self.finish(message, data.number, data.interleaved, unordered);
        Ok(())
    }

    fn push_fragment(&mut self, tsn: u64, data: &Data<'_>) -> Result<(), Fault> {
        let unordered = data.flags & flag::UNORDERED != 0;
        let (space, at) = match data.interleaved {
            true => (Space::Message(data.stream, unordered, data.number), data.fragment.into()),
            false => (Space::Tsn, tsn),
        };
        let begins = data.flags & flag::BEGIN != 0;
        let ends = data.flags & flag::END != 0;
        if data.interleaved && self.runs.contains_key(&(space, at)) {
            return Err(Fault::Violation("a fragment twice"));
        }
        let right = self.runs.get(&(space, at + 1)).is_some_and(|run| !ends && !run.begins);
        let right = if right { self.runs.remove(&(space, at + 1)) } else { None };
        let left = self.runs.range_mut((space, 0)..(space, at)).next_back();
        if left.as_ref().is_some_and(|(_, run)| run.next > at) {
            return Err(Fault::Violation("a fragment twice"));
        }
        let left = left.filter(|(_, run)| run.next == at && !run.ends && !begins);
        let strange = |run: &Run| !run.is_of(data);
        if right.as_ref().is_some_and(strange) || left.as_ref().is_some_and(|(_, r)| strange(r)) {
            return Err(Fault::Violation("fragments of different messages side by side"));
        }
        self.used += data.payload.len();
        let (key, run) = match left {
            Some((key, run)) => {
                run.append(data);
                (*key, run)
            }
            None => {
                let alone = self.runs.is_empty() && right.is_none();
                let capacity = if alone { self.likely_bytes } else { 0 };
                self.used += OVERHEAD_BYTES;
                let run = Run::new(data, at, capacity);
                ((space, at), self.runs.entry((space, at)).or_insert(run))
            }
        };
        if let Some(right) = right {
            self.used -= OVERHEAD_BYTES;
            run.join(right);
        }
        if run.bytes > self.message_bytes_max {
            return Err(Fault::Violation("message longer than agreed"));
        }
        if run.begins && run.ends {
            self.finish_run(key);
        }
        Ok(())
    }

    fn finish_run(&mut self, key: (Space, u64)) {
        let Some(run) = self.runs.remove(&key) else { return };
        self.likely_bytes = run.bytes;
        let (number, unordered) = (run.number, run.unordered);
        let (stream, ppid) = (run.stream, run.protocol);
        let message = Message { stream, ppid, data: run.into_bytes() };
        self.finish(message, number, key.0 != Space::Tsn, unordered);
    }

    /// A message is whole; now its order.
    fn finish(&mut self, message: Message, number: u32, interleaved: bool, unordered: bool) {
        if unordered {
            self.ready.push_back(message);
            return;
        }
        let stream = self.streams.entry(message.stream).or_default();
        let number = unwrap(number, interleaved, stream.next);
        if number == stream.next {
            stream.next += 1;
            let id = message.stream;
            let waits = !stream.early.is_empty();
            self.ready.push_back(message);
            if waits {
                self.release(id);
            }
            return;
        }
        let cost = message.data.len() + OVERHEAD_BYTES;
        if number < stream.next || stream.early.contains_key(&number) {
            self.used -= cost;
        } else {
            self.early += 1;
            stream.early.insert(number, message);
        }
    }
    /// Hands over what waited for the stream's next number.
    fn release(&mut self, id: u16) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        while let Some(message) = stream.early.remove(&stream.next) {
            stream.next += 1;
            self.early -= 1;
            self.ready.push_back(message);
        }
    }

    /// The peer gave up everything up to this TSN: what is incomplete of it stays so (RFC 3758,
    /// 3.6).
    pub(super) fn skip_tsn(&mut self, cumulative: u64) {
        while let Some(entry) = self.runs.first_entry() {
            if *entry.key() > (Space::Tsn, cumulative) {
                break;
            }
            self.used -= entry.remove().bytes + OVERHEAD_BYTES;
        }
    }

    /// The peer gave up the stream's ordered messages up to this number, so those after it are
    /// next.
    pub(super) fn skip_ordered(&mut self, id: u16, number: u32, interleaved: bool) {
        let stream = self.streams.entry(id).or_default();
        let number = unwrap(number, interleaved, stream.next);
        if number < stream.next {
            return;
        }
        let later = stream.early.split_off(&(number + 1));
        let before = core::mem::replace(&mut stream.early, later);
        stream.next = number + 1;
        self.early -= before.len();
        self.ready.extend(before.into_values());
        self.release(id);
    }

    /// The peer gave up the stream's messages up to this MID (RFC 8260, 2.3.1).
    pub(super) fn skip_messages(&mut self, id: u16, unordered: bool, number: u32) {
        let first = (Space::Message(id, unordered, 0), 0);
        let last = (Space::Message(id, unordered, u32::MAX), u64::MAX);
        let given_up = |run: &Run| (number.wrapping_sub(run.number) as i32) >= 0;
        let gone = self.runs.range(first..=last).filter(|(_, run)| given_up(run));
        let gone: Vec<_> = gone.map(|(key, _)| *key).collect();
        self.forget(&gone);
        if !unordered {
            self.skip_ordered(id, number, true);
        }
    }

    /// The streams that ordered messages came on.
    pub(super) fn streams(&self) -> Vec<u16> {
        self.streams.keys().copied().collect()
    }

    /// The stream begins anew (RFC 6525, 5.2.2).
    pub(super) fn reset(&mut self, id: u16) {
        if let Some(stream) = self.streams.remove(&id) {
            self.early -= stream.early.len();
            let cost = |message: &Message| message.data.len() + OVERHEAD_BYTES;
            self.used -= stream.early.values().map(cost).sum::<usize>();
        }
        let gone = self.runs.iter().filter(|(_, run)| run.stream == id);
        let gone: Vec<_> = gone.map(|(key, _)| *key).collect();
        self.forget(&gone);
    }

    fn forget(&mut self, keys: &[(Space, u64)]) {
        for run in keys.iter().filter_map(|key| self.runs.remove(key)) {
            self.used -= run.bytes + OVERHEAD_BYTES;
        }
    }
}

fn unwrap(number: u32, interleaved: bool, near: u64) -> u64 {
    if interleaved { unwrap_u32(number, near) } else { unwrap_u16(number as u16, near) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn data(interleaved: bool, flags: u8, number: u32, fragment: u32) -> Data<'static> {
        let payload = b"ab";
        Data { interleaved, flags, tsn: 0, stream: 1, number, protocol: 51, fragment, payload }
    }

    fn push(assembly: &mut Assembly, tsn: u64, data: Data<'_>) -> Result<(), Fault> {
        let payload = Bytes::copy_from_slice(data.payload);
        assembly.push(tsn, &Data { payload: &payload, ..data }, &payload)
    }

    const WHOLE: u8 = flag::BEGIN | flag::END;

    #[test]
    fn ordered_messages_wait_for_those_before() {
        let mut assembly = Assembly::new(100, 8);
        for (tsn, number) in [(3, 2), (2, 1)] {
            push(&mut assembly, tsn, data(false, WHOLE, number, 0)).expect("fits");
            assert!(assembly.pop().is_none());
        }
        assert!(assembly.used() > 0);
        push(&mut assembly, 1, data(false, WHOLE, 0, 0)).expect("fits");
        assert_eq!(core::iter::from_fn(|| assembly.pop()).count(), 3);
        assert_eq!(assembly.used(), 0);
    }

    #[test]
    fn what_was_given_up_is_not_waited_for() {
        let mut assembly = Assembly::new(100, 8);
        push(&mut assembly, 5, data(false, flag::BEGIN, 0, 0)).expect("fits");
        push(&mut assembly, 7, data(false, WHOLE, 1, 0)).expect("fits");
        assembly.skip_tsn(6);
        assembly.skip_ordered(1, 0, false);
        assert!(assembly.pop().is_some());
        assert_eq!(assembly.used(), 0);
        push(&mut assembly, 8, data(true, flag::BEGIN | flag::UNORDERED, 4, 0)).expect("fits");
        assembly.skip_messages(1, true, 3);
        assert!(assembly.used() > 0, "another message");
        assembly.skip_messages(1, true, 4);
        assert_eq!(assembly.used(), 0);
    }

    #[test]
    fn faults_have_names() {
        let mut assembly = Assembly::new(3, 2);
        let fault = push(&mut assembly, 1, Data { payload: b"", ..data(false, WHOLE, 0, 0) });
        assert_eq!(fault, Err(Fault::Empty));
        push(&mut assembly, 1, data(false, flag::BEGIN, 0, 0)).expect("fits");
        let other = push(&mut assembly, 2, data(false, flag::END, 1, 0));
        assert!(matches!(other, Err(Fault::Violation(_))), "another SSN");
        let mut assembly = Assembly::new(3, 2);
        push(&mut assembly, 1, data(false, flag::BEGIN, 0, 0)).expect("fits");
        let long = push(&mut assembly, 2, data(false, flag::END, 0, 0));
        assert!(matches!(long, Err(Fault::Violation(_))), "longer than agreed");
        let mut assembly = Assembly::new(100, 2);
        for (number, fragment) in [(0, 0), (0, 2), (1, 0), (1, 2)] {
            push(&mut assembly, 0, data(true, 0, number, fragment)).expect("fits");
        }
        let again = push(&mut assembly, 0, data(true, 0, 1, 2));
        assert!(matches!(again, Err(Fault::Resource)));
        assert!(assembly.is_crowded());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_order_of_fragments_gives_the_messages(
            order in Just((0..24usize).collect::<Vec<_>>()).prop_shuffle(),
            interleaved: bool,
            unordered: bool,
        ) {
            // Three messages of eight fragments.
            let mut assembly = Assembly::new(100, 64);
            for at in order {
                let flags = if at % 8 == 0 { flag::BEGIN } else { 0 }
                    | if at % 8 == 7 { flag::END } else { 0 }
                    | if unordered { flag::UNORDERED } else { 0 };
                let payload = [at as u8];
                let (number, fragment) = (at as u32 / 8, at as u32 % 8);
                let piece = data(interleaved, flags, number, fragment);
                push(&mut assembly, at as u64 + 9, Data { payload: &payload, ..piece })
                    .expect("fits");
            }
            let mut got: Vec<_> = core::iter::from_fn(|| assembly.pop()).collect();
            if unordered {
                got.sort_by_key(|message| message.data[0]);
            }
            prop_assert_eq!(got.len(), 3);
            for (message, first) in got.iter().zip([0u8, 8, 16]) {
                prop_assert_eq!(&message.data[..], &(first..first + 8).collect::<Vec<_>>()[..]);
            }
            prop_assert_eq!(assembly.used(), 0);
        }
    }
}
