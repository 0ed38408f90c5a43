//! Broadcasts of byte strings against a model, and threads that race.
#![cfg(not(loom))]

mod common;

use std::time::Duration;

use common::{STEPS_MAX, config, plan, races};
use proptest::prelude::*;
use psyne_channel::broadcast::Lag;
use psyne_channel::broadcast::bytes::{self, Receiver};
use psyne_channel::{Error, Full, Wait};

/// A string of the number: of any length up to some lines, and nothing like its neighbours.
fn of(number: u64, bytes: usize) -> Vec<u8> {
    (0..bytes as u64).map(|at| (number * 31 + at * 7) as u8).collect()
}

const LAGS: [Lag; 3] = [Lag::Block, Lag::Skip, Lag::SkipToMark];

#[derive(Clone, Copy, Debug)]
enum Step {
    Send { bytes: usize, marked: bool },
    Abort(usize),
    Shorten(usize),
    Subscribe { lag: usize, at_mark: bool },
    Receive(usize),
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0_usize..300, prop::bool::weighted(0.2))
            .prop_map(|(bytes, marked)| Step::Send { bytes, marked }),
        1 => (0_usize..300).prop_map(Step::Abort),
        2 => (0_usize..300).prop_map(Step::Shorten),
        1 => (0_usize..3, any::<bool>())
            .prop_map(|(lag, at_mark)| Step::Subscribe { lag, at_mark }),
        9 => any::<usize>().prop_map(Step::Receive),
        1 => any::<usize>().prop_map(Step::Leave),
    ];
    proptest::collection::vec(step, 0..STEPS_MAX)
}

/// A receiver, how it lags, and the string that it expects, if that is certain.
struct Listener {
    receiver: Receiver,
    lag: Lag,
    next: u64,
    /// It was moved to a mark, or joined at one.
    at_mark: bool,
}

/// Everything that was sent, and whether it was marked.
type Sent = Vec<(Vec<u8>, bool)>;

impl Listener {
    /// Receives one string and compares; false if none was there.
    fn receive(&mut self, sent: &Sent) -> bool {
        match self.receiver.try_recv() {
            Ok(Some(string)) => {
                let (expected, marked) = &sent[self.next as usize];
                assert_eq!((&*string, string.is_marked()), (&expected[..], *marked));
                assert!(*marked || !self.at_mark, "it goes on at a mark");
                (self.next, self.at_mark) = (self.next + 1, false);
                true
            }
            Ok(None) => {
                // What was overwritten by a loan that was aborted is told with the next string.
                assert!(self.lag != Lag::Block || self.next == sent.len() as u64);
                false
            }
            Err(Error::Lagged(lost)) => {
                assert_ne!(self.lag, Lag::Block);
                self.next += lost;
                assert!(lost > 0 && self.next <= sent.len() as u64, "{lost} of {}", sent.len());
                self.at_mark = self.lag == Lag::SkipToMark;
                true
            }
            Err(error) => panic!("{error}"),
        }
    }
}

struct Model {
    sender: bytes::Sender,
    sent: Sent,
    listeners: Vec<Listener>,
    slots: usize,
}

impl Model {
    fn play(&mut self, step: Step) {
        let count = self.listeners.len();
        match step {
            Step::Send { bytes, marked } => self.send(bytes, bytes, marked),
            Step::Shorten(bytes) => self.send(bytes, bytes / 3, false),
            Step::Abort(bytes) => drop(self.sender.loan(bytes)),
            Step::Subscribe { lag, at_mark } => self.subscribe(LAGS[lag], at_mark),
            Step::Receive(who) if count > 0 => {
                self.listeners[who % count].receive(&self.sent);
            }
            Step::Leave(who) if count > 0 => {
                self.listeners.swap_remove(who % count);
                assert_eq!(self.sender.receivers(), count - 1);
            }
            _ => {}
        }
    }

    fn send(&mut self, bytes: usize, used: usize, marked: bool) {
        let text = of(self.sent.len() as u64, used);
        match self.sender.loan(bytes) {
            Ok(mut loan) => {
                if marked {
                    loan.mark();
                }
                loan[..used].copy_from_slice(&text);
                loan.commit_first(used);
                self.sent.push((text, marked));
            }
            Err(Error::Full) => {
                let blocks = |l: &Listener| l.lag == Lag::Block && l.next != self.sent.len() as u64;
                assert!(self.listeners.iter().any(blocks), "full, and nobody holds it up");
            }
            Err(error) => assert_eq!(error.code(), "too_long", "{bytes} in {}", self.slots),
        }
    }

