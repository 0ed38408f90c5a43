//! Trickling, restarts, lost paths, hidden addresses, strangers, and the limits of each.

mod sessions;

use std::net::SocketAddr;
use std::time::Duration;

use psyne_core::Time;
use psyne_rtc::association::Reliability;
use psyne_rtc::{ChannelEvent, Closed, Error, Event, Fingerprint, Local, Output, Session, sdp};
use sessions::{A, Link, World, bytes, config, open, text};

const PATIENCE: Duration = Duration::from_secs(90);

fn connected(seed: u64) -> World {
    let mut world = World::new(Link::CLEAN, seed);
    world.a.session.open(world.now, open("x", true, Reliability::Reliable)).unwrap();
    world.connect();
    world.until(PATIENCE, |w| w.b.open("x").is_some());
    world
}

/// Something sent now arrives.
fn still_talks(world: &mut World) {
    let (a, b) = (world.a.open("x").unwrap(), world.b.open("x").unwrap());
    let (heard_a, heard_b) = (world.a.messages(a).len(), world.b.messages(b).len());
    world.a.session.send(world.now, a, text("to b")).unwrap();
    world.b.session.send(world.now, b, text("to a")).unwrap();
    world.until(PATIENCE, |w| {
        w.a.messages(a).len() == heard_a + 1 && w.b.messages(b).len() == heard_b + 1
    });
}

fn paths(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::Path { .. })).count()
}

#[test]
fn another_certificate_than_the_signaled_ends_the_session_with_that_reason() {
    let mut world = World::new(Link::CLEAN, 1);
    for side in [&mut world.a, &mut world.b] {
        side.session.add_local(world.now, Local::Host(side.addr)).unwrap();
    }
    let offer = world.a.session.offer(world.now).unwrap();
    let answer = world.b.session.answer(world.now, &offer).unwrap();
    let ours = config(2).certificate.fingerprint().to_string();
    assert!(answer.contains(&ours));
    let answer = answer.replace(&ours, &Fingerprint::of(b"another").to_string());
    world.a.session.accept(world.now, &answer).unwrap();
    world.until(PATIENCE, |w| w.a.closed().is_some() && w.b.closed().is_some());
    assert_eq!(world.a.closed(), Some(Closed::Fingerprint));
    assert!(!world.a.connected() && !world.b.connected());
}

#[test]
fn candidates_may_come_one_by_one_and_after_the_descriptions() {
    let mut world = World::new(Link::CLEAN, 1);
    let offer = world.a.session.offer(world.now).unwrap();
    assert!(!offer.contains("a=candidate"));
    let answer = world.b.session.answer(world.now, &offer).unwrap();
    world.a.session.accept(world.now, &answer).unwrap();
    world.run(Duration::from_secs(2));
    for side in [&mut world.a, &mut world.b] {
        side.session.add_local(world.now, Local::Host(side.addr)).unwrap();
    }
    world.drain();
    let trickled = |events: &[Event]| {
        let candidate = events.iter().find_map(|event| match event {
            Event::Candidate(candidate) => Some(candidate.clone()),
            _ => None,
        });
        candidate.expect("one was gathered after the description")
    };
    let (ours, theirs) = (trickled(&world.a.events), trickled(&world.b.events));
    world.b.session.add_remote(world.now, &ours).unwrap();
    world.a.session.add_remote(world.now, &theirs).unwrap();
    world.a.session.add_remote(world.now, "").unwrap();
    world.until(PATIENCE, |w| w.a.connected() && w.b.connected());
}

