//! One message for three readers: a broadcast, beside a queue for each of them.

use std::hint::{black_box, spin_loop};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use psyne::channel::broadcast::{self, Lag};
use psyne::channel::{Config, Full, Wait, bytes, spsc};

use psyne_cli::measure::payload::sum;
use psyne_cli::measure::queues::SLOTS;
use psyne_cli::measure::{pin, rate};

/// Who reads.
const READERS: usize = 3;
/// Lines of a ring of bytes: more than a second-level cache, as for one reader.
const LINES: usize = (8 << 20) / 64;

fn config(slots: usize) -> Config {
    let (slots, wait, full) = (slots - slots / 8, Wait::Spin, Full::Refuse);
    Config { slots, wait, full, ..Config::default() }
}

/// Millions of messages a second that have reached all readers, which one thread plays by turns:
/// there are two cores. `send` answers whether there was room, `receive` how many the reader took.
fn played<R: Send>(
    mut send: impl FnMut() -> bool + Send,
    mut readers: [R; READERS],
    mut receive: impl FnMut(&mut R) -> usize,
) -> f64 {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = &stop;
    let value = std::thread::scope(|scope| {
        scope.spawn(move || {
            pin(0);
            while !stopped.load(Ordering::Relaxed) {
                if !send() {
                    spin_loop();
                }
            }
        });
        pin(1);
        let value = rate(|| readers.iter_mut().map(&mut receive).sum());
        stop.store(true, Ordering::Relaxed);
        value
    });
    value / READERS as f64 / 1e6
}

/// Reads what is there of a queue or broadcast, at most so many that the others get their turn.
const TURN: usize = 64;

fn turn(mut next: impl FnMut() -> bool) -> usize {
    (0..TURN).take_while(|_| next()).count()
}

type Line = [u64; 8];

/// 64 bytes by one broadcast, or by three queues.
pub(crate) fn lines(one: bool) -> f64 {
    let line: Line = [5; 8];
    if one {
        let mut sender = broadcast::channel::<Line>(&config(SLOTS)).expect("a small ring");
        let readers = [(); READERS].map(|()| sender.subscribe(Lag::Block).expect("three fit"));
        let send = move || sender.send(black_box(line)).is_ok();
        return played(send, readers, |reader| {
            turn(|| matches!(reader.try_recv(), Ok(Some(line)) if black_box(line)[0] == 5))
        });
    }
    let all = [(); READERS].map(|()| spsc::channel::<Line>(&config(SLOTS)).expect("a small ring"));
    let (mut senders, mut readers) = (Vec::new(), Vec::new());
    all.into_iter().for_each(|(sender, reader)| {
        senders.push(sender);
        readers.push(reader);
    });
    let mut at = 0;
    let send = move || {
        // Whoever had no room is sent to again before the next message.
        while at < READERS && senders[at].try_send(black_box(line)).is_ok() {
            at += 1;
        }
        let done = at == READERS;
        at = if done { 0 } else { at };
        done
    };
    let readers = readers.try_into().expect("as many as were made");
    played(send, readers, |reader: &mut spsc::Receiver<Line>| {
        turn(|| matches!(reader.try_recv(), Ok(Some(line)) if black_box(line)[0] == 5))
    })
}

/// Strings of `length` bytes, copied in and read in place, by one broadcast or by three queues.
pub(crate) fn strings(length: usize, one: bool) -> f64 {
    let text = vec![5_u8; length];
    let mut total = 0_u64;
    let mut read = |bytes: &[u8]| total = total.wrapping_add(sum(bytes));
    if one {
        let mut sender = broadcast::bytes::channel(&config(LINES)).expect("8 MiB");
        let readers = [(); READERS].map(|()| sender.subscribe(Lag::Block).expect("three fit"));
        let send = move || sender.send(black_box(&text)).is_ok();
        return played(send, readers, |reader| {
            turn(|| reader.try_recv().is_ok_and(|some| some.map(|text| read(&text)).is_some()))
        });
    }
    let all = [(); READERS].map(|()| bytes::channel(&config(LINES)).expect("8 MiB"));
    let (mut senders, mut readers) = (Vec::new(), Vec::new());
    all.into_iter().for_each(|(sender, reader)| {
        senders.push(sender);
        readers.push(reader);
    });
    let mut at = 0;
    let send = move || {
        while at < READERS && senders[at].send(black_box(&text)).is_ok() {
            at += 1;
        }
        let done = at == READERS;
        at = if done { 0 } else { at };
        done
    };
    let readers = readers.try_into().expect("as many as were made");
    played(send, readers, |reader: &mut bytes::Receiver| {
        turn(|| reader.try_recv().is_ok_and(|some| some.map(|text| read(&text)).is_some()))
    })
}
