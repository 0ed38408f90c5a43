//! All orders in which two threads can run the protocols of a queue, by loom:
//! `RUSTFLAGS="--cfg loom" cargo test -p psyne-channel --release --test every_interleaving`.
//!
//! Not covered: the asymmetric fence (both halves are full fences here) and real memory.
#![cfg(loom)]

use psyne_channel::broadcast::{self, Lag};
use psyne_channel::{
    Config, Error, Full, Message, Wait, bytes, event, latest, mpmc, mpsc, request, spmc, spsc,
};

/// Long enough to go around the ring of two, short enough for every order to be tried.
const MESSAGES: u64 = 3;
/// More preemptions than these take minutes.
const PREEMPTIONS_MAX: usize = 2;

fn every_order(test: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(PREEMPTIONS_MAX);
    model.check(test);
}

fn ring(wait: Wait, full: Full) -> Config {
    let mut config = Config::default();
    (config.slots, config.wait, config.full) = (2, wait, full);
    config.calls_max = 2;
    config
}

#[derive(Clone, Copy, Debug, PartialEq, Message)]
#[message(crate = psyne_channel)]
#[repr(C)]
struct Filled([u64; 8]);

#[derive(Clone, Copy, Debug, PartialEq, Message)]
#[message(crate = psyne_channel)]
#[repr(C)]
struct Wide([u64; 9]);

fn looking<T: Message + PartialEq + std::fmt::Debug>(of: fn(u64) -> T) {
    every_order(move || {
        let (mut sender, mut receiver) =
            spsc::channel::<T>(&ring(Wait::Spin, Full::Refuse)).unwrap();
        let thread = loom::thread::spawn(move || {
            for number in 0..MESSAGES {
                while let Err(error) = sender.try_send(of(number)) {
                    assert_eq!(error, Error::Full);
                    loom::thread::yield_now();
                }
            }
        });
        let mut expected = 0;
        loop {
            match receiver.try_recv() {
                Ok(Some(message)) => {
                    assert_eq!(message, of(expected));
                    expected += 1;
                }
                Ok(None) => loom::thread::yield_now(),
                Err(error) => break assert_eq!(error.code(), "closed"),
            }
        }
        assert_eq!(expected, MESSAGES);
        thread.join().unwrap();
    });
}

#[test]
fn a_line_is_whole_and_in_order() {
    looking::<u64>(|number| number);
}

#[test]
fn a_wide_slot_is_whole_and_in_order() {
    looking::<Wide>(|number| Wide([number; 9]));
}

#[test]
fn a_full_line_is_whole_and_in_order() {
    looking::<Filled>(|number| Filled([number; 8]));
}

fn pushing<T: Message + PartialEq + std::fmt::Debug>(of: fn(u64) -> T) {
    every_order(move || {
        let (mut sender, mut receiver) =
            spsc::channel::<T>(&ring(Wait::Spin, Full::Refuse)).unwrap();
        let thread = loom::thread::spawn(move || {
            let mut batch = sender.batch(2).unwrap();
            batch.push(of(1)).unwrap();
            batch.push(of(2)).unwrap();
            batch.commit().unwrap();
        });
        let mut all = Vec::new();
        while all.len() < 2 {
            all.extend(receiver.drain());
            loom::thread::yield_now();
        }
        assert_eq!(all, [of(1), of(2)]);
        thread.join().unwrap();
    });
}

#[test]
fn batches_arrive_as_they_were_pushed() {
    pushing::<u64>(|number| number);
    pushing::<Filled>(|number| Filled([number; 8]));
    // As if nothing had come: the last word mixed with that of the first lap is that of a new ring.
    pushing::<Filled>(|number| Filled([number, 0, 0, 0, 0, 0, 0, 0x9e37_79b9_7f4a_7c15]));
}

fn pushing_and_dropping<T: Message + PartialEq + std::fmt::Debug>(of: fn(u64) -> T) {
    every_order(move || {
        let (mut sender, mut receiver) =
            spsc::channel::<T>(&ring(Wait::Spin, Full::Refuse)).unwrap();
        let thread = loom::thread::spawn(move || {
            sender.try_send(of(1)).unwrap();
            let mut batch = sender.batch(1).unwrap();
            batch.push(of(7)).unwrap();
            drop(batch);
            sender.try_send(of(2)).unwrap();
        });
        for expected in 1..=2 {
            let received = loop {
                match receiver.try_recv().unwrap() {
                    Some(message) => break message,
                    None => loom::thread::yield_now(),
                }
            };
            assert_eq!(received, of(expected));
        }
        thread.join().unwrap();
    });
}

