//! The hub and its members on a virtual clock, without sockets.

use core::time::Duration;
use std::collections::BTreeMap;

use psyne_net::signal::hub::{Config, ConnId, Output, Turn};
use psyne_net::signal::{
    Event, FromHub, Hub, Join, Limits, Member, MemberConfig, MemberOutput, Name, Rate, Refusal,
    Secret, Signal, Ticket, ToHub, turn_password,
};
use psyne_rtc::Time;

/// A hub and what its connections heard.
struct World {
    hub: Hub,
    now: Time,
    wait: Option<Time>,
    heard: BTreeMap<u64, Vec<FromHub>>,
    /// The close reasons.
    closed: BTreeMap<u64, Option<Refusal>>,
    /// These do not read.
    deaf: Vec<u64>,
}

impl World {
    fn new(config: Config) -> Self {
        let hub = Hub::new(config, 1);
        let (heard, closed) = (BTreeMap::new(), BTreeMap::new());
        Self { hub, now: Time::ZERO, wait: None, heard, closed, deaf: vec![] }
    }

    fn with(limits: Limits) -> Self {
        Self::new(Config { limits, ..Config::default() })
    }

    fn drain(&mut self) {
        loop {
            match self.hub.poll_output() {
                Output::Send { to: ConnId(to), text } => {
                    assert!(!self.closed.contains_key(&to), "nothing is sent to who is gone");
                    self.heard.entry(to).or_default().push(FromHub::read(&text).unwrap());
                    if !self.deaf.contains(&to) {
                        self.hub.handle_written(ConnId(to), text.len());
                    }
                }
                Output::Close { conn: ConnId(conn), why } => {
                    assert_eq!(self.closed.insert(conn, why), None, "{conn} is closed once");
                }
                Output::Wait(wait) => {
                    self.wait = wait;
                    return;
                }
                _ => {}
            }
        }
    }

    fn connect(&mut self, conn: u64, source: &str) {
        self.hub.handle_connected(self.now, ConnId(conn), source);
        self.drain();
    }

    fn say(&mut self, conn: u64, message: &ToHub) {
        self.say_text(conn, &message.write());
    }

    fn say_text(&mut self, conn: u64, text: &str) {
        self.hub.handle_text(self.now, ConnId(conn), text);
        self.drain();
    }

    /// Connects and joins.
    fn join(&mut self, conn: u64, group: &str, peer: &str) {
        self.connect(conn, &format!("10.0.0.{conn}"));
        self.say(conn, &join(group, Some(peer), conn, None));
    }

    fn send(&mut self, conn: u64, to: &str, session: &str, signal: Signal) {
        let (to, session) = (name(to), name(session));
        self.say(conn, &ToHub::Send { to, session, signal });
    }

    /// What a connection heard since it was asked last.
    fn heard(&mut self, conn: u64) -> Vec<FromHub> {
        self.heard.remove(&conn).unwrap_or_default()
    }

    /// The codes of refusals among it.
    fn refusals(&mut self, conn: u64) -> Vec<String> {
        let refused = |message| match message {
            FromHub::Refused { code, .. } => Some(code),
            _ => None,
        };
        self.heard(conn).into_iter().filter_map(refused).collect()
    }

