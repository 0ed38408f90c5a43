//! Queues with many ends against a model: nothing is lost or doubled, and each sender's messages
//! stay in order, whoever comes and goes.
#![cfg(not(loom))]

mod common;

use std::collections::VecDeque;
use std::time::Duration;

use common::{STEPS_MAX, config, plan, races};
use proptest::prelude::*;
use psyne_channel::{Config, ENDS_MAX, Error, Full, Message, Wait, mpmc, mpsc, spmc};

/// Who sent it, and its number there; a wide one and one that fits a line.
type Wide = [u64; 9];
type Small = [u64; 2];

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
    proptest::collection::vec(step, 0..STEPS_MAX)
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

#[derive(Clone, Copy, Debug)]
enum Turn {
    Join,
    Leave(usize),
    Hire,
    Fire(usize),
    Send(usize),
    Batch(usize, usize),
    Receive(usize),
    ReceiveInto(usize, usize),
    Drain(usize),
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let end = 0_usize..8;
    let turn = prop_oneof![
        1 => Just(Turn::Join),
        1 => end.clone().prop_map(Turn::Leave),
        1 => Just(Turn::Hire),
        1 => end.clone().prop_map(Turn::Fire),
        6 => end.clone().prop_map(Turn::Send),
        2 => (end.clone(), 0_usize..6).prop_map(|(end, count)| Turn::Batch(end, count)),
        5 => end.clone().prop_map(Turn::Receive),
        2 => (end.clone(), 0_usize..6).prop_map(|(end, count)| Turn::ReceiveInto(end, count)),
        1 => end.prop_map(Turn::Drain),
    ];
    proptest::collection::vec(turn, 0..STEPS_MAX)
}

proptest! {
    #![proptest_config(plan())]

    #[test]
    fn ends_of_both_kinds_that_come_and_go_behave_as_a_model(
        turns in turns(),
        slots in 1_usize..20,
    ) {
        let mut config = config(slots, Wait::Spin, Full::Refuse);
        (config.senders_max, config.receivers_max) = (4, 3);
        let (first, receiver) = mpmc::channel::<Wide>(&config).unwrap();
        let mut model = Model::default();
        let (mut senders, mut receivers) = (vec![(model.join(), first)], vec![receiver]);
        for turn in turns {
            let (sending, receiving) = (senders.len(), receivers.len());
            match turn {
                Turn::Join => match senders[0].1.try_clone() {
                    Ok(sender) => senders.push((model.join(), sender)),
                    Err(error) => assert!(error == Error::Crowded(4) && sending == 4),
                },
                Turn::Leave(at) if sending > 1 => drop(senders.remove(at % sending)),
                Turn::Hire => match receivers[0].try_clone() {
                    Ok(receiver) => receivers.push(receiver),
                    Err(error) => assert!(error == Error::Crowded(3) && receiving == 3),
                },
                Turn::Fire(at) if receiving > 1 => drop(receivers.remove(at % receiving)),
                Turn::Leave(_) | Turn::Fire(_) => {}
                Turn::Send(at) => {
                    let (name, sender) = &mut senders[at % sending];
                    let number = model.next(*name);
                    match sender.send(wide(*name, number)) {
                        Ok(()) => model.sent(*name, number),
                        Err(error) => assert_eq!(error, Error::Full),
                    }
                }
                Turn::Batch(at, count) => {
                    let (name, sender) = &mut senders[at % sending];
                    if let Ok(mut batch) = sender.batch(count) {
                        for _ in 0..count {
                            let number = model.next(*name);
                            batch.push(wide(*name, number)).unwrap();
                            model.sent(*name, number);
                        }
                        batch.commit().unwrap();
                    }
                }
                Turn::Receive(at) => match receivers[at % receiving].try_recv().unwrap() {
                    Some(message) => model.received(message),
                    None => assert!(model.is_empty()),
                },
                Turn::ReceiveInto(at, room) if !model.is_empty() => {
                    let mut into = [[0; 9]; 6];
                    let count = receivers[at % receiving].recv_into(&mut into[..room]).unwrap();
                    assert!(count <= room && (count > 0 || room == 0));
                    into[..count].iter().for_each(|message| model.received(*message));
                }
                Turn::ReceiveInto(..) => {}
                Turn::Drain(at) => {
                    receivers[at % receiving].drain().for_each(|message| model.received(message));
                }
            }
        }
        drop(senders);
        while let Ok(message) = receivers[0].recv() {
            model.received(message);
        }
        assert!(model.is_empty());
        assert_eq!(receivers[0].try_recv().unwrap_err().code(), "closed");
    }
}

const EACH: u64 = races(10_000);
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

/// Takes until the end: how many of each sender, in order.
fn take(mut receiver: spmc::Receiver<Small>) -> [u64; THREADS as usize] {
    let mut last = [None; THREADS as usize];
    let mut count = [0; THREADS as usize];
    loop {
        match receiver.recv() {
            Ok([name, number]) => {
                assert!(last[name as usize] < Some(number), "in order");
                last[name as usize] = Some(number);
                count[name as usize] += 1;
            }
            Err(error) => break assert_eq!(error.code(), "closed"),
        }
    }
    count
}