#[test]
fn either_side_restarts_ice_and_nothing_is_lost() {
    for restarts_a in [true, false] {
        let mut world = connected(2);
        let found = (paths(&world.a.events), paths(&world.b.events));
        let now = world.now;
        let (one, other) = if restarts_a {
            (&mut world.a.session, &mut world.b.session)
        } else {
            (&mut world.b.session, &mut world.a.session)
        };
        let offer = one.restart(now).unwrap();
        let answer = other.answer(now, &offer).unwrap();
        one.accept(now, &answer).unwrap();
        still_talks(&mut world);
        world.until(PATIENCE, |w| paths(&w.a.events) > found.0 && paths(&w.b.events) > found.1);
        still_talks(&mut world);
        world.run(Duration::from_secs(60));
        still_talks(&mut world);
    }
}

#[test]
fn a_lost_path_is_said_and_a_restart_brings_it_back() {
    let mut world = connected(3);
    let lost = |events: &[Event]| events.contains(&Event::PathLost);
    world.cut = true;
    world.until(Duration::from_secs(40), |w| lost(&w.a.events) && lost(&w.b.events));
    let sent = world.a.session.metrics().sent_bytes;
    world.run(Duration::from_secs(5));
    // Consent is gone: not even what is unacknowledged may be sent.
    assert_eq!(world.a.session.metrics().sent_bytes, sent);
    world.cut = false;
    let offer = world.a.session.restart(world.now).unwrap();
    let answer = world.b.session.answer(world.now, &offer).unwrap();
    world.a.session.accept(world.now, &answer).unwrap();
    still_talks(&mut world);
    world.run(Duration::from_secs(60));
    still_talks(&mut world);
}

#[test]
fn a_path_that_stays_lost_ends_the_session() {
    let mut world = connected(4);
    world.cut = true;
    world.until(Duration::from_secs(90), |w| w.a.closed().is_some() && w.b.closed().is_some());
    assert_eq!((world.a.closed(), world.b.closed()), (Some(Closed::Lost), Some(Closed::Lost)));
}

#[test]
fn a_side_that_never_answers_ends_the_session() {
    let mut world = World::new(Link::CLEAN, 1);
    world.cut = true;
    world.signal();
    world.until(Duration::from_secs(60), |w| w.a.closed().is_some());
    assert_eq!(world.a.closed(), Some(Closed::Connect));
}

#[test]
fn closing_tells_the_other_side() {
    let mut world = connected(5);
    world.b.session.close(world.now);
    world.until(PATIENCE, |w| w.a.closed().is_some());
    assert_eq!((world.a.closed(), world.b.closed()), (Some(Closed::Remote), Some(Closed::Local)));
    let x = world.a.open("x").unwrap();
    assert_eq!(world.a.session.send(world.now, x, text("x")), Err(Error::NotOpen));
    assert!(world.a.session.offer(world.now).is_err());
}

#[test]
fn names_of_hidden_addresses_are_the_drivers_to_resolve() {
    let mut world = World::new(Link::CLEAN, 1);
    for side in [&mut world.a, &mut world.b] {
        side.session.add_local(world.now, Local::Host(side.addr)).unwrap();
    }
    let offer = world.a.session.offer(world.now).unwrap();
    let ip = A.parse::<SocketAddr>().unwrap().ip();
    let hidden = "0e17b2a5-7a5c-4ddb.local";
    let offer = offer.replace(&format!(" {ip} "), &format!(" {hidden} "));
    let answer = world.b.session.answer(world.now, &offer).unwrap();
    // Without the answer's candidate only what b resolves leads anywhere.
    let answer: String = answer
        .lines()
        .filter(|line| !line.starts_with("a=candidate"))
        .map(|line| format!("{line}\r\n"))
        .collect();
    world.a.session.accept(world.now, &answer).unwrap();
    world.drain();
    assert!(world.b.events.contains(&Event::Resolve(hidden.into())));
    world.run(Duration::from_secs(1));
    assert_eq!(paths(&world.b.events), 0);
    world.b.session.resolved(world.now, hidden, Some(ip));
    world.until(PATIENCE, |w| w.a.connected() && w.b.connected());
}

