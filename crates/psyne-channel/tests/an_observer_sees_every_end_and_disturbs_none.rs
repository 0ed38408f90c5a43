//! Channels of real processes, looked at from outside.
#![cfg(not(miri))] // which starts no processes

mod process;

use std::io::Read;
use std::time::{Duration, Instant};

use process::{Other, job, name};
use psyne_channel::observe::{self, End, Process, State};
use psyne_channel::{Config, Full, Wait, broadcast, spsc};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Pid, Signal, kill_process};

type Message = [u64; 4];

/// Longer than any machine takes to start a process.
const PATIENCE: Duration = Duration::from_secs(60);

fn config() -> Config {
    Config { slots: 8, wait: Wait::Park, full: Full::Refuse, ..Config::default() }
}

#[test]
#[ignore = "the other process of the tests below"]
fn child() {
    let Some(words) = job() else { return };
    let [what, address] = &words[..] else { panic!("what, and where") };
    let sender = (what == "send").then(|| {
        let mut sender = spsc::Sender::<Message>::open(address, &config()).unwrap();
        for number in 0..5 {
            sender.send([number; 4]).unwrap();
        }
        while sender.send([9; 4]).is_ok() {}
        sender
    });
    let _receiver = (what == "listen").then(|| {
        broadcast::Receiver::<Message>::open(address, broadcast::Lag::Block, &config()).unwrap()
    });
    // Until the test has seen enough.
    let _ = std::io::stdin().read(&mut [0]);
    drop(sender);
}