    /// Lets time pass, alarm by alarm.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.wait.filter(|at| *at <= end) {
            assert!(at >= self.now, "time goes forward");
            self.now = at;
            self.hub.handle_timeout(at);
            self.drain();
        }
        self.now = end;
    }

    fn closed(&self, conn: u64) -> Option<Refusal> {
        self.closed.get(&conn).copied().flatten()
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// Each connection is an instance of its own.
fn join(group: &str, peer: Option<&str>, instance: u64, token: Option<String>) -> ToHub {
    let instance = name(&format!("{instance:016}"));
    ToHub::Join(Join { version: 1, group: name(group), peer: peer.map(name), instance, token })
}

fn offer() -> Signal {
    Signal::Offer("v=0".into())
}

fn candidate() -> Signal {
    Signal::Candidate("candidate:1".into())
}

fn secret() -> Secret {
    Secret::new(b"sixteen bytes or more").unwrap()
}

fn ticket(user: &str, group: &str, expires_unix_s: u64) -> Ticket {
    Ticket { user: name(user), group: name(group), peer: None, expires_unix_s }
}

fn guarded() -> World {
    World::new(Config { secret: Some(secret()), origin_unix_s: 1_000, ..Config::default() })
}

#[test]
fn members_hear_of_each_other_and_what_they_send_reaches_whom_it_is_for() {
    let mut world = World::with(Limits::default());
    world.join(1, "g", "alice");
    world.join(2, "g", "bob");
    world.join(3, "other", "alice");
    let [FromHub::Welcome(first), FromHub::Joined { peer }] = &world.heard(1)[..] else {
        panic!("a welcome, then bob")
    };
    assert_eq!((first.peer.as_str(), first.members.len(), peer.as_str()), ("alice", 0, "bob"));
    let [FromHub::Welcome(second)] = &world.heard(2)[..] else { panic!("a welcome") };
    assert_eq!(second.members, [name("alice")]);
    world.heard(3);
    world.send(1, "bob", "s", offer());
    let (from, session) = (name("alice"), name("s"));
    assert_eq!(world.heard(2), [FromHub::Signal { from, session, signal: offer() }]);
    assert!(world.heard(3).is_empty(), "another group hears nothing of it");
    world.send(3, "bob", "s", offer());
    assert_eq!(world.refusals(3), ["signal.no_peer"]);
    world.send(1, "alice", "s", offer());
    assert_eq!(world.refusals(1), ["signal.no_peer"], "nor does anybody talk to themselves");
    world.say(2, &ToHub::Leave);
    let (peer, reason) = (name("bob"), "left".to_owned());
    assert_eq!(world.heard(1), [FromHub::Left { peer, reason }]);
    assert_eq!(world.closed.get(&2), Some(&None));
}

#[test]
fn the_first_of_two_offers_that_cross_is_the_one_that_counts() {
    let mut world = World::with(Limits::default());
    world.join(1, "g", "alice");
    world.join(2, "g", "bob");
    world.send(2, "alice", "b", offer());
    world.send(1, "bob", "a", offer());
    assert_eq!(world.refusals(1), ["signal.crossed"]);
    assert_eq!(world.refusals(2), [""; 0]);
    // Candidates of a session that will not be are nobody's harm.
    world.send(1, "bob", "a", candidate());
    world.send(1, "bob", "b", Signal::Answer("v=0".into()));
    world.send(1, "bob", "c", offer());
    assert_eq!(world.refusals(1), [""; 0], "after the answer it is free again");
    world.send(1, "bob", "c", Signal::Bye(String::new()));
    world.send(2, "alice", "d", offer());
    assert_eq!(world.refusals(2), [""; 0], "who takes an offer back lets the other go on");
    world.pass(Limits::default().offer);
    world.send(1, "bob", "e", offer());
    assert_eq!(world.refusals(1), [""; 0], "an offer is not waited for for ever");
    world.hub.handle_closed(ConnId(2));
    world.join(4, "g", "bob");
    world.send(4, "alice", "f", offer());
    assert_eq!(world.refusals(4), [""; 0], "a newcomer was offered nothing");
}

#[test]
fn only_tokens_of_our_secret_for_this_group_and_time_are_let_in() {
    let other = Secret::new(b"another secret, as long").unwrap();
    let sealed = |ticket: &Ticket| Some(ticket.seal(&secret()));
    let bound = Ticket { peer: Some(name("alice")), ..ticket("u", "g", 1_100) };
    for (token, peer, expected) in [
        (None, "x", Some(Refusal::Token)),
        (Some("x".into()), "x", Some(Refusal::Token)),
        (Some(ticket("u", "g", 1_100).seal(&other)), "x", Some(Refusal::Token)),
        (sealed(&ticket("u", "g", 1_000)), "x", Some(Refusal::Expired)),
        (sealed(&ticket("u", "other", 1_100)), "x", Some(Refusal::Forbidden)),
        (sealed(&bound), "bob", Some(Refusal::Forbidden)),
        (sealed(&bound), "alice", None),
        (sealed(&ticket("u", "g", 1_001)), "x", None),
    ] {
        let mut world = guarded();
        world.connect(1, "10.0.0.1");
        world.say(1, &join("g", Some(peer), 1, token));
        assert_eq!(world.closed(1), expected);
        assert_eq!(world.closed.is_empty(), expected.is_none());
    }
}

#[test]
fn a_replayed_token_takes_nobodys_place_and_a_members_own_instance_does() {
    let mut world = guarded();
    let token = Some(ticket("u", "g", 2_000).seal(&secret()));
    for conn in 1..=3 {
        world.connect(conn, "10.0.0.1");
    }
    world.say(1, &join("g", Some("alice"), 1, token.clone()));
    world.say(2, &join("g", Some("alice"), 2, token.clone()));
    assert_eq!(world.closed(2), Some(Refusal::Taken));
    world.say(3, &join("g", Some("alice"), 1, token));
    assert_eq!((world.closed(1), world.closed(3)), (Some(Refusal::Replaced), None));
    // Somebody else who learned the instance has another user's token.
    let token = Some(ticket("v", "g", 2_000).seal(&secret()));
    world.connect(4, "10.0.0.1");
    world.say(4, &join("g", Some("alice"), 1, token));
    assert_eq!(world.closed(4), Some(Refusal::Taken));
}

#[test]
fn a_member_stays_as_long_as_its_token_unless_it_is_renewed() {
    let mut world = guarded();
    world.connect(1, "10.0.0.1");
    world.say(1, &join("g", None, 1, Some(ticket("u", "g", 1_010).seal(&secret()))));
    world.pass(Duration::from_secs(9));
    for (user, group, expires, refusal) in [
        ("u", "g", 1_009, Some("signal.expired")),
        ("v", "g", 1_020, Some("signal.forbidden")),
        ("u", "other", 1_020, Some("signal.forbidden")),
        ("u", "g", 1_020, None),
    ] {
        world.heard(1);
        let token = ticket(user, group, expires).seal(&secret());
        world.say(1, &ToHub::Renew { token });
        assert_eq!(world.refusals(1).first().map(String::as_str), refusal);
    }
    world.pass(Duration::from_millis(10_999));
    assert!(world.closed.is_empty());
    world.pass(Duration::from_millis(1));
    assert_eq!(world.closed(1), Some(Refusal::Expired));
}

#[test]
fn turn_credentials_end_with_the_token_or_the_lifetime() {
    let turn = Turn { urls: vec!["turn:t".into()], secret: secret(), lifetime_s: 50 };
    for (expires, expected) in [(1_010, "1010:u"), (2_000, "1050:u")] {
        let stun_urls = vec!["stun:s".into()];
        let config = Config { turn: Some(turn.clone()), stun_urls, ..Config::default() };
        let mut world =
            World::new(Config { secret: Some(secret()), origin_unix_s: 1_000, ..config });
        world.connect(1, "10.0.0.1");
        world.say(1, &join("g", None, 1, Some(ticket("u", "g", expires).seal(&secret()))));
        let [FromHub::Welcome(welcome)] = &world.heard(1)[..] else { panic!("a welcome") };
        let [stun, turn] = &welcome.ice[..] else { panic!("two servers") };
        assert_eq!((&stun.urls[0][..], stun.username.as_deref()), ("stun:s", None));
        assert_eq!(turn.username.as_deref(), Some(expected));
        assert_eq!(turn.credential, Some(turn_password(&secret(), expected)));
    }
}

#[test]
fn who_is_silent_is_asked_then_gone_within_the_limit() {
    let mut world = World::with(Limits::default());
    world.join(1, "g", "alice");
    world.join(2, "g", "bob");
    world.connect(3, "10.0.0.3");
    let Limits { join, ping, silence, .. } = Limits::default();
    world.pass(join);
    assert_eq!(world.closed(3), Some(Refusal::Late), "a stranger that does not join");
    world.pass(ping - join);
    assert!(world.heard(1).contains(&FromHub::Ping));
    world.say(2, &ToHub::Pong);
    world.heard(2);
    world.pass(silence - ping - Duration::from_micros(1));
    assert!(!world.closed.contains_key(&1));
    world.pass(Duration::from_micros(1));
    assert_eq!(world.closed(1), Some(Refusal::Silent));
    let (peer, reason) = (name("alice"), "signal.silent".to_owned());
    assert!(world.heard(2).contains(&FromHub::Left { peer, reason }));
    assert!(!world.closed.contains_key(&2));
}

#[test]
fn who_never_reads_is_closed_and_nobody_else_notices() {
    let limits = Limits { queue_bytes_max: 2_000, ..Limits::default() };
    let mut world = World::with(limits);
    world.join(1, "g", "alice");
    world.join(2, "g", "bob");
    world.join(3, "g", "carol");
    world.heard(3);
    world.deaf = vec![1];
    let mut sent = 0;
    while !world.closed.contains_key(&1) {
        world.send(2, "alice", "s", candidate());
        sent += 1;
        assert!(world.hub.metrics().queued_bytes <= 2_000, "the queue is bounded");
    }
    assert!(sent > 10, "it held {sent}");
    assert_eq!(world.closed(1), Some(Refusal::Slow));
    assert_eq!(world.hub.metrics().queued_bytes, 0);
    world.send(2, "carol", "s", candidate());
    assert!(matches!(world.heard(3)[..], [FromHub::Left { .. }, FromHub::Signal { .. }]));
}

#[test]
fn every_limit_on_how_many_is_reached_and_said() {
    let small = Limits {
        connections_max: 6,
        connections_per_source_max: 5,
        strangers_max: 3,
        groups_max: 2,
        members_max: 2,
        members_per_user_max: 4,
        ..Limits::default()
    };
    let mut world = World::with(small);
    let mut attempt = |conn: u64, source: &str, group: &str| {
        world.connect(conn, source);
        world.say(conn, &join(group, None, conn, None));
        world.closed(conn)
    };
    assert_eq!(attempt(1, "a", "g"), None);
    assert_eq!(attempt(2, "a", "g"), None);
    assert_eq!(attempt(3, "a", "g"), Some(Refusal::GroupFull));
    assert_eq!(attempt(4, "a", "h"), None);
    assert_eq!(attempt(5, "a", "i"), Some(Refusal::Busy), "a third group");
    assert_eq!(attempt(6, "a", "h"), None);
    world.connect(7, "a");
    assert_eq!(world.closed(7), None, "the fifth connection of one source");
    world.connect(8, "a");
    assert_eq!(world.closed(8), Some(Refusal::Quota));
    world.say(7, &join("h", None, 7, None));
    assert_eq!(world.closed(7), Some(Refusal::GroupFull));
    for conn in 10..12 {
        world.connect(conn, "b");
        assert_eq!(world.closed(conn), None);
    }
    world.connect(12, "c");
    assert_eq!(world.closed(12), Some(Refusal::Busy), "six connections");
    let mut world = World::with(Limits { strangers_max: 2, ..small });
    for (conn, expected) in [(1, None), (2, None), (3, Some(Refusal::Busy))] {
        world.connect(conn, "a");
        assert_eq!(world.closed(conn), expected, "two strangers");
    }
    let mut world = World::with(Limits { members_per_user_max: 1, ..small });
    for (conn, expected) in [(1, None), (2, Some(Refusal::Quota))] {
        world.connect(conn, "a");
        world.say(conn, &join("g", None, conn, None));
        assert_eq!(world.closed(conn), expected, "one member a user");
    }
}

#[test]
fn floods_are_dropped_then_cut_off_and_other_users_are_served() {
    let messages = Rate { burst: 10, per_s: 1 };
    let limits = Limits { messages, overruns_max: 5, ..Limits::default() };
    let mut world = World::with(limits);
    for (conn, peer) in [(1, "alice"), (2, "bob"), (3, "carol")] {
        world.join(conn, "g", peer);
    }
    world.heard(2);
    for _ in 0..100 {
        world.send(1, "bob", "s", candidate());
    }
    assert_eq!(world.closed(1), Some(Refusal::Rate));
    assert_eq!(world.refusals(1).len(), 5, "it is told, and no more often than that");
    // The join was one of the ten.
    assert_eq!(world.heard(2).len(), 9 + 1, "what was in its rate, and that it is gone");
    world.send(3, "bob", "s", candidate());
    assert_eq!(world.heard(2).len(), 1, "others are not slowed down");
    // To come back is no way round the limit: it holds for the account.
    world.join(4, "g", "dave");
    world.connect(5, "10.0.0.1");
    world.say(5, &join("g", None, 5, None));
    assert_eq!(world.closed(5), Some(Refusal::Rate));
    world.pass(Duration::from_secs(5));
    world.connect(6, "10.0.0.1");
    world.say(6, &join("g", None, 6, None));
    assert_eq!(world.closed(6), None, "after a while it is welcome again");
}

#[test]
fn connecting_over_and_over_bytes_and_empty_frames_have_their_rates_too() {
    let connects = Rate { burst: 3, per_s: 1 };
    let bytes = Rate { burst: 400, per_s: 1 };
    let messages = Rate { burst: 20, per_s: 1 };
    let limits = Limits { connects, bytes, messages, overruns_max: 2, ..Limits::default() };
    let mut world = World::with(limits);
    for (conn, expected) in [(1, None), (2, None), (3, None), (4, Some(Refusal::Rate))] {
        world.connect(conn, "a");
        assert_eq!(world.closed(conn), expected);
        world.hub.handle_closed(ConnId(conn));
    }
    world.join(5, "g", "alice");
    let long = "x".repeat(300);
    world.send(5, "bob", "s", Signal::Bye(long));
    assert_eq!(world.refusals(5).last().map(String::as_str), Some("signal.rate"));
    world.join(6, "g", "bob");
    for _ in 0..22 {
        world.hub.handle_control(world.now, ConnId(6));
    }
    world.drain();
    assert_eq!(world.closed(6), Some(Refusal::Rate));
}

#[test]
fn unanswered_offers_are_bounded() {
    let mut world = World::with(Limits { offers_max: 2, ..Limits::default() });
    for (conn, peer) in [(1, "a"), (2, "b"), (3, "c"), (4, "d")] {
        world.join(conn, "g", peer);
    }
    for to in ["b", "c", "c", "d"] {
        world.send(1, to, "s", offer());
    }
    assert_eq!(world.refusals(1), ["signal.offers"]);
    world.pass(Limits::default().offer);
    world.send(1, "d", "s", offer());
    assert_eq!(world.refusals(1), [""; 0]);
}

#[test]
fn what_is_no_message_ends_the_connection_that_said_it_and_no_other() {
    let long = "x".repeat(Limits::default().message_bytes_max + 1);
    let version = join("g", None, 9, None).write().replace("\"version\":1", "\"version\":2");
    let twice = join("g", None, 1, None).write();
    for (joined, text, expected) in [
        (false, "", Refusal::Malformed),
        (false, &long, Refusal::TooLong),
        (false, r#"{"type":"pong"}"#, Refusal::Malformed),
        (false, &version, Refusal::Version),
        (true, "nonsense", Refusal::Malformed),
        (true, &long, Refusal::TooLong),
        (true, &twice, Refusal::Malformed),
    ] {
        let mut world = World::with(Limits::default());
        world.join(2, "g", "bob");
        world.connect(1, "10.0.0.1");
        if joined {
            world.say(1, &join("g", Some("alice"), 1, None));
        }
        world.say_text(1, text);
        assert_eq!(world.closed(1), Some(expected), "{text:.40}");
        assert!(!world.closed.contains_key(&2));
        assert_eq!((world.hub.metrics().members, world.hub.metrics().connections), (1, 1));
    }
}

#[test]
fn accounts_of_who_left_are_forgotten() {
    let limits = Limits { connections_max: 4, strangers_max: 4, ..Limits::default() };
    let mut world = World::with(limits);
    // Each address is new; what is remembered of them is bounded, and newcomers are let in.
    for conn in 0..10_000 {
        world.connect(conn, &format!("source {conn}"));
        assert_eq!(world.closed(conn), None);
        world.hub.handle_closed(ConnId(conn));
    }
    assert!(world.hub.accounts() <= 2 * 4 + 1, "{} are remembered", world.hub.accounts());
}

/// A member, and the hub's connection that it has.
struct Client {
    member: Member,
    conn: Option<u64>,
    events: Vec<Event>,
    wait: Option<Time>,
    connects: bool,
}

impl Client {
    fn new(peer: &str, now: Time, seed: u64) -> Self {
        let instance = name(&format!("{seed:016}"));
        let config =
            MemberConfig { peer: Some(name(peer)), ..MemberConfig::new(name("g"), instance) };
        let member = Member::new(config, now, seed);
        Self { member, conn: None, events: vec![], wait: None, connects: false }
    }

    /// Does what the member wants, with this hub or with none.
    fn drain(&mut self, mut world: Option<&mut World>) {
        loop {
            match self.member.poll_output() {
                MemberOutput::Connect => self.connects = true,
                MemberOutput::Send(text) => {
                    if let (Some(world), Some(conn)) = (world.as_deref_mut(), self.conn) {
                        world.say_text(conn, &text);
                    }
                }
                MemberOutput::Disconnect => {
                    if let (Some(world), Some(conn)) = (world.as_deref_mut(), self.conn.take()) {
                        world.hub.handle_closed(ConnId(conn));
                        world.drain();
                    }
                }
                MemberOutput::Event(event) => self.events.push(event),
                MemberOutput::Wait(wait) => {
                    self.wait = wait;
                    return;
                }
                _ => {}
            }
        }
    }

    fn ups(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::Up(_))).count()
    }
}

