//! How much to have in flight and how fast to send: a model of the path's rate and delay.
//!
//! BBR (Cardwell et al., "BBR: Congestion-Based Congestion Control", ACM Queue 14(5), 2016) in the
//! form of its third version (draft-ietf-ccwg-bbr), reduced to what a data channel needs. Loss is
//! evidence of a full queue only above 2 % of what was in flight; Reno and CUBIC take each loss
//! for one, so at 1 % and 50 ms they are left with about 2 Mbit/s. docs/decisions/0085 argues the
//! choice and what was left out.

use core::time::Duration;
use psyne_core::Time;

/// Loss above one in this many bytes in flight is taken for a full queue.
const LOSS_DIVISOR: u64 = 50;
/// Fewer chunks lost in a round than this prove nothing about a rate.
const LOSSES_MIN: u32 = 6;
/// How long the least delay holds without being seen again.
const MIN_RTT_LIFE: Duration = Duration::from_secs(10);
/// How often the queue is let run empty to see the least delay.
const PROBE_RTT_EVERY: Duration = Duration::from_secs(5);
/// And how long.
const PROBE_RTT_FOR: Duration = Duration::from_millis(200);
/// Rounds without a quarter more before the path counts as full.
const FULL_ROUNDS: u8 = 3;
/// Packets that are always allowed in flight.
const PACKETS_MIN: u64 = 4;
/// Packets in flight at the start (RFC 6928).
const PACKETS_FIRST: u64 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Twice the rate each round, until it no longer helps.
    Startup,
    /// The queue that this built is let off.
    Drain,
    /// A little slower than the path.
    Down,
    /// As fast as the path.
    Cruise,
    /// One round to fill what [`Phase::Cruise`] left free.
    Refill,
    /// A quarter faster, to see whether there is more.
    Up,
    /// Half of the path's content, to see its least delay.
    ProbeRtt,
}

/// What an acknowledgement said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) now: Time,
    /// Bytes delivered since the beginning.
    pub(super) delivered: u64,
    /// And when the newest packet that this one acknowledges was sent.
    pub(super) delivered_before: u64,
    /// Bytes that this one acknowledged.
    pub(super) acked: u64,
    /// Bytes in flight after it.
    pub(super) flight: u64,
    /// Bytes in flight when that packet was sent.
    pub(super) flight_before: u64,
    /// Bytes lost since then.
    pub(super) lost: u64,
    /// Bytes a second, where that could be told.
    pub(super) rate: Option<u64>,
    /// The application had nothing to send then: the path can do more than `rate`.
    pub(super) idle: bool,
    pub(super) rtt: Option<Duration>,
}

/// The model.
#[derive(Debug)]
pub(super) struct Bbr {
    packet: u64,
    phase: Phase,
    /// Greatest rates of this probing cycle and of the one before.
    rates: [u64; 2],
    /// Bound by loss outside of probing, until the next.
    rate_low: u64,
    round_rate: u64,
    min_rtt: Option<Duration>,
    min_rtt_at: Time,
    probe_rtt_at: Time,
    probe_rtt_end: Option<Time>,
    /// Delivered bytes at which the round ends.
    round_end: u64,
    round_delivered: u64,
    round_lost: u64,
    round_losses: u32,
    full_rate: u64,
    full_rounds: u8,
    is_full: bool,
    cwnd: u64,
    cwnd_before: u64,
    /// Bytes in flight beyond which loss was seen.
    flight_high: u64,
    phase_at: Time,
    cruise_for: Duration,
    cruise_rounds: u64,
    rounds: u64,
    random: u64,
}

impl Bbr {
    pub(super) fn new(packet_bytes: usize, now: Time, seed: u64) -> Self {
        let packet = packet_bytes as u64;
        Self {
            packet,
            phase: Phase::Startup,
            rates: [0; 2],
            rate_low: u64::MAX,
            round_rate: 0,
            min_rtt: None,
            min_rtt_at: now,
            probe_rtt_at: now,
            probe_rtt_end: None,
            round_end: 0,
            round_delivered: 0,
            round_lost: 0,
            round_losses: 0,
            full_rate: 0,
            full_rounds: 0,
            is_full: false,
            cwnd: PACKETS_FIRST * packet,
            cwnd_before: 0,
            flight_high: u64::MAX,
            phase_at: now,
            cruise_for: Duration::from_secs(2),
            cruise_rounds: 0,
            rounds: 0,
            random: seed,
        }
    }

    /// Bytes that may be in flight.
    pub(super) fn window(&self) -> u64 {
        let least = PACKETS_MIN * self.packet;
        let most = match self.phase {
            Phase::ProbeRtt => self.content(1, 2).unwrap_or(u64::MAX),
            Phase::Down | Phase::Cruise => self.flight_high - self.flight_high / 7,
            _ => self.flight_high,
        };
        self.cwnd.min(most).max(least)
    }