#[test]
fn what_was_pushed_and_dropped_is_no_message() {
    pushing_and_dropping::<u64>(|number| number);
    pushing_and_dropping::<Filled>(|number| Filled([number; 8]));
}

#[test]
fn who_sleeps_is_woken() {
    every_order(|| {
        let (mut sender, mut receiver) =
            spsc::channel::<u64>(&ring(Wait::Park, Full::Block)).unwrap();
        let thread = loom::thread::spawn(move || {
            for number in 0..MESSAGES {
                sender.send(number).unwrap();
            }
        });
        for number in 0..MESSAGES {
            assert_eq!(receiver.recv(), Ok(number));
        }
        assert_eq!(receiver.recv().unwrap_err().code(), "closed");
        thread.join().unwrap();
    });
}

#[test]
fn a_sender_that_wants_several_slots_is_woken_for_the_last() {
    every_order(|| {
        let (mut sender, mut receiver) =
            spsc::channel::<u64>(&ring(Wait::Park, Full::Block)).unwrap();
        let thread = loom::thread::spawn(move || {
            for _ in 0..2 {
                let mut batch = sender.batch(2).unwrap();
                batch.push(1).unwrap();
                batch.push(1).unwrap();
                batch.commit().unwrap();
            }
        });
        for _ in 0..4 {
            assert_eq!(receiver.recv(), Ok(1));
        }
        thread.join().unwrap();
    });
}

#[test]
fn a_sleeping_sender_hears_that_nobody_receives() {
    every_order(|| {
        let (mut sender, receiver) = spsc::channel::<u64>(&ring(Wait::Park, Full::Block)).unwrap();
        let thread = loom::thread::spawn(move || drop(receiver));
        let end = (0..MESSAGES).find_map(|number| sender.send(number).err());
        assert_eq!(end.unwrap().code(), "closed");
        thread.join().unwrap();
    });
}

#[test]
fn strings_are_whole() {
    every_order(|| {
        let mut config = ring(Wait::Spin, Full::Refuse);
        config.slots = 4;
        let (mut sender, mut receiver) = bytes::channel(&config).unwrap();
        let thread = loom::thread::spawn(move || {
            for number in 0..3_u8 {
                while sender.send(&[number; 40]).is_err() {
                    loom::thread::yield_now();
                }
            }
        });
        let mut expected = 0;
        while expected < 3 {
            match receiver.try_recv().unwrap() {
                Some(bytes) => {
                    assert_eq!(*bytes, [expected; 40]);
                    expected += 1;
                }
                None => loom::thread::yield_now(),
            }
        }
        thread.join().unwrap();
    });
}

#[test]
fn a_receiver_that_sleeps_hears_each_sender_and_each_that_joins() {
    every_order(|| {
        let (mut sender, mut receiver) =
            mpsc::channel::<u64>(&ring(Wait::Park, Full::Block)).unwrap();
        let thread = loom::thread::spawn(move || {
            let mut other = sender.try_clone().unwrap();
            other.send(1).unwrap();
            sender.send(2).unwrap();
        });
        let mut all = [receiver.recv().unwrap(), receiver.recv().unwrap()];
        all.sort_unstable();
        assert_eq!(all, [1, 2]);
        assert_eq!(receiver.recv().unwrap_err().code(), "closed");
        thread.join().unwrap();
    });
}