/// Lets clients and hub talk for a time, in steps of 50 ms.
fn play(clients: &mut [Client], mut world: Option<&mut World>, now: &mut Time, time: Duration) {
    let end = *now + time;
    while *now < end {
        *now += Duration::from_millis(50);
        if let Some(world) = &mut world {
            world.pass(now.since(world.now));
        }
        for (at, client) in clients.iter_mut().enumerate() {
            if client.wait.is_some_and(|wait| wait <= *now) {
                client.member.handle_timeout(*now);
            }
            client.drain(world.as_deref_mut());
            match (&mut world, core::mem::take(&mut client.connects)) {
                (None, true) => client.member.handle_closed(*now, "refused"),
                (Some(world), true) => {
                    let conn = now.as_micros() * 8 + at as u64;
                    client.conn = Some(conn);
                    world.connect(conn, &format!("10.0.0.{at}"));
                    client.member.handle_connected(*now);
                }
                _ => {}
            }
            client.drain(world.as_deref_mut());
            if let (Some(world), Some(conn)) = (&mut world, client.conn) {
                for message in world.heard(conn) {
                    client.member.handle_text(*now, &message.write());
                }
                if let Some(why) = world.closed.get(&conn).copied() {
                    client.conn = None;
                    client.member.handle_closed(*now, why.map_or("", Refusal::code));
                }
            }
            client.drain(world.as_deref_mut());
        }
    }
}

