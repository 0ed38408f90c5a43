//! Queues with many ends against a model: nothing is lost or doubled, and each sender's messages
//! stay in order, whoever comes and goes.
#![cfg(not(loom))]

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;
use psyne_channel::{Config, ENDS_MAX, Error, Full, Wait, mpsc};

/// Who sent it, and its number there; a wide one and one that fits a line.
type Wide = [u64; 9];
type Small = [u64; 2];

fn config(slots: usize, wait: Wait, full: Full) -> Config {
    let mut config = Config::default();
    (config.slots, config.wait, config.full) = (slots, wait, full);
    config
}

fn wide(sender: u64, number: u64) -> Wide {
    let mut message = [number; 9];
    message[0] = sender;
    message
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Join,
    Leave(usize),
    Send(usize),
    Batch(usize, usize),
    Receive,
    ReceiveRef,
    Drain,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => Just(Step::Join),
        1 => (0_usize..8).prop_map(Step::Leave),
        6 => (0_usize..8).prop_map(Step::Send),
        2 => ((0_usize..8), (0_usize..6)).prop_map(|(sender, count)| Step::Batch(sender, count)),
        4 => Just(Step::Receive),
        2 => Just(Step::ReceiveRef),
        1 => Just(Step::Drain),
    ];
    proptest::collection::vec(step, 0..200)
}

/// What was sent and not received, for each sender that ever was.
#[derive(Default)]
struct Model {
    sent: Vec<u64>,
    queues: Vec<VecDeque<u64>>,
}

impl Model {
    fn join(&mut self) -> u64 {
        self.sent.push(0);
        self.queues.push(VecDeque::new());
        self.sent.len() as u64 - 1
    }

    fn next(&mut self, sender: u64) -> u64 {
        self.sent[sender as usize] += 1;
        self.sent[sender as usize]
    }

    fn sent(&mut self, sender: u64, number: u64) {
        self.queues[sender as usize].push_back(number);
    }

    fn received(&mut self, message: Wide) {
        let [sender, number, ..] = message;
        assert_eq!(message, wide(sender, number), "torn");
        assert_eq!(self.queues[sender as usize].pop_front(), Some(number));
    }

    fn is_empty(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty)
    }
}

/// Few under Miri, which runs a thousand times slower.
fn plan() -> ProptestConfig {
    let cases = if cfg!(miri) { 4 } else { 256 };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(plan())]

    #[test]
    fn senders_that_come_and_go_behave_as_a_model(steps in steps(), slots in 1_usize..20) {
        let mut config = config(slots, Wait::Spin, Full::Refuse);
        config.senders_max = 4;
        let (first, mut receiver) = mpsc::channel::<Wide>(&config).unwrap();
        let mut model = Model::default();
        let mut senders = vec![(model.join(), first)];
        for step in steps {
            let of = |index: usize, senders: &[_]| index % senders.len().max(1);
            match step {
                Step::Join => match senders[0].1.try_clone() {
                    Ok(sender) => senders.push((model.join(), sender)),
                    Err(error) => assert_eq!(error, Error::Crowded(4)),
                },
                Step::Leave(index) if senders.len() > 1 => {
                    senders.remove(of(index, &senders));
                }
                Step::Leave(_) => {}
                Step::Send(index) => {
                    let at = of(index, &senders);
                    let (name, sender) = &mut senders[at];
                    let number = model.next(*name);
                    match sender.send(wide(*name, number)) {
                        Ok(()) => model.sent(*name, number),
                        Err(error) => assert_eq!(error, Error::Full),
                    }
                }
                Step::Batch(index, count) => {
                    let at = of(index, &senders);
                    let (name, sender) = &mut senders[at];
                    if let Ok(mut batch) = sender.batch(count) {
                        for _ in 0..count {
                            let number = model.next(*name);
                            batch.push(wide(*name, number)).unwrap();
                            model.sent(*name, number);
                        }
                        batch.commit().unwrap();
                    }
                }
                Step::Receive => match receiver.try_recv().unwrap() {
                    Some(message) => model.received(message),
                    None => assert!(model.is_empty()),
                },
                Step::ReceiveRef if !model.is_empty() => {
                    model.received(*receiver.recv_ref().unwrap());
                }
                Step::ReceiveRef => {}
                Step::Drain => {
                    receiver.drain().for_each(|message| model.received(message));
                    assert!(model.is_empty());
                }
            }
        }
        drop(senders);
        while let Ok(message) = receiver.recv() {
            model.received(message);
        }
        assert!(model.is_empty());
        assert_eq!(receiver.try_recv().unwrap_err().code(), "closed");
    }
}

const EACH: u64 = if cfg!(miri) { 30 } else { 10_000 };
const THREADS: u64 = 4;

/// Each thread sends as another's clone, so that joining races with everything.
fn start(mut sender: mpsc::Sender<Small>, name: u64) -> Vec<std::thread::JoinHandle<()>> {
    let rest = match name + 1 < THREADS {
        true => start(sender.try_clone().unwrap(), name + 1),
        false => Vec::new(),
    };
    let thread = std::thread::spawn(move || {
        for number in 0..EACH {
            sender.send([name, number]).unwrap();
        }
    });
    rest.into_iter().chain([thread]).collect()
}

#[test]
fn senders_that_race_lose_nothing() {
    for wait in [Wait::Adaptive, Wait::Park] {
        for slots in [1, 100] {
            let (sender, mut receiver) =
                mpsc::channel::<Small>(&config(slots, wait, Full::Block)).unwrap();
            let threads = start(sender, 0);
            let mut next = [0; THREADS as usize];
            loop {
                match receiver.recv() {
                    Ok([name, number]) => {
                        assert_eq!(number, next[name as usize]);
                        next[name as usize] += 1;
                    }
                    Err(error) => break assert_eq!(error.code(), "closed"),
                }
            }
            assert_eq!(next, [EACH; THREADS as usize]);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        }
    }
}

#[test]
fn a_sender_that_joins_wakes_a_receiver_that_sleeps() {
    let (mut sender, mut receiver) =
        mpsc::channel::<Small>(&config(8, Wait::Park, Full::Block)).unwrap();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        let mut other = sender.try_clone().unwrap();
        std::thread::sleep(Duration::from_millis(20));
        other.send([7, 7]).unwrap();
        sender
    });
    assert_eq!(receiver.recv(), Ok([7, 7]));
    assert_eq!(receiver.recv_timeout(Duration::from_millis(1)), Err(Error::TimedOut));
    drop(thread.join().unwrap());
    assert_eq!(receiver.recv().unwrap_err().code(), "closed");
}

#[test]
fn there_are_as_many_senders_as_was_agreed() {
    let (mut sender, receiver) =
        mpsc::channel::<Small>(&config(1, Wait::Park, Full::Refuse)).unwrap();
    let mut all: Vec<_> = (1..ENDS_MAX).map(|_| sender.try_clone().unwrap()).collect();
    assert_eq!(sender.try_clone().unwrap_err(), Error::Crowded(ENDS_MAX));
    for sender in &mut all {
        sender.send([1, 2]).unwrap();
    }
    drop(receiver);
    assert_eq!(sender.try_clone().unwrap_err().code(), "closed");
    assert_eq!(all[0].send([1, 2]).unwrap_err().code(), "closed");
    for senders_max in [0, ENDS_MAX + 1] {
        let config = Config { senders_max, ..Config::default() };
        assert_eq!(mpsc::channel::<Small>(&config).unwrap_err().code(), "config");
    }
}