#[test]
fn two_who_claim_never_have_the_same_and_never_half() {
    every_order(|| {
        let (mut sender, mut receiver) =
            spmc::channel::<[u64; 2]>(&ring(Wait::Spin, Full::Refuse)).unwrap();
        let mut other = receiver.try_clone().unwrap();
        let take = |receiver: &mut spmc::Receiver<[u64; 2]>| {
            let found = receiver.try_recv().ok().flatten();
            found.inspect(|message| assert_eq!(message[0], message[1]))
        };
        let thread = loom::thread::spawn(move || take(&mut other));
        let mut sent = 0;
        for number in 1..=MESSAGES {
            sent += u64::from(sender.try_send([number; 2]).is_ok());
        }
        drop(sender);
        let theirs = thread.join().unwrap();
        let mut all: Vec<_> = theirs.into_iter().collect();
        while let Some(message) = take(&mut receiver) {
            assert!(theirs.is_none_or(|theirs| theirs != message), "doubled");
            all.push(message);
        }
        assert_eq!(all.len() as u64, sent);
    });
}

#[test]
fn each_of_many_that_sleep_is_woken() {
    every_order(|| {
        let (mut sender, mut receiver) =
            mpmc::channel::<u64>(&ring(Wait::Park, Full::Block)).unwrap();
        let mut other = receiver.try_clone().unwrap();
        let thread = loom::thread::spawn(move || other.recv().unwrap());
        sender.send(1).unwrap();
        sender.send(2).unwrap();
        let ours = receiver.recv().unwrap();
        assert_eq!(ours + thread.join().unwrap(), 3);
    });
}

#[test]
fn a_sender_that_sleeps_is_woken_by_who_claims() {
    every_order(|| {
        let (mut sender, mut receiver) =
            spmc::channel::<u64>(&ring(Wait::Park, Full::Block)).unwrap();
        let thread = loom::thread::spawn(move || {
            for number in 0..MESSAGES {
                sender.send(number).unwrap();
            }
        });
        for number in 0..MESSAGES {
            assert_eq!(receiver.recv(), Ok(number));
        }
        assert_eq!(receiver.recv().unwrap_err().code(), "closed");
        thread.join().unwrap();
    });
}

#[test]
fn who_asks_and_sleeps_is_answered() {
    every_order(|| {
        let (mut client, mut server) =
            request::channel::<u64, u64>(&ring(Wait::Park, Full::Block)).unwrap();
        let thread = loom::thread::spawn(move || server.serve(|request| request + 1).unwrap());
        assert_eq!(client.call(1), Ok(2));
        assert_eq!(client.call(2), Ok(3));
        drop(client);
        thread.join().unwrap();
    });
}

#[test]
fn a_call_given_up_and_its_slot_never_meet_again() {
    every_order(|| {
        let mut config = ring(Wait::Spin, Full::Refuse);
        config.calls_max = 1;
        let (mut client, mut server) = request::channel::<u64, u64>(&config).unwrap();
        let thread = loom::thread::spawn(move || {
            for _ in 0..2 {
                if let Some(request) = server.try_next().ok().flatten() {
                    let reply = *request * 10;
                    request.reply(reply);
                }
            }
            server
        });
        drop(client.begin(1).unwrap());
        let second = client.begin(2);
        let mut server = thread.join().unwrap();
        if let Ok(call) = second {
            while let Some(request) = server.try_next().unwrap() {
                let reply = *request * 10;
                request.reply(reply);
            }
            assert_eq!(client.finish(call), Ok(20));
        }
    });
}

#[test]
fn what_is_overwritten_is_missed_but_never_torn() {
    every_order(|| {
        let mut sender = broadcast::channel::<[u64; 2]>(&ring(Wait::Spin, Full::Refuse)).unwrap();
        let mut receiver = sender.subscribe(Lag::Skip).unwrap();
        let thread = loom::thread::spawn(move || {
            for number in 0..MESSAGES {
                sender.send([number; 2]).unwrap();
            }
        });
        let mut expected = 0;
        loop {
            match receiver.try_recv() {
                Ok(Some(message)) => {
                    assert_eq!(message, [expected; 2]);
                    expected += 1;
                }
                Ok(None) => loom::thread::yield_now(),
                Err(Error::Lagged(lost)) => expected += lost,
                Err(error) => break assert_eq!(error.code(), "closed"),
            }
        }
        assert_eq!(expected, MESSAGES);
        thread.join().unwrap();
    });
}

#[test]
fn a_blocked_broadcast_goes_on_when_its_receiver_does() {
    every_order(|| {
        let mut sender = broadcast::channel::<u64>(&ring(Wait::Park, Full::Block)).unwrap();
        let mut receiver = sender.subscribe(Lag::Block).unwrap();
        let thread = loom::thread::spawn(move || {
            for number in 0..MESSAGES {
                sender.send(number).unwrap();
            }
        });
        for number in 0..MESSAGES {
            assert_eq!(receiver.recv(), Ok(number));
        }
        thread.join().unwrap();
    });
}