#[test]
fn members_come_back_after_a_restart_by_their_names() {
    let mut now = Time::ZERO;
    let mut clients = [Client::new("alice", now, 1), Client::new("bob", now, 2)];
    let mut world = World::with(Limits::default());
    play(&mut clients, Some(&mut world), &mut now, Duration::from_secs(1));
    assert_eq!(clients.iter().map(Client::ups).collect::<Vec<_>>(), [1, 1]);
    world.hub.close();
    world.drain();
    play(&mut clients, Some(&mut world), &mut now, Duration::from_millis(50));
    for client in &mut clients {
        let down = client.events.pop();
        assert!(matches!(&down, Some(Event::Down { reason, .. }) if reason == "signal.closing"));
        client.events.clear();
    }
    play(&mut clients, None, &mut now, Duration::from_secs(30));
    let downs = clients[0].events.len();
    assert!((4..20).contains(&downs), "it tries, ever more seldom: {downs} times");
    clients.iter_mut().for_each(|client| client.events.clear());
    let mut world = World::with(Limits::default());
    world.now = now;
    play(&mut clients, Some(&mut world), &mut now, Duration::from_secs(15));
    assert_eq!(clients.iter().map(Client::ups).collect::<Vec<_>>(), [1, 1], "both are back");
    let joined = |client: &Client| {
        let lost =
            |event: &Event| matches!(event, Event::Left { reason, .. } if reason == "missed");
        (
            client.events.iter().any(|event| matches!(event, Event::Joined(_))),
            client.events.iter().any(lost),
        )
    };
    // Whoever is back first misses the other for a moment.
    assert!(clients.iter().map(joined).all(|(joined, lost)| joined == lost));
}