    fn subscribe(&mut self, lag: Lag, at_mark: bool) {
        let subscribed = match at_mark {
            true => self.sender.subscribe_at_mark(lag),
            false => self.sender.subscribe(lag),
        };
        let mut listener = Listener { receiver: subscribed.unwrap(), lag, next: 0, at_mark };
        let end = self.sent.len();
        // Whether a mark is still there is the ring's business: look at what comes first.
        let first = listener.receiver.try_recv().unwrap().map(|string| string.is_marked());
        match (at_mark, first) {
            (_, None) => {
                listener.next = end as u64;
                listener.at_mark = at_mark && lag == Lag::SkipToMark;
            }
            (true, Some(true)) => {
                let newest = (0..end).rev().find(|at| self.sent[*at].1);
                (listener.next, listener.at_mark) = (newest.unwrap() as u64 + 1, false);
            }
            _ => panic!("it begins with what comes next, or with a mark"),
        }
        self.listeners.push(listener);
    }
}

proptest! {
    #![proptest_config(plan())]

    #[test]
    fn broadcasts_of_bytes_behave_as_a_model(steps in steps(), slots in 4_usize..60) {
        let sender = bytes::channel(&config(slots, Wait::Spin, Full::Refuse)).unwrap();
        let mut model = Model { sender, sent: Vec::new(), listeners: Vec::new(), slots };
        steps.into_iter().for_each(|step| model.play(step));
        let Model { sender, sent, mut listeners, .. } = model;
        for listener in &mut listeners {
            while listener.next != sent.len() as u64 && listener.receive(&sent) {}
        }
        drop(sender);
        for mut listener in listeners {
            // What was passed over for a mark is told now.
            while listener.next != sent.len() as u64 {
                listener.receive(&sent);
            }
            assert_eq!(listener.receiver.recv().unwrap_err().code(), "closed");
            assert_eq!(listener.receiver.try_recv().unwrap_err().code(), "closed");
        }
    }
}

const RACES: u64 = races(30_000);

fn length(number: u64) -> usize {
    (number * 37 % 700) as usize
}

