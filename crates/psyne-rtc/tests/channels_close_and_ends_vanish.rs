//! Streams begin anew, associations end, and a peer that is gone is noticed.

mod common;

use std::time::Duration;

use common::{RELIABLE, World, number, numbered, ours};
use psyne_core::Time;
use psyne_rtc::Error;
use psyne_rtc::association::{Association, Closed, Delivery, Event, Output, Reliability};
use psyne_rtc::sctp::{self, Config};
use psyne_sim::Conditions;

const LONG: Duration = Duration::from_secs(1_200);

fn conditions(loss_ppm: u32) -> Conditions {
    let delay = Duration::from_millis(20);
    let jitter = Duration::from_millis(10);
    Conditions { delay, jitter, loss_ppm, ..Conditions::default() }
}

fn world(config: &Config, loss_ppm: u32, seed: u64) -> World {
    let mut world = World::ours(config, conditions(loss_ppm), seed);
    world.connect();
    world
}

#[test]
fn a_reset_comes_after_all_messages_and_numbers_begin_anew() {
    for interleaving in [false, true] {
        let config = Config { interleaving, ..Config::default() };
        let mut world = world(&config, 50_000, 11);
        for round in 1..4 {
            for next in 0..20 {
                world.send(0, numbered(5, next, 3_000), RELIABLE);
            }
            world.ends[0].reset(world.now, 5);
            let refused = world.ends[0].send(world.now, numbered(5, 0, 10), RELIABLE);
            assert_eq!(refused, Err(Error::NotOpen), "a stream that is being reset");
            let (here, there) = (Event::ResetDone { stream: 5 }, Event::Reset { stream: 5 });
            let count = |events: &[Event], event: &Event| {
                events.iter().filter(|other| *other == event).count()
            };
            world.until(LONG, "reset", |world| {
                if count(&world.events[1], &there) == round {
                    assert_eq!(world.messages[1].len(), 20 * round, "messages come first");
                }
                count(&world.events[0], &here) == round
            });
            assert_eq!(count(&world.events[1], &there), round);
        }
        let got: Vec<u32> = world.messages[1].iter().map(number).collect();
        assert_eq!(got, (0..3).flat_map(|_| 0..20).collect::<Vec<_>>());
    }
}

#[test]
fn an_abort_is_told_and_a_silent_peer_is_noticed() {
    let mut told = world(&Config::default(), 0, 13);
    told.ends[0].abort(told.now);
    told.until(LONG, "told", |world| world.closed(1).is_some());
    assert_eq!((told.closed(0), told.closed(1)), (Some(Closed::Local), Some(Closed::Remote)));
    let refused = told.ends[1].send(told.now, numbered(1, 1, 10), RELIABLE);
    assert_eq!(refused, Err(Error::NotOpen));

    // With something in flight, and without.
    for sends in [true, false] {
        let mut world = world(&Config::default(), 0, 14);
        world
            .links
            .iter_mut()
            .for_each(|l| l.set(Conditions { loss_ppm: 1_000_000, ..conditions(0) }));
        if sends {
            world.send(0, numbered(1, 1, 10), RELIABLE);
        }
        world.until(LONG, "noticed", |world| world.closed(0).is_some());
        assert_eq!(world.closed(0), Some(Closed::Silent));
    }
}

#[test]
fn nobody_there_is_noticed_too() {
    let config = Config::default();
    let lost = Conditions { loss_ppm: 1_000_000, ..conditions(0) };
    let mut world = World::ours(&config, lost, 15);
    world.until(LONG, "given up", |world| world.closed(0).is_some());
    assert_eq!(world.closed(0), Some(Closed::Silent));
}