#[test]
fn a_side_with_ice_lite_is_found() {
    for lite_a in [true, false] {
        let mut configs = [config(1), config(2)];
        configs[usize::from(!lite_a)].ice_lite = true;
        let [a, b] = configs;
        let mut world = World::with(Link::CLEAN, 1, a, b);
        world.connect();
        world.run(Duration::from_secs(60));
        assert_eq!((world.a.closed(), world.b.closed()), (None, None));
    }
}

#[test]
fn strangers_are_dropped_and_get_no_answer() {
    let mut world = World::new(Link::CLEAN, 1);
    world.a.session.add_local(world.now, Local::Host(world.a.addr)).unwrap();
    world.b.session.add_local(world.now, Local::Host(world.b.addr)).unwrap();
    let offer = world.a.session.offer(world.now).unwrap();
    let offer: String = offer
        .lines()
        .filter(|line| !line.starts_with("a=candidate"))
        .map(|line| format!("{line}\r\n"))
        .collect();
    world.b.session.answer(world.now, &offer).unwrap();
    world.run(Duration::from_secs(1));
    let stranger: SocketAddr = "203.0.113.9:9".parse().unwrap();
    let mut random = sessions::Random(9);
    let mut count = 0;
    // A handshake's first record, a check of nobody's, RTP, noise.
    for first in [22_u8, 0, 1, 128, 70, 255] {
        for len in [0, 1, 12, 20, 60, 200, 1_200] {
            let mut data: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
            if let Some(byte) = data.first_mut() {
                *byte = first;
            }
            world.b.session.handle_datagram(world.now, world.b.addr, stranger, &data);
            count += 1;
        }
    }
    assert_eq!(world.b.session.metrics().datagrams_dropped, count);
    assert!(matches!(world.b.session.poll_output(), Output::Wait(_)));
    world.run(Duration::from_secs(5));
    assert_eq!(world.b.session.metrics().sent_bytes, 0);
}

#[test]
fn addresses_that_checks_come_from_are_limited() {
    let mut b = config(2);
    b.sources_max = 3;
    let mut world = World::with(Link::CLEAN, 1, config(1), b);
    world.signal();
    let check = loop {
        match world.a.session.poll_output() {
            Output::Transmit(transmit) => break transmit.data,
            Output::Event(_) => {}
            Output::Wait(wait) => {
                world.now = wait.expect("checks are due");
                world.a.session.handle_timeout(world.now);
            }
        }
    };
    // The same check, as if NATs had given its sender one address after another.
    for port in 1..=10 {
        let from = SocketAddr::new(world.a.addr.ip(), port);
        world.b.session.handle_datagram(world.now, world.b.addr, from, &check);
        while !matches!(world.b.session.poll_output(), Output::Wait(_)) {}
    }
    assert_eq!(world.b.session.metrics().datagrams_dropped, 7);
}

#[test]
fn sections_of_audio_and_video_are_refused_in_their_places() {
    let mut b = Session::new(config(2), Time::ZERO, [2; 32]);
    let offer = Session::new(config(1), Time::ZERO, [1; 32]).offer(Time::ZERO).unwrap();
    let audio = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:7\r\na=ice-ufrag:abcd\r\n\
                 m=application";
    let answer = b.answer(Time::ZERO, &offer.replace("m=application", audio)).unwrap();
    assert!(answer.contains("m=audio 0 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:7\r\n"));
    assert!(answer.contains("a=group:BUNDLE 0\r\n"), "{answer}");
    let answer = sdp::Description::parse(&answer, &sdp::Limits::default()).unwrap();
    assert_eq!(answer.media.len(), 2);
}

