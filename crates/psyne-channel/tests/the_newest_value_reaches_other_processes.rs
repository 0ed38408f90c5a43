//! Latest values between real processes: never torn, never older, and another writer may go on.
#![cfg(not(miri))] // which starts no processes

mod process;

use std::time::Duration;

use process::{Dice, Other, job, name};
use psyne_channel::latest::{Reader, Writer};
use psyne_channel::{Config, Error, Wait};

type Value = [u64; 40];

fn parked() -> Config {
    Config { wait: Wait::Park, ..Config::default() }
}

#[test]
#[ignore = "the other process of the tests below"]
fn child() {
    match job().as_deref() {
        Some([what, address, turn]) if what == "write" => {
            let mut writer = Writer::<Value>::open(address, &parked()).unwrap();
            let turn: u64 = turn.parse().unwrap();
            for number in 1_u64.. {
                writer.set([turn << 32 | number; 40]);
            }
        }
        Some([what, address]) if what == "slowly" => {
            let mut writer = Writer::<Value>::open(address, &parked()).unwrap();
            for number in 1..=20 {
                writer.set([number; 40]);
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        _ => {}
    }
}

fn check(value: Value, last: &mut u64) {
    assert_eq!(value, [value[0]; 40], "torn");
    assert!(value[0] >= *last, "older");
    *last = value[0];
}

#[test]
fn readers_go_on_with_the_next_writer() {
    let address = format!("ipc://{}", name("latest"));
    let mut reader = Reader::<Value>::open(&address, &parked()).unwrap();
    assert_eq!(reader.get(), None, "nobody is there yet");
    let (mut last, mut dice) = (0, Dice(5));
    for turn in 1..=10 {
        let writer = Other::start(&["write", &address, &turn.to_string()]);
        let pid = writer.pid();
        check(reader.changed().unwrap(), &mut last);
        assert_eq!(last >> 32, turn);
        let pause = Duration::from_micros(dice.roll(3_000));
        let killer = std::thread::spawn(move || {
            std::thread::sleep(pause);
            writer.kill();
        });
        let death = loop {
            match reader.changed() {
                Ok(value) => check(value, &mut last),
                Err(error) => break error,
            }
        };
        assert_eq!(death, Error::PeerDied { pid });
        killer.join().unwrap();
        assert_eq!(reader.get().map(|value| value[0]), Some(last), "what it left stays");
    }
}

#[test]
fn readers_that_sleep_are_woken_and_clones_read_on_their_own() {
    let address = format!("ipc://{}", name("woken"));
    let mut reader = Reader::<Value>::open(&address, &parked()).unwrap();
    let writer = Other::start(&["slowly", &address]);
    let mut last = 0;
    check(reader.changed().unwrap(), &mut last);
    let mut other = reader.clone();
    while let Ok(value) = reader.changed() {
        check(value, &mut last);
    }
    assert_eq!(last, 20, "the last was seen");
    assert_eq!(other.get().map(|value| value[0]), Some(20));
    writer.finish();
}
