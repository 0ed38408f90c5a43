//! Hostile peers of the patterns with many ends at one side: broadcast, latest value, events, and
//! queues with many receivers. What `hostile.rs` says of all holds here.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;

use super::hello::{Answer, Hello};
use super::hostile::{Line, SLOTS, Wide, address, config, connect, is_value, scribble, scribbles};
use super::{CLAIM, Offer, Ring, socket};
use crate::address::Address;
use crate::broadcast::Lag;
use crate::desk::Terms;
use crate::raw::{LINE, Other, Region, Rights, shared};
use crate::{Error, Message, broadcast, event, latest, mpmc};

/// An owner of a name that is what a test makes of it: its ring, if it says that it has so many
/// slots, and what it says when somebody comes, who is then left alone until the test ends.
fn owner(at: &str, terms: Terms, slots: usize) -> Ring {
    let listener = socket::listen(&Address::parse(at).unwrap()).unwrap();
    let ring = super::ring(slots, &terms).unwrap();
    let copy = |file: &OwnedFd| file.try_clone().unwrap();
    let claim = ring.claim.as_ref().map(|(region, file)| (region.clone(), copy(file)));
    let told = Ring { region: ring.region.clone(), file: copy(&ring.file), slots, claim };
    std::thread::spawn(move || {
        let guest = loop {
            if let Some(guest) = socket::accept(&listener) {
                break guest;
            }
            std::thread::yield_now();
        };
        let offer = Offer { terms, ring: Some(told), others_max: 1, note: 0 };
        let hello = Hello::new(Answer::Welcome, &offer, 0);
        let words = terms.pattern.has_pairs().then(|| shared(0, LINE, Rights::Maker).unwrap());
        let files = words.iter().map(|(_, file)| file);
        let files = files.chain(offer.ring.iter().flat_map(Ring::files));
        let _ = socket::say(guest.as_fd(), hello, files);
        // The first is the hello.
        while !matches!(socket::hear(guest.as_fd()), socket::Heard::End) {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    ring
}

/// A guest that is let in with words of which it does what it likes, and what it was given.
fn visitor(at: &str, terms: Terms, note: u64) -> (OwnedFd, Region, Vec<OwnedFd>) {
    let (words, file) = shared(0, LINE, Rights::Maker).unwrap();
    let offer = Offer { terms, ring: None, others_max: 1, note };
    let connection = connect(at);
    assert!(socket::say(connection.as_fd(), Hello::new(Answer::Welcome, &offer, 0), Some(&file)));
    loop {
        match socket::hear(connection.as_fd()) {
            socket::Heard::Nothing => std::thread::yield_now(),
            socket::Heard::Hello(hello, files) if hello.answer == Answer::Welcome => {
                return (connection, words, files);
            }
            other => panic!("it was let in: {other:?}"),
        }
    }
}

/// Whatever may be said to who hears a liar.
fn is_answer<T: std::fmt::Debug>(said: &Result<T, Error>) -> bool {
    said.as_ref().err().is_none_or(|error| is_value(error) || error.code() == "lagged")
}

const SOON: Duration = Duration::from_micros(50);
const PATIENCE: Duration = Duration::from_secs(60);

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_broadcaster_writes_is_answered_by_values(scribbles in scribbles()) {
        for lag in [Lag::Block, Lag::Skip] {
            let at = address("tells");
            let liar = owner(&at, broadcast::terms(Line::LAYOUT), SLOTS);
            let mut receiver = broadcast::Receiver::<Line>::open(&at, lag, &config()).unwrap();
            for write in &scribbles {
                scribble(&liar.region, SLOTS, *write);
                for got in [receiver.recv_timeout(SOON).map(Some), receiver.try_recv()] {
                    prop_assert!(is_answer(&got), "{:?}", got);
                }
            }
        }
    }

    #[test]
    fn a_receiver_that_lies_harms_no_other_receiver(scribbles in scribbles(), skips in 1..3_u64) {
        let at = address("hears");
        let mut sender = broadcast::Sender::<Line>::open(&at, &config()).unwrap();
        let mut honest = sender.subscribe(Lag::Block).unwrap();
        let liar = visitor(&at, broadcast::terms(Line::LAYOUT), skips);
        let (connection, words, _) = liar;
        let mut connection = Some(connection);
        for (number, write) in (0..).zip(scribbles) {
            scribble(&words, 0, write);
            while let Err(error) = sender.send([number; 7]) {
                prop_assert!(is_value(&error), "{:?}", error);
                // It holds the ring up, as who blocks may: until it is gone.
                drop(connection.take());
            }
            prop_assert_eq!(honest.recv_timeout(PATIENCE), Ok([number; 7]));
        }
    }

    #[test]
    fn whatever_a_writer_writes_is_answered_by_values(scribbles in scribbles()) {
        let at = address("shows");
        let terms = latest::terms(Wide::LAYOUT);
        let liar = owner(&at, terms, latest::SLOTS as usize);
        let mut reader = latest::Reader::<Wide>::open(&at, &config()).unwrap();
        for write in scribbles {
            scribble(&liar.region, latest::SLOTS as usize, write);
            let _ = reader.get();
            let got = reader.changed_timeout(SOON);
            prop_assert!(is_answer(&got), "{:?}", got);
        }
    }

    #[test]
    fn a_reader_that_lies_harms_no_other_reader(scribbles in scribbles()) {
        let at = address("looks");
        let mut writer = latest::Writer::<Wide>::open(&at, &config()).unwrap();
        let mut honest = latest::Reader::<Wide>::open(&at, &config()).unwrap();
        let (_connection, words, _) = visitor(&at, latest::terms(Wide::LAYOUT), 0);
        for (number, write) in (1..).zip(scribbles) {
            scribble(&words, 0, write);
            writer.set([number; 16]);
            prop_assert_eq!(honest.changed_timeout(PATIENCE), Ok([number; 16]));
        }
    }

    #[test]
    fn whatever_a_notifier_writes_is_answered_by_values(scribbles in scribbles()) {
        let at = address("happens");
        let liar = owner(&at, event::TERMS, event::LINES);
        let mut listener = event::Listener::open(&at, &config()).unwrap();
        for write in scribbles {
            scribble(&liar.region, event::LINES, write);
            let got = listener.wait_timeout(SOON);
            prop_assert!(is_answer(&got), "{:?}", got);
        }
    }

    #[test]
    fn a_listener_to_events_that_lies_harms_no_other(scribbles in scribbles()) {
        let at = address("waits");
        let mut notifier = event::Notifier::open(&at, &config()).unwrap();
        let mut honest = event::Listener::open(&at, &config()).unwrap();
        let (_connection, words, _) = visitor(&at, event::TERMS, 0);
        for (number, write) in (0..).zip(scribbles) {
            scribble(&words, 0, write);
            notifier.notify(number % 64);
            let heard = honest.wait_timeout(PATIENCE).unwrap();
            prop_assert_eq!(heard.iter().collect::<Vec<_>>(), vec![(number % 64, 1)]);
        }
    }

    #[test]
    fn a_sender_that_lies_to_many_harms_no_other_sender(scribbles in scribbles()) {
        let at = address("sells");
        let terms = crate::spmc::terms::<Line>();
        let liar = owner(&at, terms, SLOTS);
        let claim = liar.claim.as_ref().unwrap().0.clone();
        // The next place.
        let mut honest = mpmc::Sender::<Line>::open(&at, &config()).unwrap();
        let mut receiver = mpmc::Receiver::<Line>::open(&at, &config()).unwrap();
        for (number, write) in (1..).zip(scribbles) {
            scribble(&liar.region, SLOTS, write);
            claim.sequence(0).store(write.1, Ordering::Release);
            honest.send([number << 32; 7]).unwrap();
            let got = std::iter::repeat_with(|| receiver.recv_timeout(PATIENCE));
            let got = got.take(4 * SLOTS).find(|got| {
                assert!(is_answer(got), "{got:?}");
                *got == Ok([number << 32; 7])
            });
            prop_assert!(got.is_some(), "what the other sent is there");
        }
    }

    #[test]
    fn a_receiver_that_lies_to_many_stops_its_queue_at_most(scribbles in scribbles()) {
        let at = address("buys");
        let mut sender = mpmc::Sender::<Line>::open(&at, &config()).unwrap();
        let mut honest = mpmc::Receiver::<Line>::open(&at, &config()).unwrap();
        let (_connection, words, files) = visitor(&at, crate::spmc::terms::<Line>(), 0);
        let [_, _, claim] = &files[..] else { panic!("words, ring and claim") };
        let claim = Other::of(claim.as_fd(), CLAIM, Rights::All).unwrap();
        for write in scribbles {
            scribble(&words, 0, write);
            for sent in [sender.try_send([1; 7]), sender.send([2; 7])] {
                prop_assert!(is_answer(&sent), "{:?}", sent);
            }
            claim.region().sequence(0).store(write.1, Ordering::Release);
            let mut some = [[0; 7]; 3];
            let got = honest.try_recv();
            prop_assert!(is_answer(&got), "{:?}", got);
            if got.is_ok_and(|got| got.is_some()) {
                let got = honest.recv_timeout(SOON);
                prop_assert!(is_answer(&got), "{:?}", got);
            }
            prop_assert!(honest.drain().count() <= SLOTS);
            let _ = (sender.unread(), sender.lost(), sender.receivers(), &mut some);
        }
        // Another queue of the same processes does not notice.
        let at = address("other");
        let mut sender = mpmc::Sender::<Line>::open(&at, &config()).unwrap();
        let mut receiver = mpmc::Receiver::<Line>::open(&at, &config()).unwrap();
        sender.send([3; 7]).unwrap();
        prop_assert_eq!(receiver.recv_timeout(PATIENCE), Ok([3; 7]));
    }
}
