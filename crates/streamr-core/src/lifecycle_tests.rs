use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn fresh(config: Config) -> Lifecycle {
    Lifecycle::new(config, Time::ZERO, 7, Saved::default())
}

fn drain(stream: &mut Lifecycle) -> Vec<Event> {
    let mut events = Vec::new();
    while let Output::Event(event) = stream.poll_output() {
        events.push(event);
    }
    events
}

fn at(seconds: u64) -> Time {
    Time::from_millis(seconds * 1_000)
}

#[test]
fn a_publisher_that_returns_within_grace_continues_the_broadcast() {
    let mut stream = fresh(Config::default());
    stream.publish(at(1)).unwrap();
    let broadcast = stream.broadcast().unwrap();
    stream.unpublish(at(10), Leave::Lost);
    assert_eq!(stream.state(), State::Live);
    stream.publish(at(39)).unwrap();
    assert_eq!(stream.broadcast(), Some(broadcast));
    let moved = Event::Moved { from: State::Ready, to: State::Live, reason: Reason::Published };
    let (started, interrupted) = (Event::Started(broadcast), Event::Interrupted(broadcast));
    assert_eq!(drain(&mut stream), [moved, started, interrupted, Event::Resumed(broadcast)]);
}

#[test]
fn grace_ends_at_its_end_and_then_patience_with_what_lingers() {
    for (leave, grace_s) in [(Leave::Lost, 30), (Leave::Goodbye, 3)] {
        let mut stream = fresh(Config::default());
        stream.publish(at(0)).unwrap();
        let first = stream.broadcast();
        stream.unpublish(at(0), leave);
        drain(&mut stream);
        assert_eq!(stream.poll_output(), Output::Wait(Some(at(grace_s))));
        stream.handle_timeout(at(grace_s) - SECOND);
        assert_eq!(stream.state(), State::Live);
        stream.handle_timeout(at(grace_s));
        assert_eq!((stream.state(), stream.broadcast()), (State::Offline, None));
        stream.handle_timeout(at(grace_s + 3_600));
        assert_eq!(stream.state(), State::Stale);
        drain(&mut stream);
        assert_eq!(stream.poll_output(), Output::Wait(None));
        stream.publish(at(9_999)).unwrap();
        assert_eq!(stream.state(), State::Live);
        assert_ne!(stream.broadcast(), first);
    }
}

#[test]
fn a_late_timeout_catches_up_in_one_call() {
    let mut stream = fresh(Config::default());
    stream.publish(at(0)).unwrap();
    stream.unpublish(at(0), Leave::Lost);
    stream.handle_timeout(at(100_000));
    assert_eq!(stream.state(), State::Stale);
}

#[test]
fn a_test_is_shown_only_when_its_creator_says_so() {
    let mut stream = fresh(Config { test_first: true, ..Config::default() });
    assert!(matches!(stream.go_live(at(0)), Err(Error::Move { .. })));
    stream.publish(at(1)).unwrap();
    assert_eq!(stream.state(), State::Testing);
    stream.go_live(at(2)).unwrap();
    assert_eq!(stream.state(), State::Live);
    stream.end(at(3)).unwrap();
    assert_eq!(stream.state(), State::Offline);
    drain(&mut stream);
    stream.publish(at(4)).unwrap();
    stream.end(at(5)).unwrap();
    assert_eq!(stream.state(), State::Ready, "a test that ends leaves nothing to watch");
}

#[test]
fn a_second_publisher_is_refused_and_the_first_goes_on() {
    let mut stream = fresh(Config::default());
    stream.publish(at(0)).unwrap();
    assert_eq!(stream.publish(at(1)), Err(Error::Busy));
    assert!(stream.has_publisher());
}

#[test]
fn an_archived_stream_stays_so() {
    let mut stream = fresh(Config::default());
    stream.publish(at(0)).unwrap();
    stream.archive(at(1));
    assert_eq!((stream.state(), stream.has_publisher()), (State::Archived, false));
    stream.unpublish(at(2), Leave::Lost);
    stream.archive(at(2));
    assert!(matches!(stream.publish(at(3)), Err(Error::Move { .. })));
}