/// Everything in order, gaps only as announced: received and lost together are what was sent.
fn listen(mut receiver: Receiver, lag: Lag) -> (u64, u64) {
    let (mut next, mut lost) = (0, 0);
    let mut at_mark = false;
    let error = loop {
        match receiver.recv() {
            Ok(string) => {
                assert_eq!(*string, of(next, length(next)), "torn or out of order");
                assert_eq!(string.is_marked(), next % 16 == 0);
                assert!(!at_mark || string.is_marked());
                at_mark = false;
                next += 1;
            }
            Err(Error::Lagged(count)) => {
                next += count;
                lost += count;
                at_mark = lag == Lag::SkipToMark;
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), "closed");
    let stats = receiver.stats();
    assert_eq!((stats.slots, stats.refused), (next - lost, lost));
    (next, lost)
}

#[test]
fn threads_that_race_read_whole_strings_or_know_what_they_missed() {
    for (wait, slots) in [(Wait::Adaptive, 28), (Wait::Park, 28), (Wait::Adaptive, 400)] {
        let mut sender = bytes::channel(&config(slots, wait, Full::Block)).unwrap();
        let listener = |lag| {
            let receiver = sender.subscribe(lag).unwrap();
            std::thread::spawn(move || listen(receiver, lag))
        };
        let threads = [Lag::Block, Lag::Skip, Lag::SkipToMark].map(listener);
        for number in 0..RACES {
            let mut loan = sender.loan(length(number)).unwrap();
            loan.copy_from_slice(&of(number, length(number)));
            if number % 16 == 0 {
                loan.mark();
            }
            loan.commit();
        }
        drop(sender);
        let [blocking, skipping, marks] = threads.map(|thread| thread.join().unwrap());
        assert_eq!(blocking, (RACES, 0), "{wait:?}");
        assert_eq!((skipping.0, marks.0), (RACES, RACES));
    }
}

#[test]
fn a_sender_without_blocking_receivers_overtakes_them() {
    let mut sender = bytes::channel(&config(28, Wait::Park, Full::Block)).unwrap();
    let (mut skips, mut marks) =
        (sender.subscribe(Lag::Skip).unwrap(), sender.subscribe(Lag::SkipToMark).unwrap());
    for number in 0..100 {
        let text = of(number, 10);
        if number == 90 { sender.send_marked(&text) } else { sender.send(&text) }.unwrap();
    }
    let Err(Error::Lagged(lost)) = skips.recv() else { panic!("most were overwritten") };
    assert!((68..80).contains(&lost), "{lost}: an eighth of 32 may go earlier");
    assert_eq!(&*skips.recv().unwrap(), of(lost, 10));
    assert_eq!(marks.recv().map(|_| ()).unwrap_err(), Error::Lagged(90));
    assert!(marks.recv().unwrap().is_marked());
    assert_eq!(&*marks.recv().unwrap(), of(91, 10));
    let mut late = sender.subscribe_at_mark(Lag::Skip).unwrap();
    assert_eq!(&*late.recv().unwrap(), of(90, 10));
}

#[test]
fn a_guard_holds_the_sender_up_and_nothing_else_of_a_skipping_receiver_does() {
    for wait in [Wait::Spin, Wait::Adaptive, Wait::Park] {
        let mut sender = bytes::channel(&config(4, wait, Full::Block)).unwrap();
        let mut receiver = sender.subscribe(Lag::Skip).unwrap();
        sender.send(&[1; 40]).unwrap();
        let guard = receiver.recv().unwrap();
        (2..5).for_each(|number| sender.send(&[number; 40]).unwrap());
        let thread = std::thread::spawn(move || {
            sender.send(&[5; 40]).unwrap();
            sender
        });
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(*guard, [1; 40]);
        assert!(!thread.is_finished(), "{wait:?}: it waits for the guard");
        drop(guard);
        let _sender = thread.join().unwrap();
        assert_eq!(*receiver.recv().unwrap(), [2; 40]);
    }
}

#[test]
fn a_receiver_that_leaves_sets_a_blocked_sender_free() {
    for wait in [Wait::Spin, Wait::Adaptive, Wait::Park] {
        let mut sender = bytes::channel(&config(4, wait, Full::Block)).unwrap();
        let (slow, mut quick) =
            (sender.subscribe(Lag::Block).unwrap(), sender.subscribe(Lag::Block).unwrap());
        (0..4).for_each(|number| sender.send(&[number; 40]).unwrap());
        let thread = std::thread::spawn(move || {
            let sent = sender.send(&[4; 40]);
            (sent, sender)
        });
        (0..4).for_each(|number| assert_eq!(*quick.recv().unwrap(), [number; 40]));
        let none = quick.recv_timeout(Duration::from_millis(5)).map(|_| ());
        assert_eq!(none, Err(Error::TimedOut));
        drop(slow);
        let (sent, _sender) = thread.join().unwrap();
        assert_eq!((sent, quick.recv().as_deref()), (Ok(()), Ok(&[4; 40][..])), "{wait:?}");
    }
}

#[test]
fn receivers_and_strings_are_bounded() {
    let mut config = config(4, Wait::Spin, Full::Refuse);
    config.receivers_max = 2;
    let mut sender = bytes::channel(&config).unwrap();
    let (one, _two) = (sender.subscribe(Lag::Skip).unwrap(), sender.subscribe(Lag::Block).unwrap());
    assert_eq!(sender.subscribe(Lag::Skip).unwrap_err(), Error::Crowded(2));
    drop(one);
    assert!(sender.subscribe(Lag::Skip).is_ok());
    assert_eq!(sender.bytes_max(), 64);
    assert_eq!(sender.send(&[0; 65]).unwrap_err(), Error::TooLong { bytes: 65, bytes_max: 64 });
}

#[test]
fn a_guard_that_is_forgotten_is_lent_again() {
    let mut sender = bytes::channel(&config(4, Wait::Spin, Full::Refuse)).unwrap();
    let mut receiver = sender.subscribe(Lag::Skip).unwrap();
    sender.send(b"one").unwrap();
    std::mem::forget(receiver.recv().unwrap());
    assert_eq!(&*receiver.recv().unwrap(), b"one");
    assert!(receiver.try_recv().unwrap().is_none());
}