/// Looks until something is to be seen.
fn seen<T>(what: impl Fn(&[Process]) -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let processes = observe::processes().unwrap();
        if let Some(seen) = what(&processes) {
            return seen;
        }
        assert!(Instant::now() < deadline, "not seen within a minute: {processes:#?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn end(processes: &[Process], pid: u32, name: &str) -> Option<End> {
    let process = processes.iter().find(|process| process.pid == pid)?;
    process.ends.iter().find(|end| end.name == name).cloned()
}

#[test]
fn both_ends_of_a_queue_say_what_they_counted() {
    let name = name("observed");
    let address = format!("ipc://{name}");
    let sender = Other::start(&["send", &address]);
    // Before anybody receives: it waits, with a full ring.
    let alone = seen(|all| end(all, sender.pid(), &name).filter(|end| end.words.lost > 0));
    assert_eq!((alone.pattern.as_str(), alone.layout.size), ("queue", 32));
    let slots = alone.ring_slots.unwrap();
    assert!(!alone.hosts && alone.others.is_empty());
    assert_eq!((alone.words.messages(), alone.words.lost), (slots, 1));
    let mut receiver = spsc::Receiver::<Message>::open(&address, &config()).unwrap();
    assert_eq!(receiver.recv().unwrap(), [0; 4]);
    assert_eq!(receiver.recv().unwrap(), [1; 4]);
    let us = std::process::id();
    let ours = seen(|all| end(all, us, &name).filter(|end| !end.others.is_empty()));
    assert!(ours.hosts && ours.ring_slots.is_none());
    let other = ours.others[0];
    assert_eq!((other.pid, other.theirs.messages()), (sender.pid(), slots));
    assert_eq!(other.ours.messages(), 2);
    let theirs = seen(|all| end(all, sender.pid(), &name).filter(|end| !end.others.is_empty()));
    assert_eq!((theirs.others[0].pid, theirs.others[0].theirs.messages()), (us, 2));
    sender.finish();
    while receiver.recv().is_ok() {}
    seen(|all| end(all, us, &name)?.others.is_empty().then_some(()));
}

#[test]
fn who_sleeps_is_seen_asleep_and_private_names_are_seen_as_such() {
    let name = name("asleep");
    let address = format!("memory://{name}");
    let mut receiver = spsc::Receiver::<Message>::open(&address, &config()).unwrap();
    let mut sender = spsc::Sender::<Message>::open(&address, &config()).unwrap();
    let thread = std::thread::spawn(move || {
        let first = receiver.recv().unwrap();
        (first, receiver)
    });
    let asleep = seen(|all| {
        let us = all.iter().find(|process| process.pid == std::process::id())?;
        let receives = |end: &&End| end.name == name && end.ring_slots.is_none();
        let end = us.ends.iter().find(receives)?;
        end.others.iter().any(|other| other.ours.state() == State::Asleep).then(|| end.clone())
    });
    let ours = asleep.others[0].ours;
    assert!(asleep.private && ours.sleeps > 0 && ours.waits > 0, "{asleep:?}");
    sender.send([3; 4]).unwrap();
    assert_eq!(thread.join().unwrap().0, [3; 4]);
}

#[test]
fn readers_of_a_broadcast_are_seen_one_by_one() {
    let name = name("many");
    let address = format!("ipc://{name}");
    let mut sender = broadcast::Sender::<Message>::open(&address, &config()).unwrap();
    let others = [(); 2].map(|()| Other::start(&["listen", &address]));
    let deadline = Instant::now() + PATIENCE;
    while sender.receivers() < 2 {
        assert!(Instant::now() < deadline, "both come within a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
    sender.send([1; 4]).unwrap();
    let end = seen(|all| end(all, std::process::id(), &name));
    assert_eq!(end.words.messages(), 1);
    let mut pids: Vec<u32> = end.others.iter().map(|other| other.pid).collect();
    let mut expected = others.each_ref().map(Other::pid);
    pids.sort_unstable();
    expected.sort_unstable();
    assert_eq!(pids, expected);
    assert!(end.others.iter().all(|other| other.theirs.messages() == 0));
    others.into_iter().for_each(Other::finish);
}

#[test]
fn who_is_stopped_is_said_not_to_answer() {
    let name = name("stopped");
    let other = Other::start(&["send", &format!("ipc://{name}")]);
    seen(|all| end(all, other.pid(), &name));
    let pid = Pid::from_raw(other.pid() as i32).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let silent = |all: &[Process]| {
        let process = all.iter().find(|process| process.pid == other.pid())?;
        (!process.answered && process.ends.is_empty()).then_some(())
    };
    seen(silent);
    kill_process(pid, Signal::CONT).unwrap();
    seen(|all| end(all, other.pid(), &name));
    other.finish();
}

/// A connection to our own window.
fn look_in() -> rustix::io::Result<rustix::fd::OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let kind = SocketType::SEQPACKET;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
    let user = rustix::process::geteuid().as_raw();
    let window = format!("psyne/{user}/:{}", std::process::id());
    let window = SocketAddrUnix::new_abstract_name(window.as_bytes())?;
    rustix::net::connect(&socket, &window).map(|()| socket)
}

#[test]
fn observers_that_stay_shout_or_hang_up_disturb_nobody() {
    let name = name("shouted");
    let address = format!("memory://{name}");
    let mut receiver = spsc::Receiver::<Message>::open(&address, &config()).unwrap();
    let mut sender = spsc::Sender::<Message>::open(&address, &config()).unwrap();
    let mut kept = Vec::new();
    for turn in 0..300_u64 {
        if let Ok(socket) = look_in() {
            let _ = rustix::net::send(&socket, &[turn as u8; 4096], SendFlags::NOSIGNAL);
            if turn % 3 == 0 {
                kept.push(socket);
            }
        }
        sender.send([turn; 4]).unwrap();
        assert_eq!(receiver.recv().unwrap(), [turn; 4]);
    }
    let us = std::process::id();
    let sends = seen(|all| {
        let process = all.iter().find(|process| process.pid == us)?;
        process.ends.iter().find(|end| end.name == name && end.ring_slots.is_some()).cloned()
    });
    assert_eq!(sends.words.messages(), 300);
    drop(kept);
}