#[test]
fn a_member_whose_hub_vanishes_notices_within_the_limit_and_takes_its_place_back() {
    let mut now = Time::ZERO;
    let mut clients = [Client::new("alice", now, 1)];
    let mut world = World::with(Limits::default());
    play(&mut clients, Some(&mut world), &mut now, Duration::from_secs(60));
    assert_eq!((clients[0].events.len(), clients[0].ups()), (1, 1), "pings keep it up");
    // The network forgets the connection: neither side hears of it.
    let lost = clients[0].conn.take();
    play(&mut clients, Some(&mut world), &mut now, Limits::default().silence);
    assert!(
        matches!(&clients[0].events[1], Event::Down { reason, .. } if reason == "signal.silent")
    );
    play(&mut clients, Some(&mut world), &mut now, Duration::from_secs(1));
    assert_eq!(clients[0].ups(), 2);
    assert!(world.closed.contains_key(&lost.unwrap()));
    assert_eq!(world.hub.metrics().members, 1);
}

#[test]
fn what_is_said_while_the_hub_is_away_is_held_until_it_is_back() {
    let mut now = Time::ZERO;
    let mut clients = [Client::new("alice", now, 1), Client::new("bob", now, 2)];
    let mut world = World::with(Limits::default());
    play(&mut clients, Some(&mut world), &mut now, Duration::from_secs(1));
    world.hub.handle_closed(ConnId(clients[0].conn.take().unwrap()));
    world.drain();
    clients[0].member.handle_closed(now, "reset");
    clients[0].member.send(name("bob"), name("s"), offer()).unwrap();
    play(&mut clients, Some(&mut world), &mut now, Duration::from_secs(1));
    let (from, session) = (name("alice"), name("s"));
    assert_eq!(clients[1].events.last(), Some(&Event::Signal { from, session, signal: offer() }));
}

