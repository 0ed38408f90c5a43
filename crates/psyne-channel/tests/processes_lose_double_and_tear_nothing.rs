//! Queues between real processes: everything arrives once, in order and whole.
#![cfg(not(miri))] // which starts no processes

mod process;

use std::time::Duration;

use process::{Dice, Other, job, name};
use psyne_channel::{Config, Error, Message, Reason, Wait, bytes, spsc};

const MESSAGES: u64 = 100_000;

#[derive(Clone, Copy, Debug, PartialEq, Message)]
#[message(crate = psyne_channel)]
#[repr(C)]
struct Line([u64; 7]);

#[derive(Clone, Copy, Debug, PartialEq, Message)]
#[message(crate = psyne_channel)]
#[repr(C)]
struct Wide([u64; 30]);

trait Numbered: Message + PartialEq + std::fmt::Debug {
    fn of(number: u64) -> Self;
}

impl Numbered for Line {
    fn of(number: u64) -> Self {
        Self([number; 7])
    }
}

impl Numbered for Wide {
    fn of(number: u64) -> Self {
        Self([number; 30])
    }
}

fn config(wait: &str) -> Config {
    let wait = match wait {
        "spin" => Wait::Spin,
        "park" => Wait::Park,
        _ => Wait::Adaptive,
    };
    let mut config = Config::default();
    (config.wait, config.slots) = (wait, 64);
    config
}

fn string(number: u64) -> Vec<u8> {
    let bytes = Dice(number * 2 + 1).roll(900) as usize;
    (0..bytes).map(|at| (number as usize * 31 + at) as u8).collect()
}

fn send<T: Numbered>(address: &str, wait: &str) {
    let mut sender = spsc::Sender::<T>::open(address, &config(wait)).unwrap();
    for number in 0..MESSAGES {
        sender.send(T::of(number)).unwrap();
    }
    // A receiver that has not come yet would find nothing.
    while sender.unread().is_ok_and(|unread| unread > 0) {
        std::thread::yield_now();
    }
}

fn receive<T: Numbered>(address: &str, wait: &str) {
    let mut receiver = spsc::Receiver::<T>::open(address, &config(wait)).unwrap();
    for number in 0..MESSAGES {
        assert_eq!(receiver.recv().unwrap(), T::of(number));
    }
    assert_eq!(receiver.recv(), Err(Error::Closed(Reason::Finished)));
}

fn send_strings(address: &str, wait: &str) {
    let mut sender = bytes::Sender::open(address, &config(wait)).unwrap();
    (0..MESSAGES / 4).for_each(|number| sender.send(&string(number)).unwrap());
    while sender.unread().is_ok_and(|unread| unread > 0) {
        std::thread::yield_now();
    }
}

fn receive_strings(address: &str, wait: &str) {
    let mut receiver = bytes::Receiver::open(address, &config(wait)).unwrap();
    for number in 0..MESSAGES / 4 {
        assert_eq!(receiver.recv().unwrap()[..], string(number));
    }
    assert_eq!(receiver.recv().map(drop), Err(Error::Closed(Reason::Finished)));
}

fn work(job: &str, address: &str, wait: &str) {
    match job {
        "send-line" => send::<Line>(address, wait),
        "receive-line" => receive::<Line>(address, wait),
        "send-wide" => send::<Wide>(address, wait),
        "receive-wide" => receive::<Wide>(address, wait),
        "send-bytes" => send_strings(address, wait),
        "receive-bytes" => receive_strings(address, wait),
        other => panic!("no such job: {other}"),
    }
}

#[test]
#[ignore = "the other process of the tests below"]
fn child() {
    if let Some(job) = job() {
        work(&job[0], &job[1], &job[2]);
    }
}

fn both(kind: &str, wait: &str) {
    for (ours, theirs) in [("receive", "send"), ("send", "receive")] {
        let address = format!("ipc://{}", name(&format!("{kind}-{wait}-{ours}")));
        let other = Other::start(&[&format!("{theirs}-{kind}"), &address, wait]);
        if Dice(kind.len() as u64 + wait.len() as u64).roll(2) == 0 {
            std::thread::sleep(Duration::from_millis(30));
        }
        work(&format!("{ours}-{kind}"), &address, wait);
        other.finish();
    }
}

#[test]
fn lines_arrive() {
    ["adaptive", "park"].into_iter().for_each(|wait| both("line", wait));
}

#[test]
fn wide_messages_arrive() {
    ["adaptive", "park"].into_iter().for_each(|wait| both("wide", wait));
}

#[test]
fn strings_arrive() {
    both("bytes", "adaptive");
}

#[test]
fn one_name_has_one_pattern_one_type_and_one_end_of_each_kind() {
    let config = Config::default();
    for scheme in ["ipc", "memory"] {
        let address = format!("{scheme}://{}", name("terms"));
        let mut receiver = spsc::Receiver::<Line>::open(&address, &config).unwrap();
        let crowded = spsc::Receiver::<Line>::open(&address, &config);
        assert_eq!(crowded.map(drop), Err(Error::Crowded(1)));
        let layout = spsc::Sender::<[u64; 7]>::open(&address, &config);
        assert_eq!(layout.map(drop), Err(Error::LayoutMismatch));
        let pattern = bytes::Sender::open(&address, &config);
        assert_eq!(pattern.map(drop), Err(Error::PatternMismatch));
        let mut sender = spsc::Sender::<Line>::open(&address, &config).unwrap();
        let crowded = spsc::Sender::<Line>::open(&address, &config);
        assert_eq!(crowded.map(drop), Err(Error::Crowded(1)));
        sender.send(Line::of(5)).unwrap();
        assert_eq!(receiver.recv(), Ok(Line::of(5)), "the others disturbed nothing");
        drop(receiver);
        assert_eq!(sender.send(Line::of(6)), Err(Error::Closed(Reason::Finished)));
    }
}

#[test]
fn a_refusal_reaches_who_came_first() {
    let config = Config { slots: 2, ..Config::default() };
    let address = format!("ipc://{}", name("first"));
    let mut sender = spsc::Sender::<Line>::open(&address, &config).unwrap();
    let _receiver = spsc::Receiver::<Wide>::open(&address, &config).unwrap();
    let refused = (0..3).find_map(|number| sender.send(Line::of(number)).err());
    assert_eq!(refused, Some(Error::LayoutMismatch));
}
