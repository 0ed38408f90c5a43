//! Each policy of back pressure, and each way to wait.
#![cfg(not(loom))]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use psyne_channel::{Ask, Config, Error, Full, Verdict, Wait, spsc};

const SHORT: Duration = Duration::from_millis(5);

fn pair(wait: Wait, full: Full) -> (spsc::Sender<u64>, spsc::Receiver<u64>) {
    let mut config = Config::default();
    (config.slots, config.wait, config.full) = (2, wait, full);
    spsc::channel(&config).unwrap()
}

fn fill(sender: &mut spsc::Sender<u64>) {
    sender.send(0).unwrap();
    sender.send(1).unwrap();
}

#[test]
fn refusing_policies_say_full_or_timed_out() {
    let asked = Arc::new(AtomicU32::new(0));
    let count = asked.clone();
    let ask = Ask::new(move |times| {
        count.store(times, Ordering::Relaxed);
        if times < 3 { Verdict::WaitFor(SHORT) } else { Verdict::Refuse }
    });
    let cases = [
        (Full::Refuse, Error::Full, Duration::ZERO),
        (Full::BlockFor(SHORT), Error::TimedOut, SHORT),
        (Full::Retry { times: 3, pause: SHORT }, Error::Full, SHORT * 7),
        (Full::Ask(ask), Error::Full, SHORT * 2),
        (Full::Adaptive { longest: SHORT }, Error::Full, SHORT),
    ];
    for wait in [Wait::Spin, Wait::Adaptive, Wait::Park] {
        for (full, expected, least) in cases.clone() {
            let (mut sender, mut receiver) = pair(wait, full);
            fill(&mut sender);
            let start = Instant::now();
            assert_eq!(sender.send(2), Err(expected.clone()), "{wait:?}");
            assert!(start.elapsed() >= least, "{wait:?}, {expected}");
            assert_eq!(sender.stats().refused, u64::from(expected == Error::Full));
            assert_eq!((receiver.recv(), receiver.recv()), (Ok(0), Ok(1)));
            assert_eq!(receiver.recv_timeout(SHORT), Err(Error::TimedOut));
            assert_eq!(sender.send(3), Ok(()));
            drop(receiver);
            assert_eq!(sender.try_send(4).unwrap_err().code(), "closed");
        }
    }
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

#[test]
fn waiting_policies_go_on_when_there_is_room() {
    let again = Ask::new(|_| Verdict::Again);
    let patient = Duration::from_secs(60);
    let policies = [
        Full::Block,
        Full::BlockFor(patient),
        Full::Retry { times: 1, pause: patient },
        Full::Ask(again),
        Full::Adaptive { longest: patient },
    ];
    for wait in [Wait::Spin, Wait::Adaptive, Wait::Park] {
        for full in policies.clone() {
            let (mut sender, mut receiver) = pair(wait, full);
            fill(&mut sender);
            let thread = std::thread::spawn(move || sender.send(2));
            std::thread::sleep(SHORT);
            assert_eq!(receiver.recv(), Ok(0));
            assert_eq!(thread.join().unwrap(), Ok(()), "{wait:?}");
            assert_eq!(receiver.drain().collect::<Vec<_>>(), [1, 2]);
        }
    }
}

#[test]
fn a_blocked_side_hears_that_the_other_is_gone() {
    for wait in [Wait::Spin, Wait::Adaptive, Wait::Park] {
        let (mut sender, receiver) = pair(wait, Full::Block);
        fill(&mut sender);
        let thread = std::thread::spawn(move || sender.send(2));
        std::thread::sleep(SHORT);
        drop(receiver);
        assert_eq!(thread.join().unwrap().unwrap_err().code(), "closed");

        let (sender, mut receiver) = pair(wait, Full::Block);
        let thread = std::thread::spawn(move || receiver.recv());
        std::thread::sleep(SHORT);
        drop(sender);
        assert_eq!(thread.join().unwrap().unwrap_err().code(), "closed");
    }
}

#[test]
#[cfg_attr(miri, ignore = "it has no membarrier, without which sides are always drowsy")]
fn who_keeps_up_never_sleeps_and_who_sleeps_is_woken() {
    let (mut sender, mut receiver) = pair(Wait::Adaptive, Full::Block);
    for number in 0..1000 {
        sender.send(number).unwrap();
        assert_eq!(receiver.recv(), Ok(number));
    }
    assert_eq!((sender.stats().sleeps, receiver.stats().sleeps), (0, 0));
    assert_eq!((sender.stats().slots, receiver.stats().slots), (1000, 1000));
    let thread = std::thread::spawn(move || (receiver.recv(), receiver.stats()));
    std::thread::sleep(SHORT * 4);
    sender.send(7).unwrap();
    let (message, stats) = thread.join().unwrap();
    assert_eq!((message, stats.sleeps > 0), (Ok(7), true));
}

/// The smallest executor: a thread that parks on a queue of wake-ups.
struct Bell(mpsc::Sender<()>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let _ = self.0.send(());
    }
}

fn run<F: Future>(future: F) -> F::Output {
    let (rung, bell) = mpsc::channel();
    let waker = Waker::from(Arc::new(Bell(rung)));
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        bell.recv().unwrap();
    }
}

#[test]
fn tasks_and_threads_wait_for_each_other() {
    const MESSAGES: u64 = if cfg!(miri) { 40 } else { 20_000 };
    for (task_sends, task_receives) in [(true, true), (true, false), (false, true)] {
        let (mut sender, mut receiver) = pair(Wait::Adaptive, Full::Block);
        let thread = std::thread::spawn(move || {
            for number in 0..MESSAGES {
                let sent = match task_sends {
                    true => run(sender.send_async(number)),
                    false => sender.send(number),
                };
                sent.unwrap();
            }
        });
        for number in 0..MESSAGES {
            let received = match task_receives {
                true => run(receiver.recv_async()),
                false => receiver.recv(),
            };
            assert_eq!(received, Ok(number));
        }
        thread.join().unwrap();
        assert_eq!(run(receiver.recv_async()).unwrap_err().code(), "closed");
    }
}