    /// Bytes a second to send at; `None` before anything is known.
    pub(super) fn pacing_rate(&self) -> Option<u64> {
        let (times, of) = match self.phase {
            Phase::Startup => (277, 100),
            Phase::Drain => (35, 100),
            Phase::Down => (90, 100),
            Phase::Up => (125, 100),
            Phase::Cruise | Phase::Refill | Phase::ProbeRtt => (1, 1),
        };
        let rate = match self.rate() {
            0 => per_second(self.cwnd, self.min_rtt?)?,
            rate => rate,
        };
        // Before the path is full, what it did so far is no bound.
        let first = self.min_rtt.and_then(|rtt| per_second(PACKETS_FIRST * self.packet, rtt));
        let rate = if self.is_full { rate } else { rate.max(first.unwrap_or(0)) };
        Some((rate.saturating_mul(times) / of).max(1))
    }

    /// The path's rate in bytes a second, as far as known.
    pub(super) fn rate(&self) -> u64 {
        self.rates[0].max(self.rates[1]).min(self.rate_low)
    }

    pub(super) fn min_rtt(&self) -> Option<Duration> {
        self.min_rtt
    }

    /// The handshake's round trip, before there is any other.
    pub(super) fn learn_rtt(&mut self, now: Time, rtt: Duration) {
        if self.min_rtt.is_none_or(|least| rtt <= least) {
            (self.min_rtt, self.min_rtt_at) = (Some(rtt), now);
        }
    }

    /// Bytes that the path holds, times `times` / `of`.
    fn content(&self, times: u64, of: u64) -> Option<u64> {
        let rtt = self.min_rtt?;
        let rate = Some(self.rate()).filter(|rate| *rate > 0)?;
        let bytes = u128::from(rate) * rtt.as_micros() / 1_000_000;
        Some((u64::try_from(bytes).unwrap_or(u64::MAX)).saturating_mul(times) / of)
    }

    /// A chunk was found lost.
    pub(super) fn on_loss(&mut self, bytes: u64) {
        self.round_lost += bytes;
        self.round_losses += 1;
    }

    /// Nothing came back for a whole timeout: begin small, and remember what was.
    pub(super) fn on_timeout(&mut self) {
        self.cwnd_before = self.cwnd_before.max(self.cwnd);
        self.cwnd = PACKETS_MIN * self.packet;
    }

    pub(super) fn on_ack(&mut self, sample: &Sample) {
        let round = sample.delivered_before >= self.round_end;
        self.learn(sample);
        if round {
            self.end_round(sample);
        }
        self.round_delivered += sample.acked;
        if let Some(rtt) = sample.rtt {
            self.update_min_rtt(sample.now, rtt);
        }
        self.step(sample, round);
        self.grow(sample);
    }

    fn learn(&mut self, sample: &Sample) {
        let Some(rate) = sample.rate else { return };
        self.round_rate = self.round_rate.max(rate);
        if !sample.idle || rate >= self.rates[1] {
            self.rates[1] = self.rates[1].max(rate);
        }
    }

    fn end_round(&mut self, sample: &Sample) {
        self.rounds += 1;
        self.round_end = sample.delivered;
        let lossy = self.round_lost * LOSS_DIVISOR > self.round_lost + self.round_delivered
            && self.round_losses >= LOSSES_MIN;
        if !self.is_full {
            self.look_for_full(sample, lossy);
        } else if lossy && matches!(self.phase, Phase::Cruise | Phase::Down) {
            let low = self.rate() / 10 * 7;
            self.rate_low = low.max(self.round_rate);
        }
        (self.round_delivered, self.round_lost, self.round_losses) = (0, 0, 0);
        self.round_rate = 0;
    }

    /// Whether a round of [`Phase::Startup`] brought a quarter more.
    fn look_for_full(&mut self, sample: &Sample, lossy: bool) {
        if lossy {
            self.is_full = true;
            self.flight_high = sample.flight_before.max(self.content(1, 1).unwrap_or(0));
            return;
        }
        if sample.idle || sample.rate.is_none() {
            return;
        }
        if self.rates[1] * 4 >= self.full_rate * 5 {
            (self.full_rate, self.full_rounds) = (self.rates[1], 0);
            return;
        }
        self.full_rounds += 1;
        self.is_full = self.full_rounds >= FULL_ROUNDS;
    }

    fn update_min_rtt(&mut self, now: Time, rtt: Duration) {
        let old = now.since(self.min_rtt_at) > MIN_RTT_LIFE;
        if old || self.min_rtt.is_none_or(|least| rtt <= least) {
            (self.min_rtt, self.min_rtt_at) = (Some(rtt), now);
            self.probe_rtt_at = now;
        }
    }

