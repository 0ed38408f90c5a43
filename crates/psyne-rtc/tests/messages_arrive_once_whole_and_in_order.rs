//! Whatever the path does, reliable messages arrive once, whole and in order.

mod common;

use std::time::Duration;

use common::{RELIABLE, World, number, numbered};
use proptest::prelude::*;
use psyne_rtc::sctp::Config;
use psyne_sim::Conditions;

const LONG: Duration = Duration::from_secs(1_200);

fn transfer(world: &mut World, count: u32, bytes: impl Fn(u32) -> usize) {
    for next in 0..count {
        world.send(0, numbered(1, next, bytes(next)), RELIABLE);
    }
    world.until(LONG, "all arrived", |world| world.messages[1].len() >= count as usize);
    world.run(Duration::from_secs(2));
    let got: Vec<u32> = world.messages[1].iter().map(number).collect();
    assert_eq!(got, (0..count).collect::<Vec<_>>());
    assert_eq!(world.ends[0].buffered_bytes(1), 0);
}

#[test]
fn over_a_perfect_link() {
    let delay = Duration::from_millis(10);
    let conditions = Conditions { delay, ..Conditions::default() };
    let mut world = World::ours(&Config::default(), conditions, 1);
    world.connect();
    transfer(&mut world, 100, |next| 4 + (next as usize * 977) % 60_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn over_any_link(
        seed: u64,
        delay_ms in 0u64..80,
        jitter_ms in 0u64..40,
        loss in 0u32..120_000,
        doubled in 0u32..50_000,
        corrupt in 0u32..30_000,
        interleaving: bool,
        both: bool,
    ) {
        let conditions = Conditions {
            delay: Duration::from_millis(delay_ms),
            jitter: Duration::from_millis(jitter_ms),
            loss_ppm: loss,
            doubled_ppm: doubled,
            corrupt_ppm: corrupt,
            ..Conditions::default()
        };
        // Nothing below finds corruption here, so the checksum has to.
        let config = Config { interleaving, zero_checksum: false, ..Config::default() };
        let mut world = World::ours(&config, conditions, seed);
        if both {
            world.ends[1].connect(world.now);
        }
        world.connect();
        transfer(&mut world, 60, |next| 4 + (next as usize * 7_919) % 20_000);
    }
}
