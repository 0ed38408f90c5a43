//! What the machine allows: lines that cross between cores, and a raw wake.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::thread::futex;

use super::{ROUND_TRIPS, latency, pin};

/// Round trips of a probe: under a millisecond.
const PROBE_ROUND_TRIPS: usize = 1_500;
/// Round trips through the kernel, some 25 µs each.
pub const WAKES: usize = 1_000;

#[repr(align(128))]
#[derive(Default)]
struct Line(AtomicU64);

/// The placement probe: two lines, one for each direction, in one-way nanoseconds.
pub fn probe() -> f64 {
    two_lines(PROBE_ROUND_TRIPS)
}

/// The floor of one-way latency.
pub fn lines() -> f64 {
    two_lines(ROUND_TRIPS)
}

fn two_lines(round_trips: usize) -> f64 {
    let lines = Arc::new([Line::default(), Line::default()]);
    let theirs = lines.clone();
    let total = (round_trips as u64 / 100).max(2) * 100;
    let thread = std::thread::spawn(move || {
        pin(1);
        for number in 1..=total {
            wait(&theirs[0], number);
            theirs[1].0.store(number, Ordering::Release);
        }
    });
    pin(0);
    let mut number = 0;
    let value = latency(round_trips, || {
        number += 1;
        lines[0].0.store(number, Ordering::Release);
        wait(&lines[1], number);
    });
    assert_eq!(number, total, "both sides count the same");
    let _ = thread.join();
    value
}

fn wait(line: &Line, number: u64) {
    while line.0.load(Ordering::Acquire) != number {
        spin_loop();
    }
}

/// One-way nanoseconds of a wake by futex between two threads that always sleep.
pub fn wake() -> f64 {
    let words = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
    let theirs = words.clone();
    let total = WAKES as u32;
    let thread = std::thread::spawn(move || {
        pin(1);
        for number in 1..=total {
            sleep(&theirs[0], number);
            ring(&theirs[1], number);
        }
    });
    pin(0);
    let mut number = 0;
    let value = latency(WAKES, || {
        number += 1;
        ring(&words[0], number);
        sleep(&words[1], number);
    });
    let _ = thread.join();
    value
}

fn sleep(word: &AtomicU32, until: u32) {
    while word.load(Ordering::Acquire) != until {
        let _ = futex::wait(word, futex::Flags::PRIVATE, until - 1, None);
    }
}

fn ring(word: &AtomicU32, number: u32) {
    word.store(number, Ordering::Release);
    let _ = futex::wake(word, futex::Flags::PRIVATE, 1);
}