#[test]
fn ends_of_both_kinds_that_race_lose_and_double_nothing() {
    for (wait, slots) in [(Wait::Adaptive, 1), (Wait::Park, 100), (Wait::Park, 1)] {
        let (sender, receiver) = mpmc::channel::<Small>(&config(slots, wait, Full::Block)).unwrap();
        let takers: Vec<_> = (0..3).map(|_| receiver.try_clone().unwrap()).collect();
        drop(receiver);
        let takers: Vec<_> =
            takers.into_iter().map(|taker| std::thread::spawn(move || take(taker))).collect();
        let senders: Vec<_> = (0..THREADS)
            .map(|name| {
                let mut sender = sender.try_clone().unwrap();
                std::thread::spawn(move || {
                    for number in 0..EACH {
                        sender.send([name, number]).unwrap();
                    }
                })
            })
            .collect();
        drop(sender);
        senders.into_iter().for_each(|thread| thread.join().unwrap());
        let counts = takers.into_iter().map(|thread| thread.join().unwrap());
        let all = counts.fold([0; THREADS as usize], |all, count| {
            std::array::from_fn(|name| all[name] + count[name])
        });
        assert_eq!(all, [EACH; THREADS as usize], "{wait:?} {slots}");
    }
}

#[test]
fn one_sender_feeds_many_and_hears_when_all_are_gone() {
    let (mut sender, mut receiver) =
        spmc::channel::<Small>(&config(8, Wait::Park, Full::Block)).unwrap();
    let other = receiver.try_clone().unwrap();
    sender.send([1, 1]).unwrap();
    assert_eq!(receiver.recv(), Ok([1, 1]));
    assert_eq!(receiver.recv_timeout(Duration::from_millis(1)), Err(Error::TimedOut));
    drop(receiver);
    sender.send([2, 2]).unwrap();
    let thread = std::thread::spawn(move || {
        let sent = (0..100).find_map(|number| sender.send([3, number]).err());
        (sent, sender)
    });
    std::thread::sleep(Duration::from_millis(20));
    drop(other);
    let (sent, mut sender) = thread.join().unwrap();
    assert_eq!(sent.unwrap().code(), "closed");
    assert_eq!(sender.try_send([4, 4]).unwrap_err().code(), "closed");
}

#[test]
fn a_queue_has_as_many_ends_as_was_agreed() {
    let (sender, receiver) = mpmc::channel::<Small>(&config(1, Wait::Park, Full::Refuse)).unwrap();
    let all: Vec<_> = (1..ENDS_MAX).map(|_| sender.try_clone().unwrap()).collect();
    let takers: Vec<_> = (1..ENDS_MAX).map(|_| receiver.try_clone().unwrap()).collect();
    assert_eq!(sender.try_clone().unwrap_err(), Error::Crowded(ENDS_MAX));
    assert_eq!(receiver.try_clone().unwrap_err(), Error::Crowded(ENDS_MAX));
    drop((all, takers));
    assert!(sender.try_clone().is_ok() && receiver.try_clone().is_ok());
    let config = Config { receivers_max: 0, ..Config::default() };
    assert_eq!(mpmc::channel::<Small>(&config).unwrap_err().code(), "config");
}

/// A task by hand: polled until it is ready, and only when it was woken.
fn finish<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let waker = std::task::Waker::from(std::sync::Arc::new(Unpark(std::thread::current())));
    let mut context = std::task::Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

struct Unpark(std::thread::Thread);

impl std::task::Wake for Unpark {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.unpark();
    }
}

#[test]
fn tasks_share_a_queue() {
    let (mut sender, receiver) =
        mpmc::channel::<Small>(&config(2, Wait::Adaptive, Full::Block)).unwrap();
    let takers: Vec<_> = (0..2)
        .map(|_| {
            let mut receiver = receiver.try_clone().unwrap();
            std::thread::spawn(move || {
                let mut count = 0;
                while finish(receiver.recv_async()).is_ok() {
                    count += 1;
                }
                count
            })
        })
        .collect();
    drop(receiver);
    for number in 0..EACH {
        finish(sender.send_async([0, number])).unwrap();
    }
    drop(sender);
    let counts: Vec<u64> = takers.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(counts.iter().sum::<u64>(), EACH);
}

/// Polls once and gives up.
fn give_up<F: Future>(future: F) {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(future.as_mut().poll(&mut context).is_pending());
}

#[test]
fn a_task_that_gave_up_is_not_woken_in_place_of_a_thread() {
    fn check<T: Message + PartialEq + std::fmt::Debug>(
        message: T,
        mut send: impl FnMut(T) + Send + 'static,
        receive: impl FnOnce() -> T,
    ) {
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            send(message);
            send
        });
        assert_eq!(receive(), message);
        drop(thread.join().unwrap());
    }
    let config = config(4, Wait::Park, Full::Block);
    let (mut sender, mut receiver) = mpmc::channel::<Small>(&config).unwrap();
    give_up(receiver.recv_async());
    check([1, 2], move |message| sender.send(message).unwrap(), || receiver.recv().unwrap());
    let (mut sender, mut receiver) = psyne_channel::spsc::channel::<Small>(&config).unwrap();
    give_up(receiver.recv_async());
    check([1, 2], move |message| sender.send(message).unwrap(), || receiver.recv().unwrap());
}
