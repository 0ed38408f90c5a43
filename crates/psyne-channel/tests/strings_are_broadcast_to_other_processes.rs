//! Broadcasts of strings between real processes, read where they were written: each receiver hears
//! everything from when it came, and who is killed holds nobody up.

mod process;

use std::time::Duration;

use process::{Dice, Other, alone, beside, held, job, name, residue};
use psyne_channel::broadcast::Lag;
use psyne_channel::broadcast::bytes::{Receiver, Sender};
use psyne_channel::{Config, Error, Reason, broadcast};

const STRINGS: u64 = 20_000;
const FINISHED: Error = Error::Closed(Reason::Finished);

fn config() -> Config {
    Config { slots: 64, receivers_max: 4, ..Config::default() }
}

/// A number, and some more of it.
fn string(number: u64) -> Vec<u8> {
    number.to_le_bytes().into_iter().cycle().take(8 + (number % 200) as usize).collect()
}

/// The number of a string, which must be whole.
fn number(string: &[u8]) -> u64 {
    let number = u64::from_le_bytes(*string.first_chunk().unwrap());
    assert_eq!(string, self::string(number), "torn");
    number
}

/// Receives until the sender is done, and misses nothing.
fn hear(address: &str) {
    let mut receiver = Receiver::open(address, Lag::Block, &config()).unwrap();
    let mut expected = number(&receiver.recv().unwrap());
    loop {
        expected += 1;
        match receiver.recv() {
            Ok(string) => assert_eq!(number(&string), expected),
            Err(error) => break assert_eq!(error, FINISHED),
        }
    }
    assert_eq!(expected, STRINGS, "the last one, too");
}

#[test]
#[ignore = "the other process of the tests below"]
fn child() {
    match job().as_deref() {
        Some([what, address]) if what == "hear" => hear(address),
        Some([what, address]) if what == "stall" => {
            let mut receiver = Receiver::open(address, Lag::Skip, &config()).unwrap();
            // Even one that skips holds the ring up while it looks at a string.
            loop {
                // It may have missed some before it looked.
                if let Ok(_string) = receiver.recv() {
                    std::thread::sleep(Duration::MAX);
                }
            }
        }
        Some([what, address]) if what == "say" => {
            let mut sender = Sender::open(address, &config()).unwrap();
            while sender.receivers() < 2 {
                std::thread::yield_now();
            }
            for number in 0_u64.. {
                if number % 10 == 0 {
                    sender.send_marked(&string(number)).unwrap();
                } else {
                    sender.send(&string(number)).unwrap();
                }
            }
        }
        _ => {}
    }
}

fn wait_for(sender: &mut Sender, receivers: usize) {
    while sender.receivers() != receivers {
        std::thread::yield_now();
    }
}

#[test]
fn every_receiver_hears_everything_from_when_it_came() {
    let _beside = beside();
    let address = format!("ipc://{}", name("all"));
    let mut early = Other::start(&["hear", &address]);
    let mut sender = Sender::open(&address, &config()).unwrap();
    wait_for(&mut sender, 1);
    (0..STRINGS / 2).for_each(|number| sender.send(&string(number)).unwrap());
    let late = Other::start(&["hear", &address]);
    wait_for(&mut sender, 2);
    (STRINGS / 2..STRINGS).for_each(|number| sender.send(&string(number)).unwrap());
    assert!(early.0.try_wait().unwrap().is_none(), "it waits for more");
    drop(sender);
    early.finish();
    late.finish();
}

#[test]
fn a_receiver_that_is_killed_sets_the_sender_free() {
    let _alone = alone();
    let address = format!("ipc://{}", name("stalled"));
    let mut sender = Sender::open(&address, &config()).unwrap();
    let mut before = None;
    for _ in 0..10 {
        let stalled = Other::start(&["stall", &address]);
        wait_for(&mut sender, 1);
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            stalled.kill();
        });
        (0..2_000).for_each(|number| sender.send(&string(number)).unwrap());
        killer.join().unwrap();
        wait_for(&mut sender, 0);
        before.get_or_insert_with(held);
    }
    let (before, after) = (before.unwrap(), held());
    assert!(after.0 <= before.0 + 3 && after.1 <= before.1 + 3, "{before:?} {after:?}");
    drop(sender);
    assert_eq!(residue().iter().filter(|name| name.contains("stalled")).count(), 0);
}