#[test]
fn a_shutdown_waits_for_what_is_under_way() {
    for seed in 0..4 {
        let config = Config::default();
        let mut first = sctp::Association::new(config.clone(), Time::from_millis(1), seed);
        first.connect(Time::from_millis(1));
        // A shutdown is not part of the contract, so this end is driven by hand.
        let mut second = ours(&config, !seed);
        let mut now = Time::from_millis(1);
        let mut random = psyne_sim::Random::new(seed);
        let (mut sent, mut got, mut closed) = (0u32, Vec::new(), [None, None]);
        for _ in 0..200_000 {
            let mut packets: Vec<(usize, bytes::Bytes)> = Vec::new();
            let mut wakes = Vec::new();
            for (side, closed) in closed.iter_mut().enumerate() {
                loop {
                    let end: &mut dyn Association =
                        if side == 0 { &mut first } else { second.as_mut() };
                    match end.poll_output() {
                        Output::Transmit(packet) => packets.push((side, packet)),
                        Output::Event(Event::Closed(reason)) => *closed = Some(reason),
                        Output::Event(Event::Message(message)) => got.push(number(&message)),
                        Output::Event(_) => {}
                        Output::Wait(wake) => {
                            wakes.extend(wake);
                            break;
                        }
                    }
                }
            }
            if closed.iter().all(Option::is_some) {
                break;
            }
            if packets.is_empty() {
                now = wakes.into_iter().min().expect("something is waited for").max(now);
                first.handle_timeout(now);
                second.handle_timeout(now);
            }
            for (side, packet) in packets {
                match (random.happens(100_000), side) {
                    (true, _) => {}
                    (_, 0) => second.handle_packet(now, packet),
                    _ => first.handle_packet(now, packet),
                }
            }
            while sent < 50 && first.send(now, numbered(1, sent, 4_000), RELIABLE).is_ok() {
                sent += 1;
                if sent == 50 {
                    first.shutdown(now);
                }
            }
        }
        assert_eq!(got, (0..50).collect::<Vec<_>>());
        assert_eq!(closed[0], Some(Closed::Local));
        // Its last word may be lost, and then the peer hears nothing more (RFC 9260, 9.2).
        assert!(matches!(closed[1], Some(Closed::Remote | Closed::Silent)), "{closed:?}");
    }
}

#[test]
fn limited_messages_are_never_torn_or_doubled() {
    let limits = [
        Reliability::Retransmits(0),
        Reliability::Retransmits(2),
        Reliability::Lifetime(Duration::from_millis(60)),
    ];
    for (at, reliability) in limits.into_iter().enumerate() {
        for (interleaving, ordered) in [(false, true), (false, false), (true, true), (true, false)]
        {
            let config = Config { interleaving, ..Config::default() };
            let mut world = world(&config, 150_000, 17 + at as u64);
            for next in 0..150 {
                world.send(0, numbered(2, next, 3_500), Delivery { ordered, reliability });
                world.run(Duration::from_millis(4));
            }
            world.run(Duration::from_secs(20));
            let mut got: Vec<u32> = world.messages[1].iter().map(number).collect();
            if !ordered {
                got.sort_unstable();
            }
            assert!(got.is_sorted_by(|a, b| a < b), "{got:?}");
            assert!((20..=150).contains(&got.len()), "{} arrived", got.len());
            if at == 0 {
                assert!(got.len() < 150, "nothing was given up");
            }
            assert_eq!(world.ends[0].buffered_bytes(2), 0, "nothing is kept of what is given up");
            world.send(0, numbered(2, 999, 10), RELIABLE);
            world.until(LONG, "the next", |w| w.messages[1].iter().any(|m| number(m) == 999));
        }
    }
}

#[test]
fn a_long_message_does_not_hold_up_others_where_they_are_interleaved() {
    let mut config = Config::default();
    config.common.send_message_bytes_max = 1 << 20;
    config.common.receive_message_bytes_max = 1 << 20;
    let slow = Conditions { rate: Some(1_000_000), queue_bytes_max: 50_000, ..conditions(0) };
    for interleaving in [false, true] {
        let config = Config { interleaving, ..config.clone() };
        let mut world = World::ours(&config, slow, 19);
        world.connect();
        world.send(0, numbered(1, 1, 1_000_000), RELIABLE);
        world.run(Duration::from_millis(200));
        world.send(0, numbered(2, 2, 100), RELIABLE);
        world.until(LONG, "both", |world| world.messages[1].len() == 2);
        let order: Vec<u32> = world.messages[1].iter().map(number).collect();
        assert_eq!(order, if interleaving { [2, 1] } else { [1, 2] });
    }
}
