//! Broadcasts between real processes: each receiver hears everything from when it came, and who is
//! killed holds nobody up.
#![cfg(not(miri))] // which starts no processes

mod process;

use std::time::Duration;

use process::{Dice, Other, job, name};
use psyne_channel::broadcast::{Lag, Receiver, Sender};
use psyne_channel::{Config, Error, Reason};

type Note = [u64; 9];

const NOTES: u64 = 30_000;

fn config() -> Config {
    Config { slots: 64, ..Config::default() }
}

/// Receives until the sender is done, and misses nothing.
fn hear(address: &str) {
    let mut receiver = Receiver::<Note>::open(address, Lag::Block, &config()).unwrap();
    let [mut expected, ..] = receiver.recv().unwrap();
    loop {
        expected += 1;
        match receiver.recv() {
            Ok(note) => assert_eq!(note, [expected; 9]),
            Err(error) => break assert_eq!(error, Error::Closed(Reason::Finished)),
        }
    }
    assert_eq!(expected, NOTES, "the last one, too");
}

#[test]
#[ignore = "the other process of the tests below"]
fn child() {
    match job().as_deref() {
        Some([what, address]) if what == "hear" => hear(address),
        Some([what, address]) if what == "stall" => {
            let mut receiver = Receiver::<Note>::open(address, Lag::Block, &config()).unwrap();
            receiver.recv().unwrap();
            std::thread::sleep(Duration::MAX);
        }
        Some([what, address]) if what == "say" => {
            let mut sender = Sender::<Note>::open(address, &config()).unwrap();
            while sender.receivers() < 2 {
                std::thread::yield_now();
            }
            for number in 0_u64.. {
                sender.send([number; 9]).unwrap();
            }
        }
        _ => {}
    }
}

fn wait_for(sender: &mut Sender<Note>, receivers: usize) {
    while sender.receivers() != receivers {
        std::thread::yield_now();
    }
}

#[test]
fn every_receiver_hears_everything_from_when_it_came() {
    let address = format!("ipc://{}", name("all"));
    let mut early = Other::start(&["hear", &address]);
    let mut sender = Sender::<Note>::open(&address, &config()).unwrap();
    wait_for(&mut sender, 1);
    (0..NOTES / 2).for_each(|number| sender.send([number; 9]).unwrap());
    let late = Other::start(&["hear", &address]);
    wait_for(&mut sender, 2);
    (NOTES / 2..NOTES).for_each(|number| sender.send([number; 9]).unwrap());
    assert!(early.0.try_wait().unwrap().is_none(), "it waits for more");
    drop(sender);
    early.finish();
    late.finish();
}

#[test]
fn a_receiver_that_is_killed_sets_the_sender_free() {
    let address = format!("ipc://{}", name("stalled"));
    let mut sender = Sender::<Note>::open(&address, &config()).unwrap();
    for _ in 0..5 {
        let stalled = Other::start(&["stall", &address]);
        wait_for(&mut sender, 1);
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            stalled.kill();
        });
        (0..1_000).for_each(|number| sender.send([number; 9]).unwrap());
        killer.join().unwrap();
        wait_for(&mut sender, 0);
    }
}

#[test]
fn receivers_outlive_their_senders() {
    let address = format!("ipc://{}", name("senders"));
    let open = |lag| Receiver::<Note>::open(&address, lag, &config()).unwrap();
    let (mut all, mut newest) = (open(Lag::Block), open(Lag::Skip));
    let mut dice = Dice(3);
    for _ in 0..10 {
        let sender = Other::start(&["say", &address]);
        let pid = sender.pid();
        let [mut expected, ..] = all.recv().unwrap();
        let pause = Duration::from_micros(dice.roll(3_000));
        let killer = std::thread::spawn(move || {
            std::thread::sleep(pause);
            sender.kill();
        });
        let death = loop {
            expected += 1;
            match all.recv() {
                Ok(note) => assert_eq!(note, [expected; 9]),
                Err(error) => break error,
            }
        };
        killer.join().unwrap();
        assert_eq!(death, Error::PeerDied { pid });
        let mut last = None;
        let death = loop {
            match newest.recv() {
                Ok(note) => {
                    assert!(note == [note[0]; 9] && Some(note[0]) > last);
                    last = Some(note[0]);
                }
                Err(Error::Lagged(lost)) => assert!(lost > 0),
                Err(error) => break error,
            }
        };
        assert_eq!(death, Error::PeerDied { pid });
        assert_eq!(last.map(|last| last + 1), Some(expected), "the last that was sent");
    }
}