/// Receives the rest of what one sender sends until it dies: the last number.
fn outlive(receiver: &mut Receiver, all: bool, (mut last, pid): (u64, u32)) -> u64 {
    let death = loop {
        match receiver.recv() {
            Ok(string) => {
                let number = number(&string);
                assert!(number > last && (!all || number == last + 1), "{number} after {last}");
                last = number;
            }
            Err(Error::Lagged(lost)) => assert!(lost > 0 && !all),
            Err(error) => break error,
        }
    };
    assert_eq!(death, Error::PeerDied { pid });
    assert!(matches!(receiver.try_recv(), Ok(None)), "said once");
    last
}

#[test]
fn receivers_outlive_their_senders() {
    let _beside = beside();
    let address = format!("ipc://{}", name("senders"));
    let open = |lag| Receiver::open(&address, lag, &config()).unwrap();
    let (mut all, mut newest) = (open(Lag::Block), open(Lag::SkipToMark));
    let mut dice = Dice(3);
    for _ in 0..15 {
        let sender = Other::start(&["say", &address]);
        let pid = sender.pid();
        assert_eq!(number(&all.recv().unwrap()), 0, "from the first on");
        let first = number(&newest.recv().unwrap());
        let reader = std::thread::spawn(move || {
            let last = outlive(&mut newest, false, (first, pid));
            (newest, last)
        });
        let pause = Duration::from_micros(dice.roll(3_000));
        let killer = std::thread::spawn(move || {
            std::thread::sleep(pause);
            sender.kill();
        });
        let last = outlive(&mut all, true, (0, pid));
        killer.join().unwrap();
        let seen;
        (newest, seen) = reader.join().unwrap();
        assert!(seen <= last);
    }
}

#[test]
fn who_joins_late_begins_with_a_mark() {
    let _beside = beside();
    let address = format!("ipc://{}", name("mark"));
    let mut sender = Sender::open(&address, &config()).unwrap();
    (0..10).for_each(|number| sender.send(&string(number)).unwrap());
    sender.send_marked(&string(10)).unwrap();
    sender.send(&string(11)).unwrap();
    for lag in [Lag::Block, Lag::Skip, Lag::SkipToMark] {
        let mut receiver = Receiver::open_at_mark(&address, lag, &config()).unwrap();
        wait_for(&mut sender, 1);
        let string = receiver.recv().unwrap();
        assert!(string.is_marked() && number(&string) == 10, "{lag:?}");
        drop(string);
        assert_eq!(number(&receiver.recv().unwrap()), 11);
        assert!(receiver.try_recv().unwrap().is_none());
        drop(receiver);
        wait_for(&mut sender, 0);
    }
}

#[test]
fn who_means_something_else_or_is_too_many_is_told_so() {
    let _beside = beside();
    let address = format!("ipc://{}", name("wrong"));
    let mut sender = Sender::open(&address, &config()).unwrap();
    let open = || Receiver::open(&address, Lag::Skip, &config());
    let code = |error: Error| error.code();
    let other = Sender::open(&address, &config()).map(drop);
    assert_eq!(other.map_err(code), Err("crowded"));
    let plain = broadcast::Receiver::<u64>::open(&address, Lag::Skip, &config()).map(drop);
    assert_eq!(plain.map_err(code), Err("pattern_mismatch"));
    let mut receivers = [0; 4].map(|_| open().unwrap());
    assert_eq!(open().map(drop), Err(Error::Crowded(4)));
    wait_for(&mut sender, 4);
    drop(sender);
    assert_eq!(receivers[0].recv().map(drop), Err(FINISHED));
}
