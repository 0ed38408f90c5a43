//! An independent implementation (`sctp-proto`) as the other end, in both roles.

mod common;

use std::time::Duration;

use common::{RELIABLE, World, number, numbered, ours, stock};
use psyne_rtc::association::{Closed, Delivery, Event, Reliability};
use psyne_rtc::sctp::Config;
use psyne_sim::Conditions;

const LONG: Duration = Duration::from_secs(1_200);

/// A world where end 0 is ours, end 1 is not, and the one of these begins.
fn mixed(beginner: usize, conditions: Conditions, seed: u64) -> World {
    let config = Config::default();
    let mut world = World::new([ours(&config, seed), stock(&config)], conditions, seed);
    world.ends[beginner].connect(world.now);
    // The stranger tells a server nothing of being connected until then.
    world.until(LONG, "connected", |world| world.events[0].contains(&Event::Connected));
    world
}

fn conditions(loss_ppm: u32) -> Conditions {
    let (delay, jitter) = (Duration::from_millis(10), Duration::from_millis(2));
    Conditions { delay, jitter, loss_ppm, doubled_ppm: loss_ppm / 4, ..Conditions::default() }
}

#[test]
fn messages_go_both_ways_over_good_and_bad_paths() {
    for (beginner, loss) in [(0, 0), (1, 0), (0, 30_000), (1, 30_000)] {
        let mut world = mixed(beginner, conditions(loss), 3 + u64::from(loss));
        for next in 0..30 {
            for side in 0..2 {
                let bytes = 4 + (next as usize * 7_919) % 30_000;
                world.send(side, numbered(1, next, bytes), RELIABLE);
            }
        }
        world.until(LONG, "all arrived", |world| world.messages.iter().all(|m| m.len() >= 30));
        for side in 0..2 {
            let got: Vec<u32> = world.messages[side].iter().map(number).collect();
            assert_eq!(got, (0..30).collect::<Vec<_>>(), "end {side}, begun by {beginner}");
        }
    }
}

#[test]
fn what_need_not_arrive_is_skipped_on_both_sides() {
    let reliabilities =
        [Reliability::Retransmits(0), Reliability::Lifetime(Duration::from_millis(30))];
    for (ordered, reliability) in [true, false].into_iter().zip(reliabilities) {
        let mut world = mixed(0, conditions(100_000), 5);
        let delivery = Delivery { ordered, reliability };
        for next in 0..200 {
            for side in 0..2 {
                world.send(side, numbered(1, next, 2_000), delivery);
            }
            world.run(Duration::from_millis(5));
        }
        world.run(Duration::from_secs(20));
        for side in 0..2 {
            let mut got: Vec<u32> = world.messages[side].iter().map(number).collect();
            assert!((60..200).contains(&got.len()), "{} at end {side}", got.len());
            if !ordered {
                got.sort_unstable();
            }
            assert!(got.is_sorted_by(|a, b| a < b), "once, and in order if that was asked for");
        }
        // And the channel lives on.
        for side in 0..2 {
            world.send(side, numbered(1, 999, 10), RELIABLE);
        }
        world.until(LONG, "the last", |world| {
            world.messages.iter().all(|m| m.last().is_some_and(|last| number(last) == 999))
        });
    }
}

#[test]
fn streams_are_reset_by_either() {
    let mut world = mixed(1, conditions(0), 7);
    for side in 0..2 {
        world.send(side, numbered(3, 1, 5_000), RELIABLE);
    }
    world.until(LONG, "a message each", |world| world.messages.iter().all(|m| m.len() == 1));
    world.ends[0].reset(world.now, 3);
    let done = Event::ResetDone { stream: 3 };
    world.until(LONG, "ours is reset", |world| world.events[0].contains(&done));
    assert!(world.events[1].contains(&Event::Reset { stream: 3 }), "{:?}", world.events[1]);
    let reset = Event::Reset { stream: 3 };
    world.until(LONG, "theirs is reset", |world| {
        // It answers by itself, or is told to.
        if !world.events[0].contains(&reset) && world.events[1].len() < 3 {
            world.run(Duration::from_millis(100));
        }
        world.events[0].contains(&reset)
    });
}

#[test]
fn our_abort_is_understood() {
    let mut world = mixed(0, conditions(0), 9);
    world.run(Duration::from_secs(1));
    // Theirs says nothing on the wire, so there is nothing to understand.
    world.ends[0].abort(world.now);
    world.until(LONG, "closed", |world| world.closed(1).is_some());
    assert_eq!(world.closed(1), Some(Closed::Remote));
}
