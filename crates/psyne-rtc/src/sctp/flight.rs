//! What was sent and is not acknowledged: a ring indexed by TSN, and how loss in it is found.
//!
//! RACK (RFC 8985): a chunk is lost when one that was sent later arrived, and a little time passed
//! for reordering. `log` has all transmissions in the order in which they were made, so looking
//! for losses costs O(1) for each. When acknowledgements stop, a probe is sent after two round
//! trips; only then does the timeout of RFC 9260, 6.3.3 follow.

use core::time::Duration;
use std::collections::VecDeque;

use bytes::Bytes;
use psyne_core::Time;

use super::assembly::Fault;
use super::bbr::{Bbr, Sample};
use super::config::Config;
use super::pacer::Pacer;
use super::ranges::Ranges;
use super::rtt::Rtt;
use super::streams::{Piece, Streams};
use super::tickets::{Tickets, Verdict};
use super::wire::{DATA_BYTES, I_DATA_BYTES, Sack, unwrap_u32};

/// How long a peer may delay an acknowledgement (RFC 9260, 6.2), for probes of a lone packet.
const PEER_ACK_DELAY: Duration = Duration::from_millis(200);
/// Round trips without reported duplicates after which the reordering window shrinks (RFC 8985,
/// 6.2).
const CALM_ROUNDS: u32 = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Flying,
    /// Acknowledged by a gap block.
    Acked,
    /// To be sent again.
    Lost,
    /// Lost, and its message given up.
    Dropped,
}

/// What the path had done when a chunk left (draft-cheng-iccrg-delivery-rate-estimation).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stamp {
    pub(super) at: Time,
    /// Number of the transmission.
    pub(super) turn: u64,
    pub(super) delivered: u64,
    pub(super) delivered_at: Time,
    pub(super) first_at: Time,
    pub(super) flight: u64,
    pub(super) lost: u64,
    /// The application had too little to send.
    pub(super) idle: bool,
}

/// A chunk in the ring.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) data: Bytes,
    pub(super) protocol: u32,
    pub(super) number: u32,
    pub(super) fragment: u32,
    pub(super) ticket: u32,
    pub(super) sends: u32,
    pub(super) stream: u16,
    pub(super) flags: u8,
    pub(super) state: State,
    pub(super) stamp: Stamp,
}

impl Sent {
    pub(super) fn new(piece: Piece, state: State, stamp: Stamp) -> Self {
        Self {
            data: piece.data,
            protocol: piece.protocol,
            number: piece.number,
            fragment: piece.fragment,
            ticket: piece.ticket,
            sends: 1,
            stream: piece.stream,
            flags: piece.flags,
            state,
            stamp,
        }
    }
}

/// The newest of what an acknowledgement covers, and how much that is.
#[derive(Debug, Default)]
struct Newest {
    now: Time,
    stamp: Stamp,
    once: bool,
    acked: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alarm {
    Probe,
    Timeout,
}

/// The sending side below streams.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) interleaved: bool,
    pub(super) packet_bytes: usize,
    /// TSN of the ring's first.
    pub(super) first: u64,
    pub(super) ring: VecDeque<Sent>,
    pub(super) acked: Ranges,
    pub(super) log: VecDeque<(u64, u64)>,
    pub(super) lost: VecDeque<u64>,
    pub(super) tickets: Tickets,
    /// Bytes in flight: chunks, and their payload.
    pub(super) flying: u64,
    pub(super) flying_payload: usize,
    /// Payload in the ring.
    pub(super) held: usize,
    pub(super) turn: u64,
    pub(super) delivered: u64,
    pub(super) delivered_at: Time,
    pub(super) first_at: Time,
    pub(super) lost_bytes: u64,
    /// Delivered bytes up to which the application had too little to send.
    pub(super) idle_until: u64,
    pub(super) newest_turn: u64,
    pub(super) newest_at: Time,
    pub(super) newest_rtt: Duration,
    pub(super) reorder_quarters: u32,
    pub(super) reorder_round: u64,
    pub(super) calm_rounds: u32,
    pub(super) reorder_at: Option<Time>,
    pub(super) rtt: Rtt,
    pub(super) bbr: Bbr,
    pub(super) pacer: Pacer,
    /// When the path's rate allows the next packet, if that is what it waits for.
    pub(super) paced_until: Option<Time>,
    pub(super) alarm: Option<(Time, Alarm)>,
    pub(super) probed: bool,
    pub(super) probe_due: bool,
    /// What the peer's window has room for, counted from its last acknowledgement.
    pub(super) window: usize,
    pub(super) window_probe: Option<u64>,
    /// All up to here is acknowledged or given up, and what was looked at for that.
    pub(super) forward: u64,
    pub(super) forward_seen: u64,
    pub(super) forward_due: bool,
    pub(super) forward_at: Time,
    /// Timeouts since the last sign of life.
    pub(super) silent: u32,
    pub(super) repeats: u64,
}