#[test]
fn what_waits_for_a_hub_is_bounded_and_a_refused_token_is_the_end() {
    let mut client = Client::new("alice", Time::ZERO, 1);
    let held_max = MemberConfig::new(name("g"), name("0123456789abcdef")).held_max;
    for _ in 0..held_max {
        client.member.send(name("bob"), name("s"), candidate()).unwrap();
    }
    assert_eq!(client.member.send(name("bob"), name("s"), candidate()), Err(Refusal::Busy));
    let mut now = Time::ZERO;
    let mut world = guarded();
    let mut clients = [client];
    play(&mut clients, Some(&mut world), &mut now, Duration::from_secs(60));
    let reason = "signal.token".to_owned();
    assert_eq!(clients[0].events, [Event::Ended { reason }], "it is not tried again");
}

#[test]
fn a_hub_that_talks_nonsense_is_left_and_tried_again() {
    let mut now = Time::ZERO;
    let mut clients = [Client::new("alice", now, 1)];
    let mut world = World::with(Limits::default());
    play(&mut clients, Some(&mut world), &mut now, Duration::from_secs(1));
    for text in ["", r#"{"type":"dance"}"#, r#"{"type":"joined","peer":"a b"}"#] {
        clients[0].events.clear();
        clients[0].member.handle_text(now, text);
        play(&mut clients, Some(&mut world), &mut now, Duration::from_secs(1));
        let [Event::Down { reason, .. }, Event::Up(_)] = &clients[0].events[..] else {
            panic!("{:?}", clients[0].events)
        };
        assert_eq!(reason, "signal.malformed");
    }
}