#[test]
fn what_does_not_fit_the_state_is_refused() {
    let session = |who: u8| Session::new(config(who), Time::ZERO, [who; 32]);
    let (mut a, mut b) = (session(1), session(2));
    assert!(matches!(a.accept(Time::ZERO, ""), Err(Error::State { .. })));
    assert!(matches!(a.add_remote(Time::ZERO, ""), Err(Error::State { .. })));
    let offer = a.offer(Time::ZERO).unwrap();
    assert!(matches!(a.offer(Time::ZERO), Err(Error::State { .. })));
    let theirs = b.offer(Time::ZERO).unwrap();
    assert!(matches!(a.answer(Time::ZERO, &theirs), Err(Error::State { .. })));
    let answer = session(3).answer(Time::ZERO, &offer).unwrap();
    let either = answer.replace("a=setup:active", "a=setup:actpass");
    assert!(matches!(a.accept(Time::ZERO, &either), Err(Error::Malformed { .. })));
    a.accept(Time::ZERO, &answer).unwrap();
    // Another peer, mid-session.
    let offer = a.restart(Time::ZERO).unwrap();
    let other = session(4).answer(Time::ZERO, &offer).unwrap();
    assert!(matches!(a.accept(Time::ZERO, &other), Err(Error::Unsupported { .. })));
}

#[test]
fn candidates_and_names_are_limited() {
    let mut small = config(2);
    small.local_candidates_max = 2;
    small.sdp.candidates_max = 20;
    let mut b = Session::new(small, Time::ZERO, [2; 32]);
    let host = |port: u16| Local::Host(SocketAddr::new("192.0.2.1".parse().unwrap(), port));
    b.add_local(Time::ZERO, host(1)).unwrap();
    b.add_local(Time::ZERO, host(2)).unwrap();
    assert!(matches!(b.add_local(Time::ZERO, host(3)), Err(Error::TooMuch { .. })));
    let loopback = Local::Host("127.0.0.1:5".parse().unwrap());
    let mut a = Session::new(config(1), Time::ZERO, [1; 32]);
    assert!(matches!(a.add_local(Time::ZERO, loopback), Err(Error::Unsupported { .. })));
    let offer = a.offer(Time::ZERO).unwrap();
    b.answer(Time::ZERO, &offer).unwrap();
    let names = (0..17).map(|n| {
        let name = format!("candidate:1 1 udp 1 name-{n}.local 9 typ host");
        b.add_remote(Time::ZERO, &name).is_ok()
    });
    assert_eq!(names.filter(|taken| *taken).count(), 16);
    let rest = (0..9).map(|n| {
        let at = format!("candidate:1 1 udp 1 192.0.2.{n} 9 typ host");
        b.add_remote(Time::ZERO, &at).is_ok()
    });
    // The 17th name counted as well.
    assert_eq!(rest.filter(|taken| *taken).count(), 3);
}

#[test]
fn channels_and_their_names_are_limited_on_both_sides() {
    let mut configs = [config(1), config(2)];
    configs[0].channels.channels_max = 6;
    configs[1].channels.channels_max = 4;
    let [a, b] = configs;
    let mut world = World::with(Link::CLEAN, 1, a, b);
    let about = |n: usize| open(&format!("c{n}"), true, Reliability::Reliable);
    for n in 0..6 {
        world.a.session.open(world.now, about(n)).unwrap();
    }
    assert!(matches!(world.a.session.open(world.now, about(6)), Err(Error::TooMuch { .. })));
    let long = open(&"x".repeat(1_025), true, Reliability::Reliable);
    assert!(matches!(world.b.session.open(world.now, long), Err(Error::TooMuch { .. })));
    world.connect();
    let closed = |events: &[Event]| {
        let closed = |event: &&Event| matches!(event, Event::Channel(ChannelEvent::Closed { .. }));
        events.iter().filter(closed).count()
    };
    // What b refused, a hears of.
    world.until(PATIENCE, |w| closed(&w.a.events) == 2);
    assert!((0..4).all(|n| world.b.open(&format!("c{n}")).is_some()));
    assert!(world.b.open("c4").is_none() && world.b.open("c5").is_none());
}

