//! Queues between two threads, ours and others, behind one door.

use std::hint::{black_box, spin_loop};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use psyne::channel::{Config, Full, Message, Wait, request, spsc};

use super::floor::WAKES;
use super::{ROUND_TRIPS, latency, pin, rate};

/// Slots of every ring for throughput; ours are told an eighth less, which makes as many.
pub const SLOTS: usize = 4096;
/// Slots for latency.
pub const FEW: usize = 64;

/// The end that sends. `Who` adapts it: a type of its own, or none, so that a crate may do so for
/// queues of others.
pub trait Tx<Who, M>: Send + 'static {
    /// Sends if there is room.
    fn send(&mut self, message: M) -> bool;
    /// Sends `count` of them if there is room, by the peer's own batches if it has any.
    fn batch(&mut self, message: M, count: usize) -> bool;
}

/// The end that receives.
pub trait Rx<Who, M>: Send + 'static {
    /// What is there.
    fn receive(&mut self) -> Option<M>;
    /// All that is there, or one: how many.
    fn drain(&mut self, mut each: impl FnMut(M)) -> usize {
        self.receive().map_or(0, |message| {
            each(message);
            1
        })
    }
}

impl<M: Message> Tx<(), M> for spsc::Sender<M> {
    fn send(&mut self, message: M) -> bool {
        self.try_send(message).is_ok()
    }

    fn batch(&mut self, message: M, count: usize) -> bool {
        let Ok(mut batch) = spsc::Sender::batch(self, count) else { return false };
        for _ in 0..count {
            let _ = batch.push(black_box(message));
        }
        batch.commit().is_ok()
    }
}

impl<M: Message> Rx<(), M> for spsc::Receiver<M> {
    fn receive(&mut self) -> Option<M> {
        self.try_recv().ok().flatten()
    }

    fn drain(&mut self, each: impl FnMut(M)) -> usize {
        spsc::Receiver::drain(self).map(each).count()
    }
}

/// Ours with `slots` slots.
pub fn ours<M: Message>(
    slots: usize,
    wait: Wait,
    full: Full,
) -> (spsc::Sender<M>, spsc::Receiver<M>) {
    let mut config = Config::default();
    (config.slots, config.wait, config.full) = (slots - slots / 8, wait, full);
    spsc::channel(&config).expect("a small ring is granted")
}

/// One-way nanoseconds of a ping-pong over two queues, both sides looking all the time.
pub fn ping_pong<Who, M: Copy + Send + 'static, T: Tx<Who, M>, R: Rx<Who, M>>(
    message: M,
    open: impl Fn(usize) -> (T, R),
) -> f64 {
    let ((mut there, mut there_end), (mut back, mut back_end)) = (open(FEW), open(FEW));
    let thread = std::thread::spawn(move || {
        pin(1);
        for _ in 0..ROUND_TRIPS {
            let message = wait(&mut there_end);
            while !back.send(message) {}
        }
    });
    pin(0);
    let value = latency(ROUND_TRIPS, || {
        while !there.send(black_box(message)) {}
        black_box(wait(&mut back_end));
    });
    let _ = thread.join();
    value
}

/// Nanoseconds of a call and its reply, both sides looking all the time.
pub fn calls<M: Message>(message: M) -> f64 {
    let config = Config { wait: Wait::Spin, ..Config::default() };
    let (mut client, mut server) = request::channel::<M, M>(&config).expect("a line is granted");
    let thread = std::thread::spawn(move || {
        pin(1);
        let _ = server.serve(|request| black_box(*request));
    });
    pin(0);
    let value = latency(ROUND_TRIPS, || {
        let _ = black_box(client.call(black_box(message)));
    });
    drop(client);
    let _ = thread.join();
    2.0 * value
}

fn wait<Who, M>(rx: &mut impl Rx<Who, M>) -> M {
    loop {
        if let Some(message) = rx.receive() {
            return message;
        }
        spin_loop();
    }
}

/// Millions of messages a second, in batches.
pub fn throughput<Who, M: Copy + Send + 'static, T: Tx<Who, M>, R: Rx<Who, M>>(
    message: M,
    batch: usize,
    fold: fn(M) -> u64,
    open: impl Fn(usize) -> (T, R),
) -> f64 {
    let (mut tx, mut rx) = open(SLOTS);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let thread = std::thread::spawn(move || {
        pin(0);
        while !stopped.load(Ordering::Relaxed) {
            if !tx.batch(message, batch) {
                spin_loop();
            }
        }
    });
    pin(1);
    let mut sum = 0_u64;
    let value = rate(|| {
        let count = rx.drain(|message| sum = sum.wrapping_add(fold(message)));
        if count == 0 {
            spin_loop();
        }
        count
    });
    black_box(sum);
    stop.store(true, Ordering::Relaxed);
    let _ = thread.join();
    value / 1e6
}

/// One-way nanoseconds between two threads that always sleep.
pub fn blocking() -> f64 {
    let open = || ours::<[u64; 7]>(FEW, Wait::Park, Full::Block);
    let ((mut there, mut there_end), (mut back, mut back_end)) = (open(), open());
    let thread = std::thread::spawn(move || {
        pin(1);
        while let Ok(message) = there_end.recv() {
            let _ = back.send(message);
        }
    });
    pin(0);
    let value = latency(WAKES, || {
        let _ = there.send(black_box([1; 7]));
        let _ = black_box(back_end.recv());
    });
    drop(there);
    let _ = thread.join();
    value
}
