//! File descriptors of receiving ends, with epoll and with an executor's reactor.
#![cfg(not(any(loom, miri)))]

use std::os::fd::AsFd;
use std::time::Duration;

use psyne_channel::broadcast::Lag;
use psyne_channel::{Config, Ready, Watched, broadcast, bytes, event, latest, mpsc, spsc};
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use tokio::io::unix::AsyncFd;

fn is_readable(watched: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(watched, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
}

/// `take` says whether it took something.
fn goes_through<R: Ready>(
    receiver: R,
    mut send: impl FnMut(),
    mut take: impl FnMut(&mut R) -> bool,
) -> Watched<R> {
    let mut watched = Watched::new(receiver).unwrap();
    send();
    assert!(!is_readable(&watched), "it was not asked for");
    assert!(watched.arm().unwrap() && is_readable(&watched));
    assert!(take(&mut watched) && !take(&mut watched));
    assert!(!watched.arm().unwrap() && !is_readable(&watched));
    for _ in 0..3 {
        send();
    }
    assert!(is_readable(&watched), "it was armed");
    while take(&mut watched) {}
    assert!(!watched.arm().unwrap() && !is_readable(&watched));
    watched
}

#[test]
fn every_receiving_end_has_one() {
    let config = Config::default();
    let (mut sender, receiver) = spsc::channel::<u64>(&config).unwrap();
    goes_through(receiver, || sender.send(7).unwrap(), |r| r.try_recv().unwrap().is_some());
    let (mut sender, receiver) = mpsc::channel::<u64>(&config).unwrap();
    goes_through(receiver, || sender.send(7).unwrap(), |r| r.try_recv().unwrap().is_some());
    let (mut sender, receiver) = bytes::channel(&config).unwrap();
    goes_through(receiver, || sender.send(b"7").unwrap(), |r| r.try_recv().unwrap().is_some());
    let mut sender = broadcast::channel::<u64>(&config).unwrap();
    let receiver = sender.subscribe(Lag::Skip).unwrap();
    goes_through(receiver, || sender.send(7).unwrap(), |r| r.try_recv().unwrap().is_some());
    let mut sender = broadcast::bytes::channel(&config).unwrap();
    let receiver = sender.subscribe(Lag::Skip).unwrap();
    goes_through(receiver, || sender.send(b"7").unwrap(), |r| r.try_recv().unwrap().is_some());
    let (mut writer, reader) = latest::channel::<u64>(&config).unwrap();
    goes_through(reader, || writer.set(7), |r| r.try_changed().unwrap().is_some());
    let (mut notifier, listener) = event::channel(&config).unwrap();
    goes_through(listener, || notifier.notify(7), |l| l.try_wait().unwrap().is_some());
}

#[test]
fn a_sender_that_ends_is_told_too() {
    let (mut sender, receiver) = spsc::channel::<u64>(&Config::default()).unwrap();
    let send = || sender.send(7).unwrap();
    let mut watched = goes_through(receiver, send, |r| r.try_recv().unwrap().is_some());
    drop(sender);
    assert!(is_readable(&watched));
    assert_eq!(watched.arm().unwrap_err().code(), "closed");
    assert!(is_readable(&watched));
    assert_eq!(watched.into_inner().recv().unwrap_err().code(), "closed");
}

#[test]
fn epoll_sleeps_until_one_of_many_has_something() {
    const MESSAGES: u64 = 1_000;
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let (senders, mut receivers): (Vec<_>, Vec<_>) = (0..3_u64)
        .map(|index| {
            let (sender, receiver) = spsc::channel::<u64>(&Config::default()).unwrap();
            let watched = Watched::new(receiver).unwrap();
            let data = epoll::EventData::new_u64(index);
            epoll::add(&set, &watched, data, epoll::EventFlags::IN).unwrap();
            (sender, (watched, 0))
        })
        .unzip();
    let threads = senders.into_iter().map(|mut sender| {
        std::thread::spawn(move || (0..MESSAGES).for_each(|number| sender.send(number).unwrap()))
    });
    let threads: Vec<_> = threads.collect();
    let mut open = receivers.len();
    receivers.iter_mut().for_each(|(watched, _)| assert!(watched.arm().is_ok() || open > 0));
    while open > 0 {
        let mut events = Vec::with_capacity(8);
        epoll::wait(&set, rustix::buffer::spare_capacity(&mut events), None).unwrap();
        for event in events {
            let (watched, next) = &mut receivers[event.data.u64() as usize];
            for number in watched.drain() {
                assert_eq!(number, *next);
                *next += 1;
            }
            if let Err(error) = watched.arm() {
                assert_eq!((error.code(), *next), ("closed", MESSAGES));
                epoll::delete(&set, &*watched).unwrap();
                open -= 1;
            }
        }
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[tokio::test(flavor = "current_thread")]
#[expect(deprecated, reason = "its successor is unsafe for descriptors that could be swapped")]
async fn an_executor_that_knows_descriptors_needs_nothing_else() {
    const MESSAGES: u64 = 1_000;
    let (mut sender, receiver) = spsc::channel::<u64>(&Config::default()).unwrap();
    let mut watched = AsyncFd::new(Watched::new(receiver).unwrap()).unwrap();
    let thread = std::thread::spawn(move || {
        for number in 0..MESSAGES {
            sender.send(number).unwrap();
            if number % 100 == 0 {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    });
    let mut next = 0;
    while next < MESSAGES {
        if watched.get_mut().arm().unwrap() {
            for number in watched.get_mut().drain() {
                assert_eq!(number, next);
                next += 1;
            }
        } else {
            watched.readable().await.unwrap().clear_ready();
        }
    }
    thread.join().unwrap();
}
