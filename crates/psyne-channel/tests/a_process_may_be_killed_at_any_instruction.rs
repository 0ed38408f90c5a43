//! kill -9 in a loop, at random points: the survivor hears of it after everything that was sent,
//! another process takes the place over, and nothing stays.
#![cfg(not(miri))] // which starts no processes

mod process;

use std::io::{Read, Write};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use process::{Dice, Other, alone, beside, held, job, name, residue};
use psyne_channel::{Config, Error, Reason, Wait, spsc};

/// Each is a process; `cargo xtask bench channel` does a thousand.
const TURNS: u64 = 25;

/// Turn, number and a mix of both: as many words as fill a line, whose last one announces it, or
/// more, so that a torn one would show.
type Note<const WORDS: usize> = [u64; WORDS];
const LINE: usize = 8;
const WIDE: usize = 22;

fn note<const WORDS: usize>(turn: u64, number: u64) -> Note<WORDS> {
    let mut note = [number ^ turn; WORDS];
    (note[0], note[1]) = (turn, number);
    note
}

fn config(slots: usize, wait: Wait) -> Config {
    let mut config = Config::default();
    (config.slots, config.wait) = (slots, wait);
    config
}

/// Sends until it is killed; half of what it lends it never commits.
fn send<const WORDS: usize>(address: &str, turn: u64) {
    let config = config(64, Wait::Adaptive);
    let mut sender = spsc::Sender::<Note<WORDS>>::open(address, &config).unwrap();
    for number in 0.. {
        sender.send(note(turn, number)).unwrap();
        let mut loan = sender.loan().unwrap();
        *loan = note(u64::MAX, u64::MAX);
    }
}

/// Sends one message, and one more for each that it is told to.
fn slowly(address: &str, turn: u64) {
    let mut sender = spsc::Sender::open(address, &config(64, Wait::Park)).unwrap();
    for number in 0.. {
        sender.send(note::<LINE>(turn, number)).unwrap();
        std::io::stdin().read_exact(&mut [0; 5]).unwrap();
    }
}

/// Says on its output what it received, before it lets it go, until it is killed.
fn receive<const WORDS: usize>(address: &str) {
    let config = config(64, Wait::Park);
    let mut receiver = spsc::Receiver::<Note<WORDS>>::open(address, &config).unwrap();
    loop {
        let received = receiver.recv_ref().unwrap();
        assert_eq!(*received, note(0, received[1]));
        std::io::stdout().write_all(&received[1].to_le_bytes()).unwrap();
        std::io::stdout().flush().unwrap();
    }
}

#[test]
#[ignore = "the other process of the tests below"]
fn child() {
    let Some(job) = job() else { return };
    let [what, address, turn] = &job[..] else { panic!("a job has three words: {job:?}") };
    let turn = str::parse::<u64>(turn).unwrap();
    match what.as_str() {
        "send-line" => send::<LINE>(address, turn),
        "send-wide" => send::<WIDE>(address, turn),
        "receive-line" => receive::<LINE>(address),
        "receive-wide" => receive::<WIDE>(address),
        "slowly" => slowly(address, turn),
        other => panic!("no such job: {other}"),
    }
}

/// Receives what one sender sent until it is killed after `pause`, and then what it left.
fn outlive<const WORDS: usize>(
    receiver: &mut spsc::Receiver<Note<WORDS>>,
    sender: Other,
    turn: u64,
    pause: Duration,
) -> u64 {
    let pid = sender.pid();
    let mut number = 0;
    assert_eq!(receiver.recv(), Ok(note(turn, 0)));
    let killer = std::thread::spawn(move || {
        std::thread::sleep(pause);
        sender.kill();
    });
    loop {
        number += 1;
        match receiver.recv() {
            Ok(received) => assert_eq!(received, note(turn, number)),
            Err(error) => break assert_eq!(error, Error::PeerDied { pid }),
        }
    }
    killer.join().unwrap();
    number
}

fn outlives<const WORDS: usize>(wait: Wait, job: &str) {
    let address = format!("ipc://{}", name(&format!("senders-{wait:?}")));
    let mut receiver = spsc::Receiver::<Note<WORDS>>::open(&address, &config(1, wait)).unwrap();
    let mut dice = Dice(7);
    let mut before = None;
    for turn in 0..TURNS {
        let sender = Other::start(&[job, &address, &turn.to_string()]);
        let pause = Duration::from_micros(dice.roll(3_000));
        assert!(outlive(&mut receiver, sender, turn, pause) > 0);
        assert_eq!(receiver.try_recv(), Ok(None), "said once");
        before.get_or_insert_with(held);
    }
    // The last connection is closed just after its end was said: some may be so now and then.
    let (before, after) = (before.unwrap(), held());
    let stays = |before: usize, after: usize| after as u64 > before as u64 + 3;
    assert!(!stays(before.0, after.0) && !stays(before.1, after.1), "{before:?} {after:?}");
}

