//! Large messages: borrowed and sent, or copied in and read.

use std::hint::{black_box, spin_loop};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use psyne::channel::{Config, Full, Wait, bytes};

use super::{pin, rate};

/// Least bytes of our ring: more than a second-level cache, so that lines come from the third.
const RING_BYTES_MIN: usize = 8 << 20;
/// Messages that fit into our ring at least.
const RING_MESSAGES: usize = 4;

/// Reads every byte.
pub fn sum(bytes: &[u8]) -> u64 {
    let mut sums = [0_u64; 32];
    let (chunks, rest) = bytes.as_chunks::<256>();
    for chunk in chunks {
        for (sum, word) in sums.iter_mut().zip(chunk.as_chunks::<8>().0) {
            *sum = sum.wrapping_add(u64::from_le_bytes(*word));
        }
    }
    let rest: u64 = rest.iter().map(|byte| u64::from(*byte)).sum();
    sums.iter().fold(rest, |all, sum| all.wrapping_add(*sum))
}

/// Messages a second through our channel of bytes.
pub fn ours(bytes: usize, touched: bool) -> f64 {
    let lines = (bytes * RING_MESSAGES).max(RING_BYTES_MIN).next_power_of_two() / 64;
    let mut config = Config::default();
    let full = Full::BlockFor(Duration::from_millis(20));
    (config.slots, config.wait, config.full) = (lines - lines / 8, Wait::Spin, full);
    let (mut sender, mut receiver) = bytes::channel(&config).expect("some megabytes are granted");
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let thread = std::thread::spawn(move || {
        pin(1);
        let text = vec![5_u8; bytes];
        while !stopped.load(Ordering::Relaxed) {
            let _ = match touched {
                true => sender.send(black_box(&text)),
                false => sender.loan(bytes).and_then(|mut loan| {
                    loan[..8].copy_from_slice(black_box(&text[..8]));
                    loan.commit()
                }),
            };
        }
    });
    pin(0);
    let mut total = 0_u64;
    let value = rate(|| {
        let Ok(Some(message)) = receiver.try_recv() else {
            spin_loop();
            return 0;
        };
        total = total.wrapping_add(if touched { sum(&message) } else { message[0].into() });
        1
    });
    black_box(total);
    stop.store(true, Ordering::Relaxed);
    let _ = thread.join();
    value
}

/// Bytes a nanosecond, that is GB/s, that one thread copies from one buffer to another.
pub fn memcpy(bytes: usize) -> f64 {
    pin(0);
    // Half a page apart: copies between addresses that are equal modulo a page stall.
    let (from, mut to) = (vec![5_u8; bytes], vec![0_u8; bytes + 4096]);
    let apart = (from.as_ptr().addr() + 2048).wrapping_sub(to.as_ptr().addr()) % 4096;
    let to = &mut to[apart..apart + bytes];
    let value = rate(|| {
        to.copy_from_slice(black_box(&from));
        black_box(&mut *to);
        1
    });
    value * bytes as f64 / 1e9
}