impl Flight {
    pub(super) fn new(config: &Config, now: Time, tsn: u32, seed: u64) -> Self {
        let first = (1 << 32) + u64::from(tsn);
        Self {
            interleaved: false,
            packet_bytes: config.common.packet_bytes_max,
            first,
            ring: VecDeque::new(),
            acked: Ranges::default(),
            log: VecDeque::new(),
            lost: VecDeque::new(),
            tickets: Tickets::default(),
            flying: 0,
            flying_payload: 0,
            held: 0,
            turn: 0,
            delivered: 0,
            delivered_at: now,
            first_at: now,
            lost_bytes: 0,
            idle_until: 0,
            newest_turn: 0,
            newest_at: now,
            newest_rtt: Duration::ZERO,
            reorder_quarters: 1,
            reorder_round: 0,
            calm_rounds: 0,
            reorder_at: None,
            rtt: Rtt::new(config),
            bbr: Bbr::new(config.common.packet_bytes_max, now, seed),
            pacer: Pacer::new(now),
            paced_until: None,
            alarm: None,
            probed: false,
            probe_due: false,
            window: 0,
            window_probe: None,
            forward: first - 1,
            forward_seen: first - 1,
            forward_due: false,
            forward_at: now,
            silent: 0,
            repeats: 0,
        }
    }

    /// The peer is known: its window, whether I-DATA is spoken, and the handshake's round trip.
    pub(super) fn open(
        &mut self,
        now: Time,
        window: u32,
        interleaved: bool,
        rtt: Option<Duration>,
    ) {
        self.window = window as usize;
        self.interleaved = interleaved;
        if let Some(rtt) = rtt {
            self.rtt.learn(rtt);
            self.bbr.learn_rtt(now, rtt);
        }
    }

    pub(super) fn rtt(&self) -> &Rtt {
        &self.rtt
    }

    pub(super) fn rate(&self) -> u64 {
        self.bbr.rate()
    }

    pub(super) fn lost_bytes(&self) -> u64 {
        self.lost_bytes
    }

    /// Bytes of payload that are kept until they are acknowledged.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    pub(super) fn flying(&self) -> u64 {
        self.flying
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// The TSN that the next chunk gets.
    pub(super) fn next_tsn(&self) -> u32 {
        (self.first + self.ring.len() as u64) as u32
    }

    pub(super) fn header(&self) -> usize {
        if self.interleaved { I_DATA_BYTES } else { DATA_BYTES }
    }

    pub(super) fn size(&self, payload: usize) -> u64 {
        (self.header() + payload.next_multiple_of(4)) as u64
    }

    pub(super) fn at(&mut self, tsn: u64) -> Option<&mut Sent> {
        let index = usize::try_from(tsn.checked_sub(self.first)?).ok()?;
        self.ring.get_mut(index)
    }

    // What comes back.

    /// Takes an acknowledgement.
    pub(super) fn handle_sack(
        &mut self,
        now: Time,
        sack: &Sack<'_>,
        streams: &mut Streams,
    ) -> Result<(), Fault> {
        let cumulative = unwrap_u32(sack.cumulative, self.first);
        let end = self.first + self.ring.len() as u64;
        if cumulative >= end {
            return Err(Fault::Violation("acknowledged what was never sent"));
        }
        // An older one was overtaken; its window is no longer true either.
        if cumulative + 1 < self.first {
            return Ok(());
        }
        let mut newest = Newest { now, ..Newest::default() };
        self.take_cumulative(cumulative, streams, &mut newest);
        self.take_gaps(cumulative, sack, streams, &mut newest)?;
        self.acked.advance(cumulative);
        self.window = sack.window as usize;
        if self.window > 0 || newest.acked > 0 {
            self.open_window(now, streams);
        }
        self.silent = 0;
        self.learn_reordering(sack.duplicates());
        self.learn(now, &newest, streams);
        self.move_forward(now, true);
        if newest.acked > 0 {
            self.probed = false;
            self.rtt.relax();
            self.arm(now);
        } else if self.ring.is_empty() {
            self.alarm = None;
        }
        Ok(())
    }

