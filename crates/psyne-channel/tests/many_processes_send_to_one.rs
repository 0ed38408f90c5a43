//! Many senders in processes of their own, which come, go and are killed at any instruction: the
//! receiver gets everything that each of them sent, in its order, and hears of each death once.
#![cfg(not(miri))] // which starts no processes

mod process;

use std::collections::HashMap;
use std::time::Duration;

use process::{Dice, Other, alone, beside, held, job, name, residue};
use psyne_channel::mpsc::{Receiver, Sender};
use psyne_channel::{Config, Error, Reason, Wait, spsc};

/// Who sent it, its number, and that once more: larger than a line, so that a torn one would show.
type Note = [u64; 9];

const FINISHED: Error = Error::Closed(Reason::Finished);
/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(60);
/// Killed in each loop; `cargo xtask bench channel` does a thousand.
const DEATHS: usize = 25;

fn note(pid: u32, number: u64) -> Note {
    let mut note = [number; 9];
    note[0] = pid.into();
    note
}

fn config(senders_max: usize, wait: Wait) -> Config {
    Config { slots: 64, senders_max, wait, ..Config::default() }
}

/// Sends for ever; half of what it lends it never commits.
fn send(address: &str) {
    let mut sender = Sender::open(address, &config(4, Wait::Adaptive)).unwrap();
    for number in 0.. {
        sender.send(note(std::process::id(), number)).unwrap();
        *sender.loan().unwrap() = note(0, u64::MAX);
    }
}

/// Sends so many and waits until they are read.
fn finish(address: &str, count: u64) {
    let mut sender = Sender::open(address, &config(4, Wait::Park)).unwrap();
    (0..count).for_each(|number| sender.send(note(std::process::id(), number)).unwrap());
    while sender.unread().is_ok_and(|unread| unread > 0) {
        std::thread::yield_now();
    }
}

#[test]
#[ignore = "the other process of the tests below"]
fn child() {
    match job().as_deref() {
        Some([what, address]) if what == "send" => send(address),
        Some([what, address, count]) if what == "finish" => finish(address, count.parse().unwrap()),
        Some([what, address]) if what == "receive" => {
            let mut receiver = Receiver::<Note>::open(address, &config(4, Wait::Park)).unwrap();
            loop {
                receiver.recv().unwrap();
            }
        }
        _ => {}
    }
}

/// What came from whom so far.
#[derive(Default)]
struct Heard(HashMap<u64, u64>);

impl Heard {
    /// Receives until this one has come, so that its death is to be heard of.
    fn wait_for(&mut self, receiver: &mut Receiver<Note>, sender: &Other) {
        while !self.0.contains_key(&sender.pid().into()) {
            self.check(receiver.recv_timeout(PATIENCE).unwrap());
        }
    }

    fn check(&mut self, note: Note) {
        let next = self.0.entry(note[0]).or_default();
        assert_eq!(note[1..], [*next; 8], "from {}", note[0]);
        *next += 1;
    }
}

