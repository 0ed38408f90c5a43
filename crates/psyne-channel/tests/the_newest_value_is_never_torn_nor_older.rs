//! The latest value, alone and while threads race.
#![cfg(not(loom))]

mod common;

use std::time::Duration;

use common::races;
use psyne_channel::{Config, Error, Wait, latest};

fn config(wait: Wait) -> Config {
    Config { wait, ..Config::default() }
}

#[test]
fn readers_see_what_was_written_last() {
    let (mut writer, mut reader) = latest::channel::<[u16; 5]>(&Config::default()).unwrap();
    assert_eq!((reader.get(), reader.try_changed()), (None, Ok(None)));
    for number in 0..40 {
        writer.set([number; 5]);
        let mut other = reader.clone();
        assert_eq!(reader.try_changed(), Ok(Some([number; 5])));
        assert_eq!((reader.try_changed(), reader.get()), (Ok(None), Some([number; 5])));
        assert_eq!(other.try_changed(), Ok(Some([number; 5])));
    }
    writer.set([7; 5]);
    drop(writer);
    assert_eq!(reader.try_changed(), Ok(Some([7; 5])));
    assert_eq!(reader.try_changed().unwrap_err().code(), "closed");
    assert_eq!(reader.get(), Some([7; 5]));
}

#[test]
fn a_writer_that_races_is_never_seen_half_done() {
    const VALUES: u64 = races(200_000);
    let (mut writer, reader) = latest::channel::<[u64; 20]>(&Config::default()).unwrap();
    let threads = [reader.clone(), reader].map(|mut reader| {
        std::thread::spawn(move || {
            let mut last = 0;
            while last < VALUES {
                if let Some(value) = reader.get() {
                    assert!(value[0] >= last && value.iter().all(|word| *word == value[0]));
                    last = value[0];
                }
            }
        })
    });
    for number in 1..=VALUES {
        writer.set([number; 20]);
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

const CHANGES: u64 = races(20_000);

#[test]
fn readers_that_wait_see_the_last_value_however_they_wait() {
    for wait in [Wait::Spin, Wait::Adaptive, Wait::Park] {
        let (mut writer, reader) = latest::channel::<[u64; 9]>(&config(wait)).unwrap();
        let threads = [reader.clone(), reader.clone(), reader].map(|mut reader| {
            std::thread::spawn(move || {
                let mut last = 0;
                loop {
                    match reader.changed() {
                        Ok(value) => {
                            assert!(value[0] > last && value.iter().all(|word| *word == value[0]));
                            last = value[0];
                        }
                        Err(error) => break assert_eq!(error.code(), "closed"),
                    }
                }
                last
            })
        });
        for number in 1..=CHANGES {
            writer.set([number; 9]);
        }
        drop(writer);
        let last = threads.map(|thread| thread.join().unwrap());
        assert_eq!(last, [CHANGES; 3], "{wait:?}");
    }
}

#[test]
fn a_wait_ends_in_time_and_at_the_end() {
    for wait in [Wait::Spin, Wait::Adaptive, Wait::Park] {
        let (mut writer, mut reader) = latest::channel::<u8>(&config(wait)).unwrap();
        assert_eq!(reader.changed_timeout(Duration::from_millis(5)), Err(Error::TimedOut));
        writer.set(1);
        assert_eq!(reader.changed_timeout(Duration::from_secs(60)), Ok(1));
        let thread = std::thread::spawn(move || reader.changed());
        std::thread::sleep(Duration::from_millis(5));
        drop(writer);
        assert_eq!(thread.join().unwrap().unwrap_err().code(), "closed");
    }
}

#[test]
#[cfg_attr(miri, ignore = "a large value is many steps")]
fn large_values_are_whole() {
    type Large = [u64; 8 << 10];
    let (mut writer, mut reader) = latest::channel::<Large>(&config(Wait::Adaptive)).unwrap();
    let thread = std::thread::spawn(move || {
        let mut last = 0;
        while last < 200 {
            let value = reader.changed().unwrap();
            assert!(value[0] > last && value.iter().all(|word| *word == value[0]));
            last = value[0];
        }
    });
    for number in 1..=200 {
        writer.replace(&[number; 8 << 10]);
    }
    thread.join().unwrap();
}