    fn take_cumulative(&mut self, cumulative: u64, streams: &mut Streams, newest: &mut Newest) {
        while self.first <= cumulative {
            let Some(sent) = self.ring.pop_front() else { break };
            self.first += 1;
            let (payload, once) = (sent.data.len(), sent.sends == 1);
            if sent.state != State::Acked {
                self.take_off(payload, sent.state);
                streams.settle(sent.stream, payload);
                // What was given up may have been skipped instead of delivered.
                if !self.tickets.is_given_up(sent.ticket) {
                    self.land(payload, sent.stamp, once, newest);
                }
            }
            self.tickets.release(sent.ticket);
        }
    }

    fn take_gaps(
        &mut self,
        cumulative: u64,
        sack: &Sack<'_>,
        streams: &mut Streams,
        newest: &mut Newest,
    ) -> Result<(), Fault> {
        let end = self.first + self.ring.len() as u64;
        let mut acked = core::mem::take(&mut self.acked);
        for (start, stop) in sack.gaps() {
            let (start, stop) = (cumulative + u64::from(start), cumulative + u64::from(stop));
            if start <= cumulative || start > stop || stop >= end {
                return Err(Fault::Violation("acknowledged what was never sent"));
            }
            acked.insert(start, stop, |from, to| {
                (from..=to).for_each(|tsn| self.take_gap(tsn, streams, newest));
            });
        }
        self.acked = acked;
        Ok(())
    }

    fn take_gap(&mut self, tsn: u64, streams: &mut Streams, newest: &mut Newest) {
        let Some(sent) = self.at(tsn).filter(|sent| sent.state != State::Acked) else { return };
        let (payload, stream, once) = (sent.data.len(), sent.stream, sent.sends == 1);
        let (stamp, state) = (sent.stamp, sent.state);
        sent.state = State::Acked;
        self.take_off(payload, state);
        streams.settle(stream, payload);
        self.land(payload, stamp, once, newest);
    }

    /// A chunk is no longer waited for.
    fn take_off(&mut self, payload: usize, state: State) {
        self.held -= payload;
        if state == State::Flying {
            self.flying -= self.size(payload);
            self.flying_payload -= payload;
        }
    }

    /// A chunk arrived.
    fn land(&mut self, payload: usize, stamp: Stamp, once: bool, newest: &mut Newest) {
        let size = self.size(payload);
        self.delivered += size;
        self.delivered_at = newest.now;
        newest.acked += size;
        if stamp.turn >= newest.stamp.turn {
            (newest.stamp, newest.once) = (stamp, once);
        }
    }

    /// The window opened: the chunk that probed it was most likely refused.
    fn open_window(&mut self, now: Time, streams: &mut Streams) {
        if let Some(tsn) = self.window_probe.take()
            && self.at(tsn).is_some_and(|sent| sent.state == State::Flying)
        {
            self.lose(now, tsn, streams);
        }
    }

    fn learn(&mut self, now: Time, newest: &Newest, streams: &mut Streams) {
        if newest.acked > 0 {
            let rtt = now.since(newest.stamp.at);
            // What was sent more than once and answered sooner than any path could was answered
            // before.
            let told = newest.once || self.bbr.min_rtt().is_some_and(|least| rtt >= least);
            if told && newest.stamp.turn > self.newest_turn {
                (self.newest_turn, self.newest_at) = (newest.stamp.turn, newest.stamp.at);
                self.newest_rtt = rtt;
            }
            if newest.once {
                self.rtt.learn(rtt);
            }
            self.first_at = newest.stamp.at;
        }
        self.find_losses(now, streams);
        if newest.acked > 0 {
            let sample = self.sample(now, newest);
            self.bbr.on_ack(&sample);
        }
    }

