//! Two sessions whom nothing but a TURN server connects.

mod turn;

use std::time::Duration;

use psyne_rtc::association::{Delivery, Reliability};
use psyne_rtc::turn::{Failure, issue};
use psyne_rtc::{ChannelId, Event, Open, Payload};
use psyne_sim::Conditions;
use turn::{CONDITIONS, Relay, SECRET, UNIX_S, World, credential, server_config};

const MINUTE: Duration = Duration::from_secs(60);

fn open(world: &mut World) -> ChannelId {
    let delivery = Delivery { ordered: true, reliability: Reliability::Reliable };
    let open = Open { label: "chat".into(), protocol: String::new(), delivery };
    world.sides[0].session.open(world.now, open).unwrap()
}

fn say(world: &mut World, channel: ChannelId, text: &str) {
    let text = Payload::Text(text.to_owned());
    world.sides[0].session.send(world.now, channel, text).unwrap();
}

fn connected(world: &World) -> bool {
    world.sides.iter().all(turn::Side::connected)
}

fn failure(side: &turn::Side) -> Option<Failure> {
    side.events.iter().find_map(|event| match event {
        Event::RelayFailed { failure, .. } => Some(*failure),
        _ => None,
    })
}

#[test]
fn both_relayed_they_talk_over_a_bad_network() {
    for seed in 0..8 {
        let mut world = World::new(server_config(), CONDITIONS, seed);
        let channel = open(&mut world);
        world.ask(&credential("ann"));
        world.signal();
        world.until(MINUTE, connected);
        let relayed = world.sides[0].relayed().expect("it has an allocation");
        let by = |event: &Event| matches!(event, Event::Path { local, .. } if *local == relayed);
        assert!(world.sides[0].events.iter().any(by), "seed {seed}");
        for number in 0..50 {
            say(&mut world, channel, &format!("message {number}"));
        }
        world.until(MINUTE, |world| world.sides[1].texts().len() == 50);
        let metrics = world.relay.server.metrics();
        assert_eq!(metrics.allocations, 2);
        assert!(metrics.to_clients > 0 && metrics.to_peers > 0, "{metrics:?}");
    }
}

#[test]
fn one_relay_is_enough() {
    let mut world = World::new(server_config(), CONDITIONS, 1);
    let channel = open(&mut world);
    world.walled = false;
    world.ask(&credential("ann"));
    world.signal();
    world.until(MINUTE, connected);
    say(&mut world, channel, "hello");
    world.until(MINUTE, |world| world.sides[1].texts() == ["hello"]);
}

/// Refreshes, permissions, channels and nonces all run out many times in an hour.
#[test]
fn an_idle_session_keeps_its_relay_for_an_hour() {
    let mut config = server_config();
    config.nonce_lifetime = Duration::from_secs(50);
    let mut world = World::new(config, CONDITIONS, 2);
    let channel = open(&mut world);
    world.ask(&credential("ann"));
    world.signal();
    world.until(MINUTE, connected);
    world.run(60 * MINUTE);
    say(&mut world, channel, "still there");
    world.until(MINUTE, |world| world.sides[1].texts() == ["still there"]);
    assert_eq!(world.sides.each_ref().map(failure), [None, None]);
    assert!(!world.sides.iter().any(|side| side.events.contains(&Event::PathLost)));
    let metrics = world.relay.server.metrics();
    assert!(metrics.requests_refused > 20, "nonces ran out: {metrics:?}");
}

#[test]
fn a_closed_session_gives_its_allocation_back() {
    let mut world = World::new(server_config(), Conditions::default(), 3);
    world.ask(&credential("ann"));
    world.until(MINUTE, |world| world.sides.iter().all(|side| side.relayed().is_some()));
    assert_eq!(world.relay.server.metrics().allocations, 2);
    let now = world.now;
    world.sides[0].session.close(now);
    world.run(Duration::from_secs(1));
    assert_eq!(world.relay.server.metrics().allocations, 1);
    assert_eq!(world.relay.sockets.len(), 1);
}

#[test]
fn an_allocation_that_nobody_refreshes_ends() {
    let mut world = World::new(server_config(), Conditions::default(), 3);
    world.ask(&credential("ann"));
    world.until(MINUTE, |world| world.sides.iter().all(|side| side.relayed().is_some()));
    let end = world.now + 11 * MINUTE;
    world.relay.handle_timeout(end);
    assert_eq!(world.relay.server.metrics().allocations, 0);
    assert!(world.relay.sockets.is_empty());
}

#[test]
fn each_refusal_says_why() {
    let mut quota = server_config();
    quota.user_allocations_max = 1;
    let mut capacity = server_config();
    capacity.allocations_max = 1;
    let late = issue(SECRET, "ann", UNIX_S);
    let forged = issue(b"another secret", "ann", UNIX_S + 86_400);
    let long = issue(SECRET, &"a".repeat(600), UNIX_S + 86_400);
    for (config, credential, expected) in [
        (quota, credential("ann"), Failure::Quota),
        (capacity, credential("ann"), Failure::Capacity),
        (server_config(), late, Failure::Credentials),
        (server_config(), forged, Failure::Credentials),
        (server_config(), long, Failure::Credentials),
    ] {
        let mut world = World::new(config, Conditions::default(), 4);
        world.ask(&credential);
        world.run(MINUTE);
        let failures = world.sides.each_ref().map(failure);
        assert!(failures.contains(&Some(expected)), "{failures:?} for {expected:?}");
    }
}

#[test]
fn a_server_that_is_not_there_is_told_and_so_is_one_that_forgot() {
    let lost = Conditions { loss_ppm: 1_000_000, ..Conditions::default() };
    let mut world = World::new(server_config(), lost, 5);
    world.ask(&credential("ann"));
    world.run(MINUTE);
    assert_eq!(world.sides.each_ref().map(failure), [Some(Failure::Unreachable); 2]);

    let mut world = World::new(server_config(), Conditions::default(), 5);
    world.ask(&credential("ann"));
    world.signal();
    world.until(MINUTE, connected);
    world.relay = Relay::new(server_config());
    world.run(6 * MINUTE);
    assert_eq!(world.sides.each_ref().map(failure), [Some(Failure::Lost); 2]);
}

#[test]
fn no_more_relays_are_asked_than_are_allowed() {
    let mut world = World::new(server_config(), Conditions::default(), 6);
    let now = world.now;
    let session = &mut world.sides[0].session;
    let relay = |n: u16| {
        let server = turn::addr(&format!("203.0.113.1:{}", 3_478 + n));
        psyne_rtc::turn::ClientConfig::new(turn::addr("192.0.2.1:1"), server, credential("ann"))
    };
    let taken = (0..20).filter(|n| session.add_relay(now, relay(*n)).is_ok()).count();
    assert_eq!(taken, 8);
    assert_eq!(session.add_relay(now, relay(0)).unwrap_err().code(), "rtc.too_much");
}