#[test]
fn a_receiver_outlives_its_senders_and_takes_in_new_ones() {
    let _alone = alone();
    for wait in [Wait::Spin, Wait::Adaptive, Wait::Park] {
        let address = format!("ipc://{}", name(&format!("many-{wait:?}")));
        let mut receiver = Receiver::open(&address, &config(4, wait)).unwrap();
        let start = || Other::start(&["send", &address]);
        let (mut living, mut heard) = ([start(), start(), start()], Heard::default());
        let (mut dice, mut before) = (Dice(7), None);
        let mut killed = 0;
        while killed < DEATHS {
            for _ in 0..dice.roll(2_000) {
                heard.check(receiver.recv_timeout(PATIENCE).unwrap());
            }
            heard.wait_for(&mut receiver, &living[killed % 3]);
            let dead = std::mem::replace(&mut living[killed % 3], start());
            let pid = dead.pid();
            dead.kill();
            let said = loop {
                match receiver.recv_timeout(PATIENCE) {
                    Ok(note) => heard.check(note),
                    Err(error) => break error,
                }
            };
            assert_eq!(said, Error::PeerDied { pid });
            heard.0.remove(&pid.into());
            killed += 1;
            before.get_or_insert_with(held);
        }
        let (before, after) = (before.unwrap(), held());
        assert!(after.0 <= before.0 + 9 && after.1 <= before.1 + 9, "{before:?} {after:?}");
        living.iter().for_each(|sender| heard.wait_for(&mut receiver, sender));
        let mut pids: Vec<_> = living.iter().map(Other::pid).collect();
        living.into_iter().for_each(Other::kill);
        while !pids.is_empty() {
            match receiver.recv_timeout(PATIENCE) {
                Ok(note) => heard.check(note),
                Err(Error::PeerDied { pid }) => pids.retain(|known| *known != pid),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(receiver.try_recv(), Ok(None), "said once, and others may come");
        drop(receiver);
    }
    let stays = residue().into_iter().filter(|name| name.contains("many-")).count();
    assert_eq!(stays, 0);
}

#[test]
fn the_last_that_finishes_closes_until_others_come() {
    let _beside = beside();
    let address = format!("ipc://{}", name("finish"));
    let mut receiver = Receiver::<Note>::open(&address, &config(4, Wait::Park)).unwrap();
    for round in 1..4 {
        let senders = [0; 3].map(|_| Other::start(&["finish", &address, "300"]));
        let (mut heard, mut count, mut closed) = (Heard::default(), 0, 0);
        while count < 900 {
            match receiver.recv_timeout(PATIENCE) {
                Ok(note) => heard.check(note),
                Err(error) => {
                    assert_eq!(error, FINISHED, "round {round}");
                    closed += 1;
                    continue;
                }
            }
            count += 1;
        }
        senders.into_iter().for_each(Other::finish);
        assert_eq!(receiver.recv_timeout(PATIENCE), Err(FINISHED));
        assert!(closed < 3, "before the others had come");
        assert_eq!(receiver.try_recv(), Ok(None), "once");
    }
}

#[test]
fn senders_go_on_with_the_next_receiver() {
    let _beside = beside();
    let address = format!("ipc://{}", name("takeover"));
    let open = || Sender::<Note>::open(&address, &config(4, Wait::Park)).unwrap();
    let mut threads = Vec::new();
    let (sent, all) = std::sync::mpsc::channel();
    for id in 0..2 {
        let (mut sender, sent) = (open(), sent.clone());
        threads.push(std::thread::spawn(move || {
            let (mut number, mut deaths) = (0, 0);
            while deaths < 3 {
                match sender.send(note(id, number)) {
                    Ok(()) => number += 1,
                    Err(Error::PeerDied { .. }) => {
                        deaths += 1;
                        sent.send(id).unwrap();
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            let _ = sender.send(note(id, u64::MAX));
            while sender.unread().is_ok_and(|unread| unread > 0) {
                std::thread::yield_now();
            }
        }));
    }
    for _ in 0..3 {
        let receiver = Other::start(&["receive", &address]);
        let mut dice = Dice(u64::from(receiver.pid()));
        receiver.wait_until_met_by(2);
        std::thread::sleep(Duration::from_micros(dice.roll(5_000)));
        receiver.kill();
        let mut both = [all.recv().unwrap(), all.recv().unwrap()];
        both.sort_unstable();
        assert_eq!(both, [0, 1], "each hears of it once");
    }
    let mut receiver = Receiver::<Note>::open(&address, &config(4, Wait::Park)).unwrap();
    let mut next = [None; 2];
    while next != [Some(u64::MAX); 2] {
        let [id, number, ..] = receiver.recv_timeout(PATIENCE).unwrap();
        let next = &mut next[id as usize];
        assert!(next.is_none_or(|next| next == number) || number == u64::MAX);
        *next = Some(number.saturating_add(1));
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(receiver.recv_timeout(PATIENCE), Err(FINISHED));
}

#[test]
fn who_means_something_else_or_is_too_many_is_told_so() {
    let _beside = beside();
    let address = format!("ipc://{}", name("wrong"));
    let config = config(2, Wait::Park);
    let receiver = Receiver::<Note>::open(&address, &config).unwrap();
    let code = |error: Error| error.code();
    let other = Receiver::<Note>::open(&address, &config).map(drop);
    assert_eq!(other.map_err(code), Err("crowded"));
    let queue = spsc::Sender::<Note>::open(&address, &config).map(drop);
    assert_eq!(queue.map_err(code), Err("pattern_mismatch"));
    let number = Sender::<u64>::open(&address, &config).map(drop);
    assert_eq!(number.map_err(code), Err("layout_mismatch"));
    let mut one = Sender::<Note>::open(&address, &config).unwrap();
    let _two = one.try_clone().unwrap();
    assert_eq!(one.try_clone().map(drop), Err(Error::Crowded(2)));
    drop(receiver);
    assert_eq!(one.send(note(0, 0)), Err(FINISHED));
}