    fn sample(&self, now: Time, newest: &Newest) -> Sample {
        let sending = newest.stamp.at.since(newest.stamp.first_at);
        let arriving = now.since(newest.stamp.delivered_at);
        let interval = sending.max(arriving).as_micros();
        let bytes = u128::from(self.delivered - newest.stamp.delivered);
        let long = self.bbr.min_rtt().is_none_or(|least| interval >= least.as_micros());
        let rate = bytes * 1_000_000 / interval.max(1);
        Sample {
            now,
            delivered: self.delivered,
            delivered_before: newest.stamp.delivered,
            acked: newest.acked,
            flight: self.flying,
            flight_before: newest.stamp.flight,
            lost: self.lost_bytes - newest.stamp.lost,
            rate: (interval > 0 && long).then(|| u64::try_from(rate).unwrap_or(u64::MAX)),
            idle: newest.stamp.idle,
            rtt: newest.once.then(|| now.since(newest.stamp.at)),
        }
    }

    /// Reported duplicates mean that something was sent again for nothing (RFC 8985, 6.2, step 4).
    fn learn_reordering(&mut self, duplicates: usize) {
        if self.newest_turn < self.reorder_round {
            return;
        }
        if duplicates > 0 && self.repeats > 0 {
            self.reorder_quarters = (self.reorder_quarters + 1).min(16);
            (self.reorder_round, self.calm_rounds) = (self.turn, 0);
        } else if self.reorder_quarters > 1 {
            self.calm_rounds += 1;
            self.reorder_round = self.turn;
            if self.calm_rounds >= CALM_ROUNDS {
                (self.reorder_quarters, self.calm_rounds) = (1, 0);
            }
        }
    }

    fn reorder_window(&self) -> Duration {
        let smooth = self.rtt.smooth().unwrap_or_default();
        let least = self.bbr.min_rtt().unwrap_or(smooth);
        (least * self.reorder_quarters / 4).min(smooth)
    }

    fn find_losses(&mut self, now: Time, streams: &mut Streams) {
        self.reorder_at = None;
        let patience = self.newest_rtt + self.reorder_window();
        while let Some(&(turn, tsn)) = self.log.front() {
            let sent = self.at(tsn);
            let sent = sent.filter(|sent| sent.stamp.turn == turn && sent.state == State::Flying);
            if let Some(sent) = sent {
                let until = sent.stamp.at + patience;
                if turn > self.newest_turn {
                    break;
                }
                if until > now {
                    self.reorder_at = Some(until);
                    break;
                }
                self.bbr_loss(tsn);
                self.lose(now, tsn, streams);
            }
            self.log.pop_front();
        }
    }

    fn bbr_loss(&mut self, tsn: u64) {
        let Some(payload) = self.at(tsn).map(|sent| sent.data.len()) else { return };
        let size = self.size(payload);
        self.lost_bytes += size;
        self.bbr.on_loss(size);
    }

    /// A flying chunk is lost: to be sent again, or given up.
    fn lose(&mut self, now: Time, tsn: u64, streams: &mut Streams) {
        let Some(sent) = self.at(tsn) else { return };
        let (payload, ticket, sends) = (sent.data.len(), sent.ticket, sent.sends);
        let stream = sent.stream;
        let verdict = self.tickets.gives_up(ticket, sends, now);
        let size = self.size(payload);
        self.flying -= size;
        self.flying_payload -= payload;
        let state = if verdict == Verdict::Again { State::Lost } else { State::Dropped };
        if let Some(sent) = self.at(tsn) {
            sent.state = state;
        }
        match verdict {
            Verdict::Again => self.lost.push_back(tsn),
            Verdict::Known => {}
            Verdict::Fresh => self.give_up(stream, ticket, streams),
        }
    }

    /// What has not left of a message that was given up will not. In its place stands a chunk that
    /// is never sent: all that left may arrive after all, and then only skipping its TSN tells the
    /// peer that the message stays incomplete.
    pub(super) fn give_up(&mut self, stream: u16, ticket: u32, streams: &mut Streams) {
        if let Some(piece) = streams.give_up(stream, ticket) {
            self.ring.push_back(Sent::new(piece, State::Dropped, Stamp::default()));
        }
        self.forward_due = true;
    }

