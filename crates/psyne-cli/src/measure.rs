//! Two pinned threads, placement probes, interleaving.

use std::hint::black_box;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};

pub mod floor;
pub mod payload;
pub mod queues;

/// Round trips of a latency sample; the first hundred warm up.
pub const ROUND_TRIPS: usize = 8_000;
/// Round trips timed together: a clock costs half as much as a message.
const TOGETHER: usize = 100;
/// A throughput sample.
const WINDOW: Duration = Duration::from_millis(120);
/// One-way nanoseconds of the two-line probe: below, both cores share a cache; above the second,
/// they don't. Between, the placement changed during the probe.
const NEAR_NS: f64 = 100.0;
const FAR_NS: f64 = 140.0;

/// Puts the calling thread on a core: 0 measures, 1 is the other side.
pub fn pin(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    let _ = sched_setaffinity(None, &set);
}

/// One-way nanoseconds: the median over groups of round trips, halved. `ping` is one round trip.
pub fn latency(round_trips: usize, mut ping: impl FnMut()) -> f64 {
    (0..TOGETHER).for_each(|_| ping());
    let groups = (round_trips / TOGETHER).saturating_sub(1).max(1);
    let group = |_| {
        let start = Instant::now();
        (0..TOGETHER).for_each(|_| ping());
        start.elapsed().as_nanos() as f64 / (2 * TOGETHER) as f64
    };
    median(&(0..groups).map(group).collect::<Vec<_>>())
}

/// Messages a second: the median over slices of the window. `receive` says how many came.
pub fn rate(mut receive: impl FnMut() -> usize) -> f64 {
    let warm = Instant::now();
    while warm.elapsed() < WINDOW / 8 {
        black_box(receive());
    }
    let mut slices = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < WINDOW {
        let (start, mut count) = (Instant::now(), 0);
        while count < 10_000 && start.elapsed() < WINDOW / 16 {
            for _ in 0..64 {
                count += receive();
            }
        }
        slices.push(count as f64 / start.elapsed().as_secs_f64());
    }
    median(&slices)
}

/// One thing that is measured: its name, and a sample of it.
pub type Contestant<'a> = (&'a str, Box<dyn Fn() -> f64 + 'a>);

/// Samples of each contestant, by the placement of the cores.
#[derive(Debug, Default)]
pub struct Samples {
    /// Cores that share a cache: values by contestant, and the floors beside them.
    pub near: (Vec<Vec<f64>>, Vec<f64>),
    /// Cores that don't.
    pub far: (Vec<Vec<f64>>, Vec<f64>),
    /// Samples during which the placement changed.
    pub dropped: usize,
}

/// Takes turns: one sample of each, `rounds` times, each between two probes.
pub fn interleave(rounds: usize, contestants: &[Contestant<'_>]) -> Samples {
    let empty = || (vec![Vec::new(); contestants.len()], Vec::new());
    let mut samples = Samples { near: empty(), far: empty(), dropped: 0 };
    let mut before = floor::probe();
    for _ in 0..rounds {
        for (index, (_, sample)) in contestants.iter().enumerate() {
            let value = sample();
            let after = floor::probe();
            let bucket = if before.max(after) < NEAR_NS {
                Some(&mut samples.near)
            } else if before.min(after) > FAR_NS {
                Some(&mut samples.far)
            } else {
                None
            };
            match bucket {
                Some((values, floors)) => {
                    values[index].push(value);
                    floors.push(f64::midpoint(before, after));
                }
                None => samples.dropped += 1,
            }
            before = after;
        }
    }
    samples
}

/// The middle value, or the mean of the two in the middle; NaN for none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 0 => f64::midpoint(sorted[half - 1], sorted[half]),
        _ => sorted[half],
    }
}