/// Receives to the end: everything in order, and all that was missed is known.
fn hear_strings(mut receiver: broadcast::bytes::Receiver) {
    let mut expected = 0;
    loop {
        match receiver.try_recv() {
            Ok(Some(string)) => {
                assert_eq!(*string, [expected as u8; 40]);
                // The model looks at whose it is once more while it is still held.
                assert_eq!(*string, [expected as u8; 40]);
                expected += 1;
            }
            Ok(None) => loom::thread::yield_now(),
            Err(Error::Lagged(lost)) => expected += lost,
            Err(_) => break,
        }
    }
    assert_eq!(receiver.recv().map(|_| ()).unwrap_err().code(), "closed");
    assert_eq!(expected, MESSAGES);
}

#[test]
fn a_string_stays_while_it_is_looked_at() {
    for lag in [Lag::Skip, Lag::SkipToMark, Lag::Block] {
        every_order(move || {
            let mut sender = broadcast::bytes::channel(&ring(Wait::Spin, Full::Refuse)).unwrap();
            let receiver = sender.subscribe(lag).unwrap();
            let thread = loom::thread::spawn(move || {
                for number in 0..MESSAGES as u8 {
                    let marked = number == 1;
                    while let Err(error) = match marked {
                        true => sender.send_marked(&[number; 40]),
                        false => sender.send(&[number; 40]),
                    } {
                        assert_eq!(error, Error::Full);
                        loom::thread::yield_now();
                    }
                }
            });
            hear_strings(receiver);
            thread.join().unwrap();
        });
    }
}

#[test]
fn a_sender_that_sleeps_for_a_guard_is_woken() {
    for lag in [Lag::Skip, Lag::Block] {
        every_order(move || {
            let mut sender = broadcast::bytes::channel(&ring(Wait::Park, Full::Block)).unwrap();
            let receiver = sender.subscribe(lag).unwrap();
            let thread = loom::thread::spawn(move || {
                for number in 0..MESSAGES as u8 {
                    sender.send(&[number; 40]).unwrap();
                }
            });
            hear_strings(receiver);
            thread.join().unwrap();
        });
    }
}

#[test]
fn the_latest_value_is_whole_and_never_older() {
    every_order(|| {
        let (mut writer, mut reader) =
            latest::channel::<[u64; 2]>(&ring(Wait::Park, Full::Block)).unwrap();
        let thread = loom::thread::spawn(move || {
            for number in 1..=2 {
                writer.set([number; 2]);
            }
        });
        let mut last = 0;
        for _ in 0..2 {
            if let Some(value) = reader.get() {
                assert!(value[0] == value[1] && value[0] >= last);
                last = value[0];
            }
        }
        thread.join().unwrap();
        assert_eq!(reader.get(), Some([2; 2]));
    });
}

#[test]
fn who_waits_for_a_change_is_woken() {
    every_order(|| {
        let (mut writer, mut reader) =
            latest::channel::<u64>(&ring(Wait::Park, Full::Block)).unwrap();
        let thread = loom::thread::spawn(move || {
            writer.set(1);
            writer.set(2);
        });
        let mut last = 0;
        loop {
            match reader.changed() {
                Ok(value) => {
                    assert!(value > last);
                    last = value;
                }
                Err(error) => break assert_eq!(error.code(), "closed"),
            }
        }
        assert_eq!(last, 2);
        thread.join().unwrap();
    });
}

#[test]
fn every_event_is_counted_once() {
    every_order(|| {
        let (mut notifier, mut listener) = event::channel(&ring(Wait::Park, Full::Block)).unwrap();
        let thread = loom::thread::spawn(move || {
            notifier.notify(3);
            notifier.notify(3);
        });
        let mut count = 0;
        loop {
            match listener.wait() {
                Ok(events) => count += events.count(3),
                Err(error) => break assert_eq!(error.code(), "closed"),
            }
        }
        assert_eq!(count, 2);
        thread.join().unwrap();
    });
}