    /// How far the peer may be told to skip (RFC 3758, 3.5, C1 to C5).
    pub(super) fn move_forward(&mut self, now: Time, acknowledged: bool) {
        let before = self.forward;
        self.forward = self.forward.max(self.first - 1);
        self.forward_seen = self.forward_seen.max(self.forward);
        while let Some(index) = (self.forward_seen + 1).checked_sub(self.first) {
            let Some(sent) = self.ring.get(index as usize) else { break };
            let gone = self.tickets.is_given_up(sent.ticket) && sent.state != State::Acked;
            if !gone && sent.state != State::Acked {
                break;
            }
            self.forward_seen += 1;
            if gone {
                self.forward = self.forward_seen;
            }
        }
        let pause = self.rtt.smooth().unwrap_or_default();
        let again = acknowledged && now.since(self.forward_at) >= pause;
        if self.forward < self.first {
            self.forward_due = false;
        } else if self.forward > before || again {
            self.forward_due = true;
        }
    }

    // Time.

    pub(super) fn next_time(&self) -> Option<Time> {
        let alarm = self.alarm.map(|(time, _)| time);
        [alarm, self.reorder_at, self.paced_until].into_iter().flatten().min()
    }

    pub(super) fn has_window(&self) -> bool {
        self.flying == 0 || self.flying < self.bbr.window()
    }

    pub(super) fn handle_timeout(&mut self, now: Time, streams: &mut Streams) {
        if self.reorder_at.is_some_and(|time| time <= now) {
            self.find_losses(now, streams);
            self.move_forward(now, false);
        }
        match self.alarm {
            Some((time, Alarm::Probe)) if time <= now => {
                self.probed = true;
                self.probe(now, streams);
                self.arm(now);
            }
            Some((time, Alarm::Timeout)) if time <= now => self.time_out(now, streams),
            _ => {}
        }
    }

    /// Asks for an acknowledgement by new data, or by what was sent last (RFC 8985, 7.3).
    fn probe(&mut self, now: Time, streams: &mut Streams) {
        self.probe_due = true;
        if !streams.is_empty() && self.flying_payload < self.window || !self.lost.is_empty() {
            return;
        }
        let end = self.first + self.ring.len() as u64;
        let last = (self.first..end).rev().take(64);
        let flying = |tsn: &u64| {
            self.ring.get((*tsn - self.first) as usize).is_some_and(|s| s.state == State::Flying)
        };
        let last: Option<u64> = last.into_iter().find(flying);
        if let Some(tsn) = last {
            self.lose(now, tsn, streams);
        }
    }

    fn time_out(&mut self, now: Time, streams: &mut Streams) {
        self.silent += 1;
        self.rtt.back_off();
        self.bbr.on_timeout();
        self.forward_due = self.forward >= self.first;
        let end = self.first + self.ring.len() as u64;
        // The first was acknowledged, and yet not all up to it: the peer took that back (RFC 9260,
        // 6.2).
        let reneged = self.ring.front().is_some_and(|sent| sent.state == State::Acked);
        if reneged {
            self.take_back(streams);
        }
        for tsn in self.first..end {
            if self.at(tsn).is_some_and(|sent| sent.state == State::Flying) {
                self.lose(now, tsn, streams);
            }
        }
        self.lost.make_contiguous().sort_unstable();
        self.log.clear();
        self.move_forward(now, false);
        self.arm(now);
    }

    /// What gap blocks acknowledged is in flight again.
    fn take_back(&mut self, streams: &mut Streams) {
        self.acked.clear();
        let header = self.header();
        for sent in self.ring.iter_mut().filter(|sent| sent.state == State::Acked) {
            let payload = sent.data.len();
            sent.state = State::Flying;
            self.flying += (header + payload.next_multiple_of(4)) as u64;
            self.flying_payload += payload;
            self.held += payload;
            streams.unsettle(sent.stream, payload);
        }
    }

    pub(super) fn arm(&mut self, now: Time) {
        if self.flying == 0 && self.forward < self.first {
            self.alarm = None;
            return;
        }
        let timeout = self.rtt.timeout();
        self.alarm = Some(match self.rtt.smooth() {
            Some(smooth) if !self.probed && self.flying > 0 => {
                let lone = self.flying < 2 * self.size(0) + 1_200;
                let wait = 2 * smooth + if lone { PEER_ACK_DELAY } else { smooth / 8 };
                (now + wait.min(timeout), Alarm::Probe)
            }
            _ => (now + timeout, Alarm::Timeout),
        });
    }
}
