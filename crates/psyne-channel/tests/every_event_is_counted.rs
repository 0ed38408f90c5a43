//! Events: counted, coalesced, waited for from several notifiers at once.
#![cfg(not(loom))]

mod common;

use std::time::Duration;

use common::races;
use psyne_channel::event::{self, IDS, NOTIFIERS_MAX};
use psyne_channel::{Config, Error, Wait};

fn config(wait: Wait) -> Config {
    Config { wait, ..Config::default() }
}

const SHORT: Duration = Duration::from_millis(5);

#[test]
fn what_happened_between_two_looks_is_one_look() {
    let (mut notifier, mut listener) = event::channel(&Config::default()).unwrap();
    assert_eq!(listener.try_wait(), Ok(None));
    for id in [3, 63, 3, 0, 3] {
        notifier.notify(id);
    }
    let mut late = listener.clone();
    let events = listener.try_wait().unwrap().unwrap();
    assert_eq!(events.iter().collect::<Vec<_>>(), [(0, 1), (3, 3), (63, 1)]);
    assert_eq!((events.ids(), events.count(IDS)), (1 | 1 << 3 | 1 << 63, 0));
    assert_eq!((listener.try_wait(), late.try_wait()), (Ok(None), Ok(None)));
    notifier.notify(9);
    drop(notifier);
    assert_eq!(late.try_wait().unwrap().unwrap().count(9), 1);
    assert_eq!(listener.wait().unwrap().ids(), 1 << 9);
    assert_eq!(listener.wait().unwrap_err().code(), "closed");
    assert_eq!(late.try_wait().unwrap_err().code(), "closed");
}

const TIMES: u32 = races(20_000) as u32;

#[test]
fn several_notifiers_that_race_are_counted_to_the_last() {
    for wait in [Wait::Spin, Wait::Adaptive, Wait::Park] {
        let (first, mut listener) = event::channel(&config(wait)).unwrap();
        let (second, other) = event::channel(&config(wait)).unwrap();
        let alone = other.clone();
        assert_eq!(listener.wait_timeout(SHORT), Err(Error::TimedOut), "{wait:?}");
        listener.join(other).unwrap();
        let threads = [first, second].map(|mut notifier| {
            std::thread::spawn(move || {
                for time in 0..TIMES {
                    notifier.notify((time % 64) as u8);
                }
            })
        });
        let listeners = [(listener, 2), (alone, 1)].map(|(mut listener, notifiers)| {
            std::thread::spawn(move || {
                let mut counted = 0;
                while let Ok(events) = listener.wait() {
                    counted += events.iter().map(|(_, count)| count).sum::<u32>();
                }
                assert_eq!(counted, notifiers * TIMES);
            })
        });
        threads.into_iter().chain(listeners).for_each(|thread| thread.join().unwrap());
    }
}

#[test]
fn the_notifiers_of_a_listener_are_bounded() {
    let (_notifier, mut listener) = event::channel(&Config::default()).unwrap();
    let (_other, source) = event::channel(&Config::default()).unwrap();
    for _ in 1..NOTIFIERS_MAX {
        listener.join(source.clone()).unwrap();
    }
    assert_eq!(listener.join(source), Err(Error::Crowded(NOTIFIERS_MAX)));
}