    fn step(&mut self, sample: &Sample, round: bool) {
        let (now, flight) = (sample.now, sample.flight);
        let content = self.content(1, 1).unwrap_or(u64::MAX);
        let in_phase = now.since(self.phase_at);
        if self.is_full
            && self.phase != Phase::ProbeRtt
            && !sample.idle
            && now.since(self.probe_rtt_at) > PROBE_RTT_EVERY
        {
            self.cwnd_before = self.cwnd_before.max(self.cwnd);
            self.probe_rtt_end = None;
            self.enter(Phase::ProbeRtt, now);
        }
        match self.phase {
            Phase::Startup if self.is_full => self.enter(Phase::Drain, now),
            Phase::Drain if flight <= content => self.enter(Phase::Down, now),
            Phase::Down if flight <= content && self.has_headroom(flight) => self.cruise(now),
            Phase::Cruise => {
                self.cruise_rounds += u64::from(round);
                // As often as a Reno flow of this size would have its saw's teeth.
                let reno = (content / self.packet.max(1)).min(63);
                if in_phase >= self.cruise_for || self.cruise_rounds >= reno.max(8) {
                    self.rate_low = u64::MAX;
                    self.enter(Phase::Refill, now);
                }
            }
            Phase::Refill if round => {
                // The cycle before last is forgotten: what is seen now counts.
                self.rates = [self.rates[1], 0];
                self.enter(Phase::Up, now);
            }
            Phase::Up => self.probe_up(sample, in_phase),
            Phase::ProbeRtt => self.probe_rtt(now, flight),
            _ => {}
        }
    }

    fn has_headroom(&self, flight: u64) -> bool {
        flight <= self.flight_high - self.flight_high / 7
    }

    fn cruise(&mut self, now: Time) {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // Two to three seconds, so that flows on one path do not probe in step.
        self.cruise_for = Duration::from_millis(2_000 + (self.random >> 33) % 1_000);
        self.cruise_rounds = 0;
        self.enter(Phase::Cruise, now);
    }

    fn probe_up(&mut self, sample: &Sample, in_phase: Duration) {
        let lossy =
            sample.lost > sample.flight_before / LOSS_DIVISOR && self.round_losses >= LOSSES_MIN;
        if lossy {
            let content = self.content(1, 1).unwrap_or(0);
            self.flight_high = sample.flight_before.max(content / 10 * 7);
            self.enter(Phase::Down, sample.now);
            return;
        }
        if sample.flight_before > self.flight_high / 8 * 7 {
            self.flight_high = self.flight_high.saturating_add(sample.acked);
        }
        let rtt = self.min_rtt.unwrap_or_default();
        let full = self.content(5, 4).is_some_and(|content| sample.flight >= content);
        // An application that has no more to send shows no more.
        if in_phase >= rtt && (full || sample.idle) || in_phase >= 8 * rtt {
            self.enter(Phase::Down, sample.now);
        }
    }

    fn probe_rtt(&mut self, now: Time, flight: u64) {
        match self.probe_rtt_end {
            None if flight <= self.window() => self.probe_rtt_end = Some(now + PROBE_RTT_FOR),
            Some(end) if now >= end => {
                self.probe_rtt_at = now;
                self.cwnd = self.cwnd.max(core::mem::take(&mut self.cwnd_before));
                self.cruise(now);
            }
            _ => {}
        }
    }

    fn enter(&mut self, phase: Phase, now: Time) {
        (self.phase, self.phase_at) = (phase, now);
    }

    fn grow(&mut self, sample: &Sample) {
        // A path without a measurable delay has no content; the receiver's window bounds it then.
        let content = self.content(1, 1);
        let gain = if self.phase == Phase::Up { (9, 4) } else { (2, 1) };
        let target = match content {
            Some(_) => self.content(gain.0, gain.1).unwrap_or(0) + 3 * self.packet,
            None => u64::MAX,
        };
        let restored = self.cwnd_before.min(target);
        if self.cwnd < restored && self.phase != Phase::ProbeRtt && sample.lost == 0 {
            self.cwnd = restored;
            self.cwnd_before = 0;
        }
        let grown = self.cwnd.saturating_add(sample.acked);
        if self.is_full {
            self.cwnd = grown.min(target);
        } else if self.cwnd < target || content.is_none() {
            self.cwnd = grown;
        }
        self.cwnd = self.cwnd.max(PACKETS_MIN * self.packet);
    }
}

fn per_second(bytes: u64, time: Duration) -> Option<u64> {
    let micros = u64::try_from(time.as_micros()).ok().filter(|micros| *micros > 0)?;
    Some(bytes.saturating_mul(1_000_000) / micros)
}
