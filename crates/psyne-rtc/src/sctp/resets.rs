//! Streams that begin anew, which is how data channels close (RFC 6525; RFC 8831, 6.7).

use std::collections::BTreeSet;

use bytes::{BufMut, BytesMut};
use psyne_core::Time;

use super::streams::Streams;
use super::wire::{self, kind, parameter, take_parameter, take_u16, take_u32, unwrap_u32};

/// Streams in one request: what fits a packet beside other chunks.
const STREAMS_MAX: usize = 256;

/// Results of a request (RFC 6525, 4.4).
mod result {
    pub(super) const NOTHING: u32 = 0;
    pub(super) const PERFORMED: u32 = 1;
    pub(super) const DENIED: u32 = 2;
    pub(super) const BAD_NUMBER: u32 = 5;
    pub(super) const IN_PROGRESS: u32 = 6;
}

#[derive(Debug)]
struct Pending {
    number: u32,
    last_tsn: u32,
    streams: Vec<u16>,
    alarm: Option<Time>,
}

/// What a request or an answer brought about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// The peer's outgoing streams begin anew; an empty list is all of them.
    Incoming(Vec<u16>),
    /// Ours do.
    Outgoing(Vec<u16>),
    /// The peer refuses; the streams are over all the same.
    Refused(Vec<u16>),
    /// Send this answer.
    Answer(BytesMut),
}

/// Requests of both sides, one of each at a time.
#[derive(Debug)]
pub(super) struct Resets {
    next: u32,
    peer_next: u32,
    peer_result: u32,
    wanted: BTreeSet<u16>,
    pending: Option<Pending>,
    /// The peer's request that waits for its last data: number, TSN, streams.
    deferred: Option<(u32, u64, Vec<u16>)>,
    /// Repetitions without an answer.
    pub(super) silent: u32,
}

impl Resets {
    pub(super) fn new(tsn: u32, peer_tsn: u32) -> Self {
        Self {
            next: tsn,
            peer_next: peer_tsn,
            peer_result: result::NOTHING,
            wanted: BTreeSet::new(),
            pending: None,
            deferred: None,
            silent: 0,
        }
    }

    pub(super) fn want(&mut self, stream: u16) {
        if !self.is_resetting(stream) {
            self.wanted.insert(stream);
        }
    }

    /// Whether nothing may be sent on the stream until the peer has answered.
    pub(super) fn is_resetting(&self, stream: u16) -> bool {
        let pending = self.pending.as_ref().is_some_and(|p| p.streams.contains(&stream));
        pending || self.wanted.contains(&stream)
    }

    pub(super) fn next_time(&self) -> Option<Time> {
        self.pending.as_ref()?.alarm
    }

    pub(super) fn handle_timeout(&mut self, now: Time) {
        if let Some(pending) = self.pending.as_mut().filter(|p| p.alarm.is_some_and(|t| t <= now)) {
            pending.alarm = None;
            self.silent += 1;
        }
    }

    /// Whether a request is to be sent. Makes one of those streams whose messages have all left.
    pub(super) fn is_due(&mut self, streams: &Streams, next_tsn: u32) -> bool {
        if self.pending.is_none() && !self.wanted.is_empty() {
            let ready = self.wanted.iter().copied().filter(|id| !streams.has_waiting(*id));
            let ready: Vec<u16> = ready.take(STREAMS_MAX).collect();
            if !ready.is_empty() {
                self.wanted.retain(|id| !ready.contains(id));
                let last_tsn = next_tsn.wrapping_sub(1);
                let (number, alarm) = (self.next, None);
                self.pending = Some(Pending { number, last_tsn, streams: ready, alarm });
            }
        }
        self.pending.as_ref().is_some_and(|pending| pending.alarm.is_none())
    }

    /// Writes the request, to be repeated at `again`; `false`: it has no room.
    pub(super) fn write(&mut self, out: &mut BytesMut, limit: usize, again: Time) -> bool {
        let Some(pending) = &mut self.pending else { return false };
        if out.len() + 20 + 2 * pending.streams.len() + 2 > limit {
            return false;
        }
        pending.alarm = Some(again);
        wire::chunk(out, kind::RE_CONFIG, 0, |out| {
            wire::tlv(out, parameter::OUTGOING_RESET, |out| {
                out.put_u32(pending.number);
                out.put_u32(self.peer_next.wrapping_sub(1));
                out.put_u32(pending.last_tsn);
                pending.streams.iter().for_each(|id| out.put_u16(*id));
            });
        });
        true
    }

