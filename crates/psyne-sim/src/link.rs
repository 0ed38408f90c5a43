//! One direction of a path between two machines.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use psyne_core::Time;

use crate::Random;

/// What a link does to packets. The default is a perfect one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Conditions {
    /// From leaving the queue to arriving.
    pub delay: Duration,
    /// Up to this much more, each packet for itself: so they overtake each other.
    pub jitter: Duration,
    /// Lost, of a million.
    pub loss_ppm: u32,
    /// Arriving twice, of a million.
    pub doubled_ppm: u32,
    /// With one bit changed, of a million.
    pub corrupt_ppm: u32,
    /// Bytes a second; none: no bound.
    pub rate: Option<u64>,
    /// Bytes that may wait for the rate; what comes then is lost.
    pub queue_bytes_max: u64,
}

/// Carries packets one way.
#[derive(Debug)]
pub struct Link {
    conditions: Conditions,
    random: Random,
    /// When the last byte of what waits will have left.
    busy_until: Time,
    /// By time of arrival.
    under_way: VecDeque<(Time, Bytes)>,
    lost: u64,
}

impl Link {
    /// A link whose chances `seed` determines.
    #[must_use]
    pub fn new(conditions: Conditions, seed: u64) -> Self {
        let random = Random::new(seed);
        let (busy_until, under_way) = (Time::ZERO, VecDeque::new());
        Self { conditions, random, busy_until, under_way, lost: 0 }
    }

    /// From now on it behaves like this.
    pub const fn set(&mut self, conditions: Conditions) {
        self.conditions = conditions;
    }

    /// A packet enters.
    pub fn push(&mut self, now: Time, packet: Bytes) {
        let at = self.leave(now, packet.len() as u64);
        let Some(at) = at.filter(|_| !self.random.happens(self.conditions.loss_ppm)) else {
            self.lost += 1;
            return;
        };
        let packet = if self.random.happens(self.conditions.corrupt_ppm) {
            self.corrupt(&packet)
        } else {
            packet
        };
        if self.random.happens(self.conditions.doubled_ppm) {
            self.arrive(at, packet.clone());
        }
        self.arrive(at, packet);
    }

    /// When the packet has left the queue; `None`: it had no room there.
    fn leave(&mut self, now: Time, bytes: u64) -> Option<Time> {
        let Some(rate) = self.conditions.rate else { return Some(now) };
        let start = self.busy_until.max(now);
        let waiting = u128::from(rate) * start.since(now).as_micros() / 1_000_000;
        if waiting > u128::from(self.conditions.queue_bytes_max) {
            return None;
        }
        self.busy_until = start + Duration::from_micros((bytes * 1_000_000).div_ceil(rate.max(1)));
        Some(self.busy_until)
    }

    fn corrupt(&mut self, packet: &Bytes) -> Bytes {
        let mut bytes = packet.to_vec();
        let bit = self.random.below(8 * bytes.len() as u64) as usize;
        if let Some(byte) = bytes.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
        bytes.into()
    }

    fn arrive(&mut self, left: Time, packet: Bytes) {
        let jitter = self.conditions.jitter.as_micros() as u64;
        let jitter = Duration::from_micros(self.random.below(jitter + 1));
        let at = left + self.conditions.delay + jitter;
        let later = self.under_way.iter().rev().take_while(|(other, _)| *other > at).count();
        self.under_way.insert(self.under_way.len() - later, (at, packet));
    }

    /// When the next packet arrives.
    #[must_use]
    pub fn next_time(&self) -> Option<Time> {
        self.under_way.front().map(|(at, _)| *at)
    }

    /// A packet that has arrived by `now`.
    pub fn pop(&mut self, now: Time) -> Option<Bytes> {
        let (at, _) = self.under_way.front()?;
        if *at > now { None } else { self.under_way.pop_front().map(|(_, packet)| packet) }
    }

    /// Packets that were lost, by chance or for want of room.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(conditions: Conditions, count: u32) -> Vec<(Time, Bytes)> {
        let mut link = Link::new(conditions, 7);
        for number in 0..count {
            link.push(
                Time::ZERO,
                Bytes::copy_from_slice(&[&number.to_be_bytes(), [0; 96].as_slice()].concat()),
            );
        }
        let next = |link: &mut Link| link.next_time().and_then(|at| Some((at, link.pop(at)?)));
        std::iter::from_fn(|| next(&mut link)).collect()
    }

    #[test]
    fn each_condition_does_what_it_says() {
        let delay = Duration::from_millis(5);
        let perfect = Conditions { delay, ..Conditions::default() };
        let all = arrivals(perfect, 1_000);
        assert!(all.iter().all(|(at, _)| *at == Time::from_millis(5)));
        assert_eq!(all.len(), 1_000);
        assert!(all.is_sorted_by_key(|(_, packet)| packet.clone()), "no jitter, no reordering");
        let lossy = arrivals(Conditions { loss_ppm: 100_000, ..perfect }, 1_000);
        assert!((850..950).contains(&lossy.len()));
        let doubled = arrivals(Conditions { doubled_ppm: 100_000, ..perfect }, 1_000);
        assert!((1_050..1_150).contains(&doubled.len()));
        let corrupt = arrivals(Conditions { corrupt_ppm: 1_000_000, ..perfect }, 1_000);
        assert!(corrupt.iter().zip(&all).all(|(a, b)| a.1 != b.1));
        let mixed = arrivals(Conditions { jitter: delay, ..perfect }, 1_000);
        assert!(!mixed.is_sorted_by_key(|(_, packet)| packet.clone()));
        assert!(mixed.is_sorted_by_key(|(at, _)| *at));
        let slow = Conditions { rate: Some(100_000), queue_bytes_max: 10_000, ..perfect };
        let slow = arrivals(slow, 1_000);
        assert_eq!(slow.len(), 101, "what may wait, and one that found it full");
        assert_eq!(slow[99].0, Time::from_millis(105));
    }
}
