//! Queues against a model: one thread plays both sides in a random order, then two threads race.
#![cfg(not(loom))]

mod common;

use std::collections::VecDeque;

use common::{STEPS_MAX, config, plan, races};
use proptest::collection::vec;
use proptest::prelude::*;
use psyne_channel::{Error, Full, Message, Wait, bytes, spsc};

/// A message of as many words as wanted, each of which tells which message it belongs to.
trait Numbered: Message + PartialEq + std::fmt::Debug {
    fn of(number: u64) -> Self;
}

impl<const N: usize> Numbered for [u64; N] {
    fn of(number: u64) -> Self {
        std::array::from_fn(|word| number.wrapping_mul(N as u64) + word as u64)
    }
}

impl Numbered for u8 {
    fn of(number: u64) -> Self {
        number as u8
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Send,
    Abort,
    Loan,
    Batch(usize),
    Receive,
    ReceiveRef,
    Drain,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Send),
        1 => Just(Step::Abort),
        2 => Just(Step::Loan),
        2 => (0_usize..12).prop_map(Step::Batch),
        4 => Just(Step::Receive),
        2 => Just(Step::ReceiveRef),
        1 => Just(Step::Drain),
    ];
    vec(step, 0..STEPS_MAX)
}

fn play<T: Numbered>(slots: usize, steps: &[Step]) {
    let config = config(slots, Wait::Spin, Full::Refuse);
    let (mut sender, mut receiver) = spsc::channel::<T>(&config).unwrap();
    let mut model = VecDeque::new();
    let mut sent = 0..;
    let mut refused = 0;
    for step in steps {
        match *step {
            Step::Abort => drop(sender.loan()),
            Step::Send | Step::Loan => {
                let number = sent.next().unwrap();
                let result = match step {
                    Step::Send => sender.send(T::of(number)),
                    _ => sender.loan().and_then(|mut loan| {
                        *loan = T::of(number);
                        loan.commit()
                    }),
                };
                match result {
                    Ok(()) => model.push_back(number),
                    Err(error) => {
                        assert_eq!(error, Error::Full);
                        assert!(model.len() >= slots, "{} of {slots} and full", model.len());
                        refused += 1;
                    }
                }
            }
            Step::Batch(count) => match sender.batch(count) {
                Ok(mut batch) => {
                    for number in sent.by_ref().take(count) {
                        batch.push(T::of(number)).unwrap();
                        model.push_back(number);
                    }
                    assert_eq!(batch.push(T::of(0)), Err(Error::Full));
                    batch.commit().unwrap();
                }
                Err(error) => {
                    assert!(model.len() + count > slots, "{error}");
                    refused += u64::from(error == Error::Full);
                }
            },
            Step::Receive => {
                let expected = model.pop_front().map(T::of);
                assert_eq!(receiver.try_recv().unwrap(), expected);
            }
            Step::ReceiveRef => {
                if let Some(number) = model.pop_front() {
                    assert_eq!(*receiver.recv_ref().unwrap(), T::of(number));
                }
            }
            Step::Drain => {
                let expected: Vec<_> = model.drain(..).map(T::of).collect();
                assert_eq!(receiver.drain().collect::<Vec<_>>(), expected);
            }
        }
    }
    assert!(sender.stats().refused >= refused);
    drop(sender);
    for number in model {
        assert_eq!(receiver.recv(), Ok(T::of(number)));
    }
    assert_eq!(receiver.recv().unwrap_err().code(), "closed");
    assert_eq!(receiver.try_recv().unwrap_err().code(), "closed");
}

proptest! {
    #![proptest_config(plan())]

    #[test]
    fn queues_of_every_shape_behave_as_a_model(steps in steps(), slots in 1_usize..40) {
        play::<u8>(slots, &steps);
        play::<[u64; 7]>(slots, &steps);
        play::<[u64; 8]>(slots, &steps);
        play::<[u64; 33]>(slots, &steps);
    }

    #[test]
    fn strings_of_every_length_behave_as_a_model(
        steps in vec((any::<bool>(), 0_usize..600, any::<bool>()), 0..STEPS_MAX),
        slots in 16_usize..80,
    ) {
        let (mut sender, mut receiver) =
            bytes::channel(&config(slots, Wait::Spin, Full::Refuse)).unwrap();
        let mut model = VecDeque::new();
        for (turn, (send, length, shorten)) in steps.into_iter().enumerate() {
            let text: Vec<u8> = (0..length).map(|at| (at + turn) as u8).collect();
            if send {
                let result = sender.loan(length).and_then(|mut loan| {
                    loan.copy_from_slice(&text);
                    if shorten { loan.commit_first(length / 3) } else { loan.commit() }
                });
                match result {
                    Ok(()) if shorten => model.push_back(text[..length / 3].to_vec()),
                    Ok(()) => model.push_back(text),
                    Err(Error::Full) => assert!(!model.is_empty()),
                    Err(error) => assert_eq!(error.code(), "too_long", "{length} in {slots}"),
                }
            } else {
                let received = receiver.try_recv().unwrap().map(|bytes| bytes.to_vec());
                assert_eq!(received, model.pop_front());
            }
        }
        drop(sender);
        for text in model {
            assert_eq!(&*receiver.recv().unwrap(), text);
        }
        assert_eq!(receiver.recv().unwrap_err().code(), "closed");
    }
}

const RACES: u64 = races(30_000);

fn race<T: Numbered>(wait: Wait, slots: usize) {
    let (mut sender, mut receiver) = spsc::channel::<T>(&config(slots, wait, Full::Block)).unwrap();
    let thread = std::thread::spawn(move || {
        let mut number = 0;
        while number < RACES {
            match number % 3 {
                0 => sender.send(T::of(number)).unwrap(),
                1 => {
                    let mut loan = sender.loan().unwrap();
                    *loan = T::of(number);
                    loan.commit().unwrap();
                }
                _ => {
                    let mut batch = sender.batch(2).unwrap();
                    batch.push(T::of(number)).unwrap();
                    number += 1;
                    batch.push(T::of(number)).unwrap();
                    batch.commit().unwrap();
                }
            }
            number += 1;
        }
        number
    });
    let mut expected = 0;
    loop {
        match receiver.recv() {
            Ok(message) => assert_eq!(message, T::of(expected)),
            Err(error) => break assert_eq!(error.code(), "closed"),
        }
        expected += 1;
        for message in receiver.drain() {
            assert_eq!(message, T::of(expected));
            expected += 1;
        }
    }
    assert_eq!(expected, thread.join().unwrap());
}

#[test]
fn threads_that_race_lose_nothing() {
    for wait in [Wait::Adaptive, Wait::Park] {
        race::<[u64; 3]>(wait, 2);
        race::<[u64; 7]>(wait, 100);
        race::<[u64; 8]>(wait, 3);
        race::<[u64; 40]>(wait, 64);
    }
}

#[test]
fn strings_that_race_are_whole() {
    let (mut sender, mut receiver) =
        bytes::channel(&config(64, Wait::Adaptive, Full::Block)).unwrap();
    let text = |number: u64| vec![number as u8; (number * 37 % 1500) as usize];
    let thread = std::thread::spawn(move || {
        for number in 0..RACES / 10 {
            sender.send(&text(number)).unwrap();
        }
    });
    for number in 0..RACES / 10 {
        assert_eq!(&*receiver.recv().unwrap(), text(number));
    }
    assert_eq!(receiver.recv().map(|_| ()).unwrap_err().code(), "closed");
    thread.join().unwrap();
}