#[test]
fn a_restarted_server_waits_for_the_publisher_it_had() {
    let broadcast = Some(BroadcastId::from_u64(5));
    let saved = Saved { state: State::Live, broadcast };
    let mut stream = Lifecycle::new(Config::default(), at(0), 1, saved);
    stream.publish(at(10)).unwrap();
    assert_eq!(stream.broadcast(), broadcast);
    let mut stream = Lifecycle::new(Config::default(), at(0), 1, saved);
    stream.handle_timeout(at(30));
    assert_eq!(stream.state(), State::Offline);
    let torn = Saved { state: State::Live, broadcast: None };
    assert_eq!(Lifecycle::new(Config::default(), at(0), 1, torn).state(), State::Offline);
}

#[test]
#[should_panic(expected = "drain poll_output")]
fn a_driver_that_never_drains_is_told() {
    let mut stream = fresh(Config::default());
    for second in 0.. {
        stream.publish(at(second)).unwrap();
        stream.unpublish(at(second), Leave::Lost);
    }
}

#[test]
fn readme_shows_the_table_of_moves() {
    let readme = include_str!("../README.md");
    let listed = readme.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(listed, MOVES.len());
    for (from, reason, to) in MOVES {
        assert!(readme.contains(&format!("| `{from}` | {reason} | `{to}` |")), "{from} {reason}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Publish,
    Unpublish(bool),
    GoLive,
    End,
    Archive,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Publish),
        6 => any::<bool>().prop_map(Step::Unpublish),
        3 => Just(Step::GoLive),
        3 => Just(Step::End),
        1 => Just(Step::Archive),
        6 => (0u64..5_000).prop_map(Step::Wait),
    ]
}

fn apply(stream: &mut Lifecycle, now: &mut Time, step: &Step) {
    match step {
        Step::Publish => drop(stream.publish(*now)),
        Step::Unpublish(true) => stream.unpublish(*now, Leave::Goodbye),
        Step::Unpublish(false) => stream.unpublish(*now, Leave::Lost),
        Step::GoLive => drop(stream.go_live(*now)),
        Step::End => drop(stream.end(*now)),
        Step::Archive => stream.archive(*now),
        Step::Wait(seconds) => {
            *now += Duration::from_secs(*seconds);
            stream.handle_timeout(*now);
        }
    }
}

proptest! {
    #[test]
    fn any_sequence_keeps_the_rules(
        test_first: bool,
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let mut stream = fresh(Config { test_first, ..Config::default() });
        let (mut now, mut state, mut on) = (Time::ZERO, State::Ready, None);
        for step in &steps {
            apply(&mut stream, &mut now, step);
            for event in drain(&mut stream) {
                match event {
                    Event::Moved { from, to, reason } => {
                        prop_assert_eq!(from, state, "moves join up");
                        prop_assert!(MOVES.contains(&(from, reason, to)));
                        state = to;
                    }
                    Event::Started(id) => {
                        prop_assert!(on.replace(id).is_none(), "one broadcast at a time");
                    }
                    Event::Interrupted(id) | Event::Resumed(id) => prop_assert_eq!(on, Some(id)),
                    Event::Ended(id) => prop_assert_eq!(on.take(), Some(id)),
                }
            }
            prop_assert_eq!(stream.state(), state);
            prop_assert_eq!(stream.broadcast(), on);
            let showing = matches!(state, State::Live | State::Testing);
            prop_assert_eq!(on.is_some(), showing, "a broadcast is on exactly when there is one");
            prop_assert!(showing || !stream.has_publisher());
            let Output::Wait(deadline) = stream.poll_output() else { unreachable!() };
            prop_assert!(deadline.is_none_or(|deadline| deadline > now), "no deadline is missed");
            let bounded = stream.has_publisher() || deadline.is_some();
            prop_assert!(!showing || bounded, "no broadcast waits for ever");
        }
    }
}
