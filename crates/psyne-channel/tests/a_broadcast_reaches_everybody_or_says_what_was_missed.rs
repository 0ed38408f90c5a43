//! Broadcasts against a model, and threads that race.
#![cfg(not(loom))]

mod common;

use std::time::Duration;

use common::{STEPS_MAX, config, plan, races};
use proptest::prelude::*;
use psyne_channel::broadcast::{self, Lag, Receiver};
use psyne_channel::{Error, Full, Wait};

/// More than a line, and not a whole number of words.
type Message = [u32; 17];

fn of(number: u64) -> Message {
    std::array::from_fn(|word| (number * 31 + word as u64) as u32)
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Send,
    Subscribe(bool),
    Receive(usize),
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => Just(Step::Send),
        1 => any::<bool>().prop_map(Step::Subscribe),
        9 => any::<usize>().prop_map(Step::Receive),
        1 => any::<usize>().prop_map(Step::Leave),
    ];
    proptest::collection::vec(step, 0..STEPS_MAX)
}

/// A receiver, how it lags, and the message that it expects.
struct Listener(Receiver<Message>, Lag, u64);

impl Listener {
    fn receive(&mut self, sent: u64, ring: u64) {
        let Self(receiver, lag, next) = self;
        match receiver.try_recv() {
            Ok(Some(message)) => {
                assert_eq!(message, of(*next));
                *next += 1;
            }
            Ok(None) => assert_eq!(*next, sent),
            Err(Error::Lagged(lost)) => {
                assert_eq!(*lag, Lag::Skip);
                assert!(sent - *next > ring && lost > 0 && *next + lost <= sent);
                *next += lost;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

proptest! {
    #![proptest_config(plan())]

    #[test]
    fn broadcasts_behave_as_a_model(steps in steps(), bits in 1_u32..6) {
        let slots = (1_usize << bits) - (1_usize << bits) / 8;
        let ring = 1_u64 << bits;
        let config = config(slots, Wait::Spin, Full::Refuse);
        let mut sender = broadcast::channel::<Message>(&config).unwrap();
        let mut listeners: Vec<Listener> = Vec::new();
        let mut sent = 0;
        for step in steps {
            match step {
                Step::Send => {
                    let blocking = listeners.iter().filter(|listener| listener.1 == Lag::Block);
                    let unread = blocking.map(|listener| sent - listener.2).max().unwrap_or(0);
                    match sender.send(of(sent)) {
                        Ok(()) => {
                            assert!(unread < ring);
                            sent += 1;
                        }
                        Err(error) => {
                            assert_eq!(error, Error::Full);
                            assert!(unread >= slots as u64, "{unread} of {slots} and full");
                        }
                    }
                }
                Step::Subscribe(block) => {
                    let lag = if block { Lag::Block } else { Lag::Skip };
                    listeners.push(Listener(sender.subscribe(lag).unwrap(), lag, sent));
                }
                Step::Receive(who) if !listeners.is_empty() => {
                    let who = who % listeners.len();
                    listeners[who].receive(sent, ring);
                }
                Step::Leave(who) if !listeners.is_empty() => {
                    listeners.swap_remove(who % listeners.len());
                    assert_eq!(sender.receivers(), listeners.len());
                }
                _ => {}
            }
        }
        drop(sender);
        for mut listener in listeners {
            while listener.2 < sent {
                listener.receive(sent, ring);
            }
            assert_eq!(listener.0.recv().unwrap_err().code(), "closed");
            assert_eq!(listener.0.try_recv().unwrap_err().code(), "closed");
        }
    }
}

const RACES: u64 = races(30_000);

/// Everything in order, gaps only as announced: received and lost together are what was sent.
fn listen(mut receiver: Receiver<Message>) -> (u64, u64) {
    let (mut next, mut lost) = (0, 0);
    loop {
        match receiver.recv() {
            Ok(message) => {
                assert_eq!(message, of(next), "torn or out of order");
                next += 1;
            }
            Err(Error::Lagged(count)) => {
                next += count;
                lost += count;
            }
            Err(error) => {
                assert_eq!(error.code(), "closed");
                assert_eq!(receiver.stats().refused, lost);
                return (next, lost);
            }
        }
    }
}

#[test]
fn threads_that_race_hear_everything_or_how_much_they_missed() {
    for (wait, slots) in [(Wait::Adaptive, 7), (Wait::Park, 2), (Wait::Adaptive, 56)] {
        let mut sender = broadcast::channel::<Message>(&config(slots, wait, Full::Block)).unwrap();
        let listener = |lag| {
            let receiver = sender.subscribe(lag).unwrap();
            std::thread::spawn(move || listen(receiver))
        };
        let threads = [Lag::Block, Lag::Skip, Lag::Block].map(listener);
        for number in 0..RACES {
            sender.send(of(number)).unwrap();
        }
        drop(sender);
        let [one, skipping, two] = threads.map(|thread| thread.join().unwrap());
        assert_eq!((one, two), ((RACES, 0), (RACES, 0)), "{wait:?}");
        assert_eq!(skipping.0, RACES);
    }
}

#[test]
fn only_skipping_receivers_never_hold_the_sender_up() {
    let mut sender = broadcast::channel::<Message>(&config(7, Wait::Park, Full::Block)).unwrap();
    let mut receiver = sender.subscribe(Lag::Skip).unwrap();
    for number in 0..100 {
        sender.send(of(number)).unwrap();
    }
    let Err(Error::Lagged(lost)) = receiver.recv() else { panic!("92 were overwritten") };
    assert!((92..100).contains(&lost));
    assert_eq!(receiver.recv(), Ok(of(lost)));
}

#[test]
fn a_receiver_that_leaves_sets_a_blocked_sender_free() {
    for wait in [Wait::Spin, Wait::Adaptive, Wait::Park] {
        let mut sender = broadcast::channel::<Message>(&config(2, wait, Full::Block)).unwrap();
        let (slow, mut quick) =
            (sender.subscribe(Lag::Block).unwrap(), sender.subscribe(Lag::Block).unwrap());
        sender.send(of(0)).unwrap();
        sender.send(of(1)).unwrap();
        let thread = std::thread::spawn(move || {
            let sent = sender.send(of(2));
            (sent, sender)
        });
        assert_eq!((quick.recv(), quick.recv()), (Ok(of(0)), Ok(of(1))));
        assert_eq!(quick.recv_timeout(Duration::from_millis(5)), Err(Error::TimedOut));
        drop(slow);
        let (sent, _sender) = thread.join().unwrap();
        assert_eq!((sent, quick.recv()), (Ok(()), Ok(of(2))), "{wait:?}");
    }
}

#[test]
fn receivers_are_bounded() {
    let mut config = config(2, Wait::Spin, Full::Refuse);
    config.receivers_max = 2;
    let mut sender = broadcast::channel::<u8>(&config).unwrap();
    let (one, _two) = (sender.subscribe(Lag::Skip).unwrap(), sender.subscribe(Lag::Block).unwrap());
    assert_eq!(sender.subscribe(Lag::Skip).unwrap_err(), Error::Crowded(2));
    drop(one);
    assert!(sender.subscribe(Lag::Skip).is_ok());
}
