//! A queue with many receivers between processes: whoever is killed at whatever instruction, each
//! message reaches one receiver, but for what a killed one had in hand, and that is counted.
#![cfg(not(miri))] // which starts no processes

mod process;

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use process::{Dice, Other, alone, beside, held, job, name, residue};
use psyne_channel::{Config, Error, Full, Reason, Wait, Watched, mpmc, mpsc, observe, spmc};
use rustix::event::{PollFd, PollFlags, poll};

/// Who sent it, and its number there, often enough that a torn one would show.
type Note = [u64; 9];

const FINISHED: Error = Error::Closed(Reason::Finished);
/// Longer than any machine takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Killed in each loop; `cargo xtask bench channel` does a thousand.
const DEATHS: usize = 20;
/// Ends whoever receives it.
const STOP: u64 = u64::MAX;

fn note(who: u64, number: u64) -> Note {
    let mut note = [number; 9];
    note[0] = who;
    note
}

fn config(wait: Wait) -> Config {
    Config { slots: 64, wait, senders_max: 4, receivers_max: 4, ..Config::default() }
}

/// Sends for ever.
fn send(address: &str) {
    let mut sender = mpmc::Sender::open(address, &config(Wait::Adaptive)).unwrap();
    let mut number = 0;
    loop {
        match sender.send(note(std::process::id().into(), number)) {
            Ok(()) => number += 1,
            Err(Error::PeerDied { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Sends so many and waits until they are taken.
fn finish(address: &str, count: u64) {
    let mut sender = mpmc::Sender::open(address, &config(Wait::Park)).unwrap();
    (0..count).for_each(|number| sender.send(note(std::process::id().into(), number)).unwrap());
    while sender.unread() > 0 {
        std::thread::yield_now();
    }
}

/// Says what it takes, before it asks for the next.
fn take(address: &str, wait: Wait) {
    let mut receiver = mpmc::Receiver::<Note>::open(address, &config(wait)).unwrap();
    loop {
        let note = match receiver.recv() {
            Ok(note) => note,
            Err(FINISHED | Error::PeerDied { .. }) => continue,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(note[1..], [note[1]; 8], "torn");
        if note[1] == STOP {
            return;
        }
        // One system call: who is killed said it, or not.
        let line = format!("@{} {}\n", note[0], note[1]);
        std::io::stdout().write_all(line.as_bytes()).unwrap();
    }
}

#[test]
#[ignore = "the other process of the tests below"]
fn child() {
    match job().as_deref() {
        Some([what, address]) if what == "send" => send(address),
        Some([what, address]) if what == "take" => take(address, Wait::Adaptive),
        Some([what, address]) if what == "take-asleep" => take(address, Wait::Park),
        Some([what, address, count]) if what == "finish" => finish(address, count.parse().unwrap()),
        _ => {}
    }
}

/// Another process that receives, and what it says of that.
struct Taker {
    process: Other,
    said: JoinHandle<Vec<(u64, u64)>>,
}

impl Taker {
    fn start(what: &str, address: &str) -> Self {
        let mut process = Other::start(&[what, address]);
        let mut output = process.0.stdout.take().unwrap();
        let said = std::thread::spawn(move || {
            let mut text = String::new();
            output.read_to_string(&mut text).unwrap();
            let lines = text.lines().filter_map(|line| line.split_once('@'));
            let numbers = lines.filter_map(|(_, note)| note.split_once(' '));
            numbers.map(|(who, number)| (who.parse().unwrap(), number.parse().unwrap())).collect()
        });
        Self { process, said }
    }

    fn kill(self) -> Vec<(u64, u64)> {
        self.process.kill();
        self.said.join().unwrap()
    }

    /// Once it was told to stop.
    fn finish(self) -> Vec<(u64, u64)> {
        self.process.finish();
        self.said.join().unwrap()
    }
}

/// Sends to whoever is there; deaths are told.
fn send_on(sender: &mut mpmc::Sender<Note>, note: Note, mut died: impl FnMut(u32)) {
    loop {
        match sender.send(note) {
            Ok(()) => return,
            Err(Error::PeerDied { pid }) => died(pid),
            // The last of those that it has met was told to stop: others come.
            Err(FINISHED) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Everything that was said: nothing twice, and of each receiver the messages of one sender in
/// order. How much is missing of so many from each sender.
fn missing(said: &[Vec<(u64, u64)>], senders: &HashMap<u64, u64>) -> u64 {
    let mut heard = HashSet::new();
    for notes in said {
        let mut last = HashMap::new();
        for (who, number) in notes {
            assert!(heard.insert((*who, *number)), "{number} of {who} came twice");
            assert!(last.insert(who, number).is_none_or(|last| last < number), "out of order");
        }
    }
    senders.values().sum::<u64>() - heard.len() as u64
}

#[test]
fn each_message_reaches_one_of_them() {
    let _beside = beside();
    let address = format!("ipc://{}", name("shared"));
    let takers = ["take", "take-asleep", "take"].map(|what| Taker::start(what, &address));
    let senders = [0; 3].map(|_| Other::start(&["finish", &address, "400"]));
    let pids: Vec<_> = senders.iter().map(|sender| u64::from(sender.pid())).collect();
    senders.into_iter().for_each(Other::finish);
    let mut last = mpmc::Sender::open(&address, &config(Wait::Park)).unwrap();
    (0..3).for_each(|_| send_on(&mut last, note(0, STOP), |pid| panic!("nobody killed {pid}")));
    let said = takers.map(Taker::finish);
    let senders = pids.into_iter().map(|pid| (pid, 400)).collect();
    assert_eq!(missing(&said, &senders), 0);
}

#[test]
fn what_a_killed_receiver_had_in_hand_is_counted_and_nothing_else_is_lost() {
    let _alone = alone();
    let address = format!("ipc://{}", name("killed-takers"));
    let mut sender = mpmc::Sender::open(&address, &config(Wait::Adaptive)).unwrap();
    let start = |turn: usize| Taker::start(["take", "take-asleep"][turn % 2], &address);
    let mut living = [start(0), start(1), start(2)];
    let (mut dice, mut said, mut sent, mut before) = (Dice(7), Vec::new(), 0, None);
    for turn in 0..DEATHS {
        let dead = std::mem::replace(&mut living[turn % 3], start(turn));
        dead.process.wait_until_met_by(1);
        for _ in 0..dice.roll(300) {
            send_on(&mut sender, note(1, sent), |pid| panic!("nobody killed {pid}"));
            sent += 1;
        }
        let pid = dead.process.pid();
        said.push(dead.kill());
        let mut deaths = Vec::new();
        wait_for("its death is said", || {
            send_on(&mut sender, note(1, sent), |pid| deaths.push(pid));
            sent += 1;
            !deaths.is_empty()
        });
        assert_eq!(deaths, [pid], "once");
        before.get_or_insert_with(held);
    }
    living.iter().for_each(|taker| taker.process.wait_until_met_by(1));
    let (before, after) = (before.unwrap(), held());
    assert!(after.0 <= before.0 + 12 && after.1 <= before.1 + 12, "{before:?} {after:?}");
    for _ in 0..3 {
        send_on(&mut sender, note(0, STOP), |pid| panic!("nobody killed {pid}"));
    }
    said.extend(living.map(Taker::finish));
    let (lost, missing) = (sender.lost(), missing(&said, &HashMap::from([(1, sent)])));
    assert!(missing <= lost, "{missing} are missing, {lost} were counted");
    assert!(lost <= DEATHS as u64, "one each at most: {lost}");
    drop(sender);
    let stays = residue().into_iter().filter(|name| name.contains("killed-takers")).count();
    assert_eq!(stays, 0);
}

#[test]
fn receivers_outlive_their_senders_and_find_new_ones() {
    let _beside = beside();
    for wait in [Wait::Spin, Wait::Adaptive, Wait::Park] {
        let address = format!("ipc://{}", name(&format!("killed-senders-{wait:?}")));
        let mut receiver = mpmc::Receiver::<Note>::open(&address, &config(wait)).unwrap();
        let start = || Other::start(&["send", &address]);
        let (mut living, mut dice) = ([start(), start(), start()], Dice(9));
        let mut next = HashMap::new();
        let mut check = |note: Note| {
            let next = next.entry(note[0]).or_insert(0);
            assert_eq!(note[1..], [*next; 8], "from {}", note[0]);
            *next += 1;
        };
        for turn in 0..DEATHS / 3 {
            let dead = std::mem::replace(&mut living[turn % 3], start());
            let pid = dead.pid();
            // Until it was heard of, so that its death will be.
            loop {
                let note = receiver.recv_timeout(PATIENCE).unwrap();
                check(note);
                if note[0] == u64::from(pid) {
                    break;
                }
            }
            for _ in 0..dice.roll(1_000) {
                check(receiver.recv_timeout(PATIENCE).unwrap());
            }
            dead.kill();
            let said = loop {
                match receiver.recv_timeout(PATIENCE) {
                    Ok(note) => check(note),
                    Err(error) => break error,
                }
            };
            assert_eq!(said, Error::PeerDied { pid });
        }
    }
}

#[test]
fn whoever_is_killed_nothing_comes_twice_and_others_go_on() {
    let _beside = beside();
    let address = format!("ipc://{}", name("killed-both"));
    let taker = |turn: usize| Taker::start(["take", "take-asleep"][turn % 2], &address);
    let sender = || Other::start(&["send", &address]);
    let (mut takers, mut senders) = ([taker(0), taker(1)], [sender(), sender()]);
    let (mut dice, mut said) = (Dice(13), Vec::new());
    for turn in 0..DEATHS / 2 {
        senders.iter().for_each(|sender| sender.wait_until_met_by(2));
        std::thread::sleep(Duration::from_micros(dice.roll(3_000)));
        if turn % 2 == 0 {
            let dead = std::mem::replace(&mut takers[turn / 2 % 2], taker(turn / 2));
            said.push(dead.kill());
        } else {
            std::mem::replace(&mut senders[turn / 2 % 2], sender()).kill();
        }
    }
    senders.into_iter().for_each(Other::kill);
    let mut last = mpmc::Sender::open(&address, &config(Wait::Park)).unwrap();
    // What the dead left is taken first, by whoever is there.
    for _ in 0..2 {
        send_on(&mut last, note(0, STOP), |_| {});
    }
    said.extend(takers.map(Taker::finish));
    let mut sent = HashMap::new();
    for (who, number) in said.iter().flatten() {
        let sent = sent.entry(*who).or_insert(0);
        *sent = (*number + 1).max(*sent);
    }
    let missing = missing(&said, &sent);
    assert!(missing <= DEATHS as u64 / 4, "one for each receiver that was killed: {missing}");
    assert!(sent.len() > 2, "several senders were heard: {sent:?}");
}

/// Whether the descriptor is readable within so long.
fn is_readable(end: &impl AsFd, limit: Duration) -> bool {
    let limit = limit.try_into().unwrap();
    poll(&mut [PollFd::new(end, PollFlags::IN)], Some(&limit)).unwrap() == 1
}

#[test]
fn who_sleeps_by_a_descriptor_is_woken_and_one_of_them_for_each_message() {
    let address = format!("ipc://{}", name("descriptors"));
    let mut sender = spmc::Sender::<Note>::open(&address, &config(Wait::Park)).unwrap();
    let open = || spmc::Receiver::<Note>::open(&address, &config(Wait::Park)).unwrap();
    let mut receivers = [0; 2].map(|_| Watched::new(open()).unwrap());
    wait_for("both have come", || sender.receivers() == 2);
    for number in 0..100 {
        receivers.iter_mut().for_each(|receiver| while receiver.arm().unwrap() {});
        sender.send(note(1, number)).unwrap();
        wait_for("one of them is woken", || {
            receivers.iter().any(|receiver| is_readable(receiver, Duration::ZERO))
        });
        let woken = receivers.iter().position(|receiver| is_readable(receiver, Duration::ZERO));
        let woken = &mut receivers[woken.unwrap()];
        assert_eq!(woken.try_recv(), Ok(Some(note(1, number))));
    }
    // Both sleep; the one that is woken ends without looking, and the other is woken instead.
    receivers.iter_mut().for_each(|receiver| while receiver.arm().unwrap() {});
    sender.send(note(1, 100)).unwrap();
    let [one, two] = receivers;
    wait_for("one of them is woken", || {
        is_readable(&one, Duration::ZERO) || is_readable(&two, Duration::ZERO)
    });
    let (gone, mut left) = if is_readable(&one, Duration::ZERO) { (one, two) } else { (two, one) };
    drop(gone);
    assert!(is_readable(&left, PATIENCE), "the other is woken");
    assert_eq!(left.try_recv(), Ok(Some(note(1, 100))));
}

#[test]
fn messages_wait_for_who_comes_and_a_full_ring_says_so() {
    let _beside = beside();
    let address = format!("ipc://{}", name("later"));
    let full = Full::BlockFor(Duration::from_millis(1));
    let config = Config { full, ..config(Wait::Park) };
    let mut sender = spmc::Sender::open(&address, &config).unwrap();
    let sent = (0..100).take_while(|number| sender.try_send(note(1, *number)).is_ok()).count();
    assert_eq!((sent, sender.unread()), (64, 64));
    assert_eq!(sender.try_send(note(1, 64)), Err(Error::Full));
    assert_eq!(sender.send(note(1, 64)), Err(Error::TimedOut));
    let mut one = spmc::Receiver::<Note>::open(&address, &config).unwrap();
    let mut two = one.try_clone().unwrap();
    for number in 0..16 {
        assert_eq!(one.recv_timeout(PATIENCE), Ok(note(1, 2 * number)));
        assert_eq!(two.recv_timeout(PATIENCE), Ok(note(1, 2 * number + 1)));
    }
    sender.send(note(1, 64)).unwrap();
    let mut some = [note(0, 0); 10];
    assert_eq!(one.recv_into(&mut some), Ok(10));
    assert_eq!(some[9], note(1, 41));
    assert_eq!(two.drain().count(), 23);
    drop(one);
    sender.send(note(1, 65)).unwrap();
    assert_eq!(two.recv_timeout(PATIENCE), Ok(note(1, 65)));
    drop(two);
    let mut said = Ok(());
    wait_for("that nobody is left is said", || {
        said = sender.send(note(1, 66));
        said == Err(FINISHED)
    });
    assert_ne!(sender.try_send(note(1, 67)), Err(FINISHED), "once: others may come");
}

#[test]
fn who_means_something_else_or_is_too_many_is_told_so() {
    let _beside = beside();
    let address = format!("ipc://{}", name("wrong"));
    let config = Config { senders_max: 2, receivers_max: 2, ..config(Wait::Park) };
    let code = |error: Error| error.code();
    let sender = mpmc::Sender::<Note>::open(&address, &config).unwrap();
    let alone = spmc::Sender::<Note>::open(&address, &config).map(drop);
    assert_eq!(alone, Err(Error::Crowded(1)));
    let _second = sender.try_clone().unwrap();
    assert_eq!(sender.try_clone().map(drop), Err(Error::Crowded(2)));
    let number = spmc::Receiver::<u64>::open(&address, &config).map(drop);
    assert_eq!(number.map_err(code), Err("layout_mismatch"));
    let queue = mpsc::Sender::<Note>::open(&address, &config).map(drop);
    assert_eq!(queue.map_err(code), Err("pattern_mismatch"));
    let one = spmc::Receiver::<Note>::open(&address, &config).unwrap();
    let _two = one.try_clone().unwrap();
    let third = one.try_clone().map(drop);
    assert_eq!(third, Err(Error::Crowded(2)));
}

#[test]
fn an_observer_sees_who_is_there_and_what_waits() {
    let _beside = beside();
    let name = name("observed");
    let address = format!("ipc://{name}");
    let mut senders =
        [0; 2].map(|_| mpmc::Sender::<Note>::open(&address, &config(Wait::Park)).unwrap());
    senders[0].send(note(1, 0)).unwrap();
    senders[1].send(note(2, 0)).unwrap();
    senders[1].send(note(2, 1)).unwrap();
    let mut receiver = mpmc::Receiver::<Note>::open(&address, &config(Wait::Park)).unwrap();
    let mut seen = Vec::new();
    wait_for("both senders and the receiver", || {
        let processes = observe::processes().unwrap();
        let us = processes.into_iter().find(|process| process.pid == std::process::id());
        seen = us.map_or_else(Vec::new, |us| us.ends);
        seen.retain(|end| end.name == name);
        seen.iter().map(|end| end.others.len()).sum::<usize>() == 4
    });
    let (sends, takes): (Vec<_>, Vec<_>) = seen.iter().partition(|end| end.ring_slots.is_some());
    assert!(seen.iter().all(|end| end.pattern == "mpmc"));
    let mut waiting: Vec<_> = sends.iter().map(|end| end.words.waiting()).collect();
    waiting.sort_unstable();
    assert_eq!((waiting, takes.len()), (vec![1, 2], 1), "places of one end are one end");
    for _ in 0..3 {
        receiver.recv_timeout(PATIENCE).unwrap();
    }
    wait_for("nothing waits", || {
        let processes = observe::processes().unwrap();
        let us = processes.iter().find(|process| process.pid == std::process::id()).unwrap();
        us.ends.iter().filter(|end| end.name == name).all(|end| end.words.waiting() == 0)
    });
}