#[test]
fn a_full_buffer_says_so_and_says_when_it_has_drained() {
    let mut a = config(1);
    a.association.send_buffer_bytes_max = 256 * 1024;
    let mut world = World::with(Link::CLEAN, 1, a, config(2));
    let x = world.a.session.open(world.now, open("x", true, Reliability::Reliable)).unwrap();
    world.connect();
    // Until what opens the channel is acknowledged.
    world.run(Duration::from_secs(1));
    let long = bytes(256 * 1024 + 1, 0);
    let sent = world.a.session.send(world.now, x, long);
    assert!(matches!(sent, Err(Error::TooMuch { .. })), "{sent:?}");
    let mut count = 0;
    while world.a.session.send(world.now, x, bytes(16 * 1024, 7)).is_ok() {
        count += 1;
        assert!(count <= 16);
    }
    // What is kept of each packet counts as well, so that one message fewer may fit.
    assert!(count >= 15, "{count}");
    assert_eq!(world.a.session.send(world.now, x, bytes(16 * 1024, 7)), Err(Error::Full));
    assert_eq!(world.a.session.buffered_bytes(x), count * 16 * 1024);
    let drained = Event::Channel(ChannelEvent::Drained { channel: x });
    world.until(PATIENCE, |w| w.a.events.contains(&drained));
    world.a.session.send(world.now, x, bytes(16 * 1024, 7)).unwrap();
    world.until(PATIENCE, |w| w.b.open("x").is_some_and(|x| w.b.messages(x).len() == count + 1));
}

/// A driver may bring all that waited at its socket before it asks what comes of it.
#[test]
fn datagrams_that_come_all_at_once_are_all_taken() {
    let mut world = World::new(Link::CLEAN, 1);
    let x = world.a.session.open(world.now, open("x", true, Reliability::Reliable)).unwrap();
    world.connect();
    let mut sent = 0;
    let mut send = |world: &mut World| {
        for _ in 0..16 {
            sent += usize::from(world.a.session.send(world.now, x, bytes(16_384, 7)).is_ok());
        }
        sent
    };
    for _ in 0..10 {
        send(&mut world);
        world.run(Duration::from_millis(100));
    }
    let sent = send(&mut world);
    // As long as the other side is busy elsewhere.
    let mut waiting = vec![];
    for _ in 0..50 {
        world.now += Duration::from_millis(1);
        world.a.session.handle_timeout(world.now);
        while let Output::Transmit(out) = world.a.session.poll_output() {
            waiting.push(out);
        }
    }
    assert!(waiting.len() > 40, "{} datagrams", waiting.len());
    for out in waiting {
        assert!(world.b.session.handle_datagram(world.now, out.to, out.from, &out.data));
    }
    world.until(PATIENCE, |w| w.b.open("x").is_some_and(|x| w.b.messages(x).len() == sent));
    assert_eq!(world.b.closed(), None);
}

/// What nobody takes stays within the window, and comes before the end of its channel.
#[test]
fn held_messages_shut_the_window_and_come_before_the_end() {
    let mut b = config(2);
    b.association.receive_buffer_bytes_max = 64 * 1024;
    let mut world = World::with(Link::CLEAN, 1, config(1), b);
    let x = world.a.session.open(world.now, open("x", true, Reliability::Reliable)).unwrap();
    world.connect();
    world.until(PATIENCE, |w| w.b.open("x").is_some());
    let theirs = world.b.open("x").unwrap();
    world.b.session.hold_messages(true);
    for _ in 0..20 {
        world.a.session.send(world.now, x, bytes(16_384, 7)).unwrap();
    }
    world.run(Duration::from_secs(60));
    assert_eq!(world.b.messages(theirs).len(), 0);
    assert!(world.a.session.buffered_bytes(x) >= 12 * 16_384, "they wait at the sender's");
    world.a.session.close_channel(world.now, x);
    world.b.session.hold_messages(false);
    let closed = Event::Channel(ChannelEvent::Closed { channel: theirs });
    world.until(PATIENCE, |w| w.b.events.contains(&closed));
    assert_eq!(world.b.messages(theirs).len(), 20);
}
