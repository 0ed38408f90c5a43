//! Messages from one association to another on a virtual clock: what that costs, and how fast it
//! is.

use std::time::Duration;

use bytes::Bytes;
use psyne_core::Time;
use psyne_rtc::association::{Association, Event, Message};
use psyne_rtc::sctp::Config;
use psyne_sim::Conditions;
use rustix::time::{ClockId, clock_gettime};

use crate::common::{RELIABLE, World, ours, stock};

/// What the table sends.
const MESSAGE_BYTES: usize = 16 * 1024;
/// Virtual time in which everything here ends.
const LONG: Duration = Duration::from_secs(3_600);

/// Who carries the messages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// Ours, with SCTP's checksum.
    Ours,
    /// Ours as it is over DTLS, without it (RFC 9653).
    OursOverDtls,
    /// `sctp-proto`.
    Stock,
}

fn pair(who: Who, config: &Config) -> [Box<dyn Association>; 2] {
    let config = Config { zero_checksum: who == Who::OursOverDtls, ..config.clone() };
    match who {
        Who::Stock => [stock(&config), stock(&config)],
        _ => [ours(&config, 1), ours(&config, 2)],
    }
}

fn connected(who: Who, config: &Config, conditions: Conditions, seed: u64) -> World {
    let mut world = World::new(pair(who, config), conditions, seed);
    world.ends[0].connect(world.now);
    world.until(LONG, "connected", |world| world.events[0].contains(&Event::Connected));
    world
}

/// Buffers of this many bytes at both ends.
fn config(window: usize) -> Config {
    let mut config = Config::default();
    config.common.packet_bytes_max = 1_200;
    config.common.receive_buffer_bytes_max = window;
    config.common.send_buffer_bytes_max = window;
    config
}

/// Sends without a break until `total` bytes have arrived or virtual time is over, and says how
/// many.
fn carry(world: &mut World, total: u64, end: Time) -> u64 {
    let data = Bytes::from(vec![0x5a; MESSAGE_BYTES]);
    let mut arrived = 0;
    loop {
        let message = Message { stream: 1, ppid: 53, data: data.clone() };
        while world.ends[0].send(world.now, message.clone(), RELIABLE).is_ok() {}
        let lives = world.turn(end);
        arrived += world.messages[1].drain(..).map(|m| m.data.len() as u64).sum::<u64>();
        if arrived >= total || !lives {
            return arrived;
        }
    }
}

fn cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Mbit per CPU-second of both ends together, with a window that the path's delay fills.
pub(crate) fn cost(who: Who, window: usize, total: u64) -> f64 {
    let delay = Duration::from_millis(1);
    let conditions = Conditions { delay, ..Conditions::default() };
    let mut world = connected(who, &config(window), conditions, 3);
    // The beginning, while the windows open, is not what is measured.
    carry(&mut world, 2 * window as u64, Time::MAX);
    let before = cpu_s();
    let arrived = carry(&mut world, total, Time::MAX);
    arrived as f64 * 8e-6 / (cpu_s() - before)
}

/// Mbit/s of virtual time over 50 ms with 1 % loss each way.
pub(crate) fn lossy(who: Who, seed: u64) -> f64 {
    let delay = Duration::from_millis(25);
    let conditions = Conditions { delay, loss_ppm: 10_000, ..Conditions::default() };
    let mut world = connected(who, &config(2 << 20), conditions, seed);
    let (start, time) = (world.now, Duration::from_secs(20));
    let arrived = carry(&mut world, u64::MAX, start + time);
    arrived as f64 * 8e-6 / time.as_secs_f64()
}

/// Mbit per CPU-second of what no association can do without: each byte copied into a packet and
/// out of it, and its checksum made and looked at.
pub(crate) fn floor(total: u64) -> f64 {
    let (source, mut packet) = (vec![0x5a_u8; MESSAGE_BYTES], vec![0_u8; 1_200]);
    let mut message = vec![0_u8; MESSAGE_BYTES];
    let (mut sums, before) = (0_u64, cpu_s());
    for _ in 0..total / MESSAGE_BYTES as u64 {
        for (from, to) in source.chunks(1_172).zip(message.chunks_mut(1_172)) {
            packet[28..28 + from.len()].copy_from_slice(from);
            let made = crc32c::crc32c(std::hint::black_box(&packet[..28 + from.len()]));
            let seen = crc32c::crc32c(std::hint::black_box(&packet[..28 + from.len()]));
            sums += u64::from(made == seen);
            to.copy_from_slice(&packet[28..28 + from.len()]);
        }
        std::hint::black_box(&message);
    }
    assert!(sums > 0, "the same bytes have the same sum");
    total as f64 * 8e-6 / (cpu_s() - before)
}
