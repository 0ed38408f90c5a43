//! The whole stack, twice: signaling to messages, over links that lose, double, delay and corrupt.

mod sessions;

use std::time::Duration;

use psyne_rtc::association::Reliability;
use psyne_rtc::{Error, Event, Payload, Versions};
use sessions::{Link, World, bytes, config, open, text};

const PATIENCE: Duration = Duration::from_secs(120);

/// Each side opens a channel and sends on both; all comes, in order.
fn talk(mut world: World) {
    let ours = open("ours", true, Reliability::Reliable);
    let theirs = open("theirs", true, Reliability::Reliable);
    world.a.session.open(world.now, ours).unwrap();
    world.b.session.open(world.now, theirs).unwrap();
    world.connect();
    world.until(PATIENCE, |w| w.a.open("theirs").is_some() && w.b.open("ours").is_some());
    let expected: Vec<Payload> = (0..60)
        .map(|n| if n % 3 == 0 { text(&format!("text {n}")) } else { bytes(n * 97, n as u8) })
        .collect();
    for label in ["ours", "theirs"] {
        let (a, b) = (world.a.open(label).unwrap(), world.b.open(label).unwrap());
        for payload in &expected {
            world.a.session.send(world.now, a, payload.clone()).unwrap();
            world.b.session.send(world.now, b, payload.clone()).unwrap();
        }
        let count = expected.len();
        world.until(PATIENCE, |w| w.a.messages(a).len() >= count && w.b.messages(b).len() >= count);
        assert_eq!(world.a.messages(a), expected, "{label}");
        assert_eq!(world.b.messages(b), expected, "{label}");
    }
    let keys = |events: &[Event]| {
        events.iter().find_map(|event| match event {
            Event::Keys(keys) => Some(keys.clone()),
            _ => None,
        })
    };
    let (a, b) = (keys(&world.a.events).unwrap(), keys(&world.b.events).unwrap());
    assert_eq!((a.material, a.profile), (b.material, b.profile));
    assert_ne!(a.client, b.client);
}

#[test]
fn over_a_clean_link() {
    talk(World::new(Link::CLEAN, 1));
}

#[test]
fn over_links_that_lose_double_delay_and_corrupt() {
    for seed in 0..6 {
        talk(World::new(Link::BAD, seed));
    }
}

#[test]
fn with_either_version_of_dtls() {
    for (seed, (a, b)) in (0..).zip([
        (Versions::Only12, Versions::Only12),
        (Versions::Only13, Versions::Only13),
        (Versions::Both, Versions::Only12),
        (Versions::Only12, Versions::Both),
        (Versions::Only13, Versions::Both),
    ]) {
        let mut configs = [config(1), config(2)];
        (configs[0].versions, configs[1].versions) = (a, b);
        let [a, b] = configs;
        talk(World::with(Link::CLEAN, seed, a, b));
    }
}

#[test]
fn empty_messages_and_text_arrive_as_what_they_are() {
    let mut world = World::new(Link::CLEAN, 1);
    let id = world.a.session.open(world.now, open("x", false, Reliability::Reliable)).unwrap();
    world.connect();
    let sent = [text(""), bytes(0, 0), text("ü")];
    for payload in &sent {
        world.a.session.send(world.now, id, payload.clone()).unwrap();
    }
    world.until(PATIENCE, |w| w.b.open("x").is_some_and(|id| w.b.messages(id).len() == 3));
    let id = world.b.open("x").unwrap();
    assert!(sent.iter().all(|payload| world.b.messages(id).contains(payload)));
}

/// What is tried a limited number of times or for a limited time is given up on a bad link, and
/// what was sent after it arrives.
#[test]
fn limited_channels_lose_messages_and_go_on() {
    let lifetime = Reliability::Lifetime(Duration::from_millis(1));
    for reliability in [Reliability::Retransmits(0), lifetime] {
        let link = Link { lost: 200, ..Link::CLEAN };
        let mut world = World::new(Link::CLEAN, 5);
        let limited = world.a.session.open(world.now, open("l", false, reliability)).unwrap();
        world.connect();
        world.until(PATIENCE, |w| w.b.open("l").is_some());
        world.link = link;
        for n in 0..200_u32 {
            let payload = text(&n.to_string());
            world.a.session.send(world.now, limited, payload).unwrap();
            world.run(Duration::from_millis(20));
        }
        let received = |w: &World| w.b.messages(w.b.open("l").unwrap()).len();
        assert!((100..200).contains(&received(&world)), "{} of 200", received(&world));
        world.link = Link::CLEAN;
        world.run(Duration::from_secs(20));
        let before = received(&world);
        world.a.session.send(world.now, limited, text("last")).unwrap();
        world.until(PATIENCE, |w| received(w) > before);
    }
}

#[test]
fn channels_close_from_either_side() {
    for closer in ["a", "b"] {
        let mut world = World::new(Link::BAD, 3);
        world.a.session.open(world.now, open("x", true, Reliability::Reliable)).unwrap();
        world.connect();
        world.until(PATIENCE, |w| w.b.open("x").is_some());
        let (a, b) = (world.a.open("x").unwrap(), world.b.open("x").unwrap());
        if closer == "a" {
            world.a.session.send(world.now, a, text("last")).unwrap();
            world.a.session.close_channel(world.now, a);
        } else {
            world.b.session.close_channel(world.now, b);
        }
        let over = |events: &[Event]| {
            let closed = |event: &Event| {
                matches!(event, Event::Channel(psyne_rtc::ChannelEvent::Closed { .. }))
            };
            events.iter().any(closed)
        };
        world.until(PATIENCE, |w| over(&w.a.events) && over(&w.b.events));
        assert_eq!(world.b.messages(b).len(), usize::from(closer == "a"));
        assert_eq!(world.a.session.send(world.now, a, text("x")), Err(Error::NotOpen));
    }
}

#[test]
fn channels_known_from_elsewhere_need_no_word() {
    let mut world = World::new(Link::CLEAN, 3);
    let about = || open("n", true, Reliability::Reliable);
    let a = world.a.session.open_negotiated(world.now, about(), 7).unwrap();
    let b = world.b.session.open_negotiated(world.now, about(), 7).unwrap();
    world.connect();
    world.a.session.send(world.now, a, text("x")).unwrap();
    world.b.session.send(world.now, b, text("y")).unwrap();
    world.until(PATIENCE, |w| w.a.messages(a).len() + w.b.messages(b).len() == 2);
}