#[test]
fn a_receiver_outlives_its_senders() {
    let _alone = alone();
    outlives::<LINE>(Wait::Spin, "send-line");
    outlives::<WIDE>(Wait::Adaptive, "send-wide");
    outlives::<LINE>(Wait::Park, "send-line");
    assert_eq!(residue(), Vec::<String>::new());
}

/// Reads what a receiver says that it received; the last may be said half.
fn said(mut receiver: Other, expected: &mut u64, pause: Duration) {
    let mut output = receiver.0.stdout.take().unwrap();
    // The harness says something before the test begins.
    let mut text = Vec::new();
    receiver.wait_until_met_by(1);
    std::thread::sleep(pause);
    receiver.kill();
    output.read_to_end(&mut text).unwrap();
    let Some(start) = text.windows(8).position(|word| {
        let number = u64::from_le_bytes(word.try_into().unwrap());
        number == *expected || number + 1 == *expected
    }) else {
        return;
    };
    let (numbers, _half) = text[start..].as_chunks::<8>();
    let mut next = u64::from_le_bytes(numbers[0]);
    for number in numbers {
        assert_eq!(u64::from_le_bytes(*number), next);
        next += 1;
    }
    *expected = next;
}

fn is_outlived<const WORDS: usize>(job: &str, turns: u64) {
    let address = format!("ipc://{}", name(job));
    let config = config(64, Wait::Adaptive);
    let mut sender = spsc::Sender::<Note<WORDS>>::open(&address, &config).unwrap();
    let (stop, stopped) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let (mut number, mut deaths) = (1_000_000_000_000, 0);
        while stopped.try_recv().is_err() {
            match sender.send(note(0, number)) {
                Ok(()) => number += 1,
                Err(Error::PeerDied { .. }) => deaths += 1,
                Err(error) => panic!("{error}"),
            }
        }
        (sender, number, deaths)
    });
    let mut dice = Dice(11);
    let mut expected = 1_000_000_000_000;
    for _ in 0..turns {
        let pause = Duration::from_micros(dice.roll(20_000));
        said(Other::start(&[job, &address, "0"]), &mut expected, pause);
    }
    assert!(expected > 1_000_000_000_000, "somebody received something");
    // What nobody took is for who comes now, and sets a sender free that waits.
    let mut receiver = spsc::Receiver::<Note<WORDS>>::open(&address, &Config::default()).unwrap();
    let first = receiver.recv().unwrap()[1];
    assert!(first == expected || first + 1 == expected, "{first} after {expected}");
    stop.send(()).unwrap();
    let reader = std::thread::spawn(move || {
        let mut next = first + 1;
        loop {
            match receiver.recv() {
                Ok(received) => assert_eq!(received, note(0, next)),
                Err(error) => break assert_eq!(error, Error::Closed(Reason::Finished)),
            }
            next += 1;
        }
        next
    });
    let (sender, sent, deaths) = thread.join().unwrap();
    drop(sender);
    assert_eq!(reader.join().unwrap(), sent, "everything that was sent");
    assert!(deaths > 0 && deaths <= turns, "{deaths}");
}

#[test]
fn a_sender_outlives_its_receivers() {
    let _beside = beside();
    is_outlived::<LINE>("receive-line", TURNS);
    is_outlived::<WIDE>("receive-wide", TURNS / 2);
}

/// Wakes a thread.
struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn a_task_hears_messages_and_death_too() {
    let _beside = beside();
    let address = format!("ipc://{}", name("task"));
    let mut receiver = spsc::Receiver::open(&address, &Config::default()).unwrap();
    for turn in 0..3 {
        let mut sender = Other::start(&["slowly", &address, &turn.to_string()]);
        for number in 0..20 {
            assert_eq!(block_on(receiver.recv_async()), Ok(note::<LINE>(turn, number)));
            if number < 19 {
                sender.0.stdin.as_mut().unwrap().write_all(b"go on").unwrap();
            }
        }
        let pid = sender.pid();
        sender.kill();
        assert_eq!(block_on(receiver.recv_async()), Err(Error::PeerDied { pid }));
    }
}