    /// Takes a RE-CONFIG chunk; `None`: it is malformed.
    pub(super) fn handle(&mut self, value: &[u8], cumulative: u64) -> Option<Vec<Effect>> {
        let (mut rest, mut effects) = (value, Vec::new());
        // At most two parameters (RFC 6525, 3.1).
        for _ in 0..2 {
            if rest.is_empty() {
                break;
            }
            let (name, mut value) = take_parameter(&mut rest)?;
            let number = take_u32(&mut value)?;
            match name {
                parameter::OUTGOING_RESET => {
                    let (_, last) = (take_u32(&mut value)?, take_u32(&mut value)?);
                    let streams = core::iter::from_fn(|| take_u16(&mut value)).collect();
                    let last = unwrap_u32(last, cumulative);
                    effects.extend(self.requested(number, last, streams));
                    effects.extend(self.arrived(cumulative));
                }
                parameter::INCOMING_RESET
                | parameter::TSN_RESET
                | parameter::ADD_OUTGOING
                | parameter::ADD_INCOMING => self.refuse(number, &mut effects),
                parameter::RESPONSE => {
                    let result = take_u32(&mut value)?;
                    effects.extend(self.answered(number, result));
                }
                _ => {}
            }
        }
        Some(effects)
    }

    /// The peer's request waits until all up to `last` arrived.
    fn requested(&mut self, number: u32, last: u64, streams: Vec<u16>) -> Option<Effect> {
        if number != self.peer_next {
            return Some(self.again(number));
        }
        let known = self.deferred.as_ref().is_some_and(|(waits, ..)| *waits == number);
        self.deferred = Some((number, last, streams));
        // Only a repetition is told to wait; the first is answered when it is performed.
        known.then(|| answer(number, result::IN_PROGRESS))
    }

    fn perform(&mut self, number: u32, streams: Vec<u16>, effects: &mut Vec<Effect>) {
        self.deferred = None;
        self.peer_next = self.peer_next.wrapping_add(1);
        self.peer_result = result::PERFORMED;
        effects.push(Effect::Incoming(streams));
        effects.push(answer(number, result::PERFORMED));
    }

    /// What data browsers do not ask for is denied.
    fn refuse(&mut self, number: u32, effects: &mut Vec<Effect>) {
        if number != self.peer_next {
            effects.push(self.again(number));
            return;
        }
        self.peer_next = self.peer_next.wrapping_add(1);
        self.peer_result = result::DENIED;
        effects.push(answer(number, result::DENIED));
    }

    /// The answer to a request that was answered before, or came out of turn.
    fn again(&self, number: u32) -> Effect {
        let last = number == self.peer_next.wrapping_sub(1);
        answer(number, if last { self.peer_result } else { result::BAD_NUMBER })
    }

    /// All up to `cumulative` arrived: a request may have waited for it.
    pub(super) fn arrived(&mut self, cumulative: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.deferred.as_ref().is_some_and(|(_, last, _)| *last <= cumulative)
            && let Some((number, _, streams)) = self.deferred.take()
        {
            self.perform(number, streams, &mut effects);
        }
        effects
    }

    fn answered(&mut self, number: u32, result: u32) -> Option<Effect> {
        self.pending.as_ref().filter(|pending| pending.number == number)?;
        self.silent = 0;
        // It is repeated until the peer has received all that came before it.
        if result == result::IN_PROGRESS {
            return None;
        }
        let pending = self.pending.take()?;
        self.next = self.next.wrapping_add(1);
        let done = matches!(result, result::NOTHING | result::PERFORMED);
        let effect = if done { Effect::Outgoing } else { Effect::Refused };
        Some(effect(pending.streams))
    }
}

fn answer(number: u32, result: u32) -> Effect {
    let mut out = BytesMut::new();
    wire::chunk(&mut out, kind::RE_CONFIG, 0, |out| {
        wire::tlv(out, parameter::RESPONSE, |out| {
            out.put_u32(number);
            out.put_u32(result);
        });
    });
    Effect::Answer(out)
}
