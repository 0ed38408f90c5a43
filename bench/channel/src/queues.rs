//! Queues between two threads, ours and the peers', behind one door.

use std::hint::{black_box, spin_loop};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use psyne::channel::{Config, Full, Message, Wait, request, spsc};

use crate::floor::WAKES;
use crate::measure::{ROUND_TRIPS, latency, pin, rate};

/// Slots of every ring for throughput; ours are told an eighth less, which makes as many.
pub(crate) const SLOTS: usize = 4096;
/// Slots for latency.
const FEW: usize = 64;

/// The end that sends.
pub(crate) trait Tx<M>: Send + 'static {
    /// Sends if there is room.
    fn send(&mut self, message: M) -> bool;
    /// Sends `count` of them if there is room, by the peer's own batches if it has any.
    fn batch(&mut self, message: M, count: usize) -> bool;
}

/// The end that receives.
pub(crate) trait Rx<M>: Send + 'static {
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

impl<M: Message> Tx<M> for spsc::Sender<M> {
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

impl<M: Message> Rx<M> for spsc::Receiver<M> {
    fn receive(&mut self) -> Option<M> {
        self.try_recv().ok().flatten()
    }

    fn drain(&mut self, each: impl FnMut(M)) -> usize {
        spsc::Receiver::drain(self).map(each).count()
    }
}

/// Ours with `slots` slots.
pub(crate) fn ours<M: Message>(
    slots: usize,
    wait: Wait,
    full: Full,
) -> (spsc::Sender<M>, spsc::Receiver<M>) {
    let mut config = Config::default();
    (config.slots, config.wait, config.full) = (slots - slots / 8, wait, full);
    spsc::channel(&config).expect("a small ring is granted")
}

impl<M: Copy + Send + 'static> Tx<M> for rtrb::Producer<M> {
    fn send(&mut self, message: M) -> bool {
        self.push(message).is_ok()
    }

    fn batch(&mut self, message: M, count: usize) -> bool {
        let Ok(chunk) = self.write_chunk_uninit(count) else { return false };
        chunk.fill_from_iter(std::iter::repeat_with(|| black_box(message)).take(count)) == count
    }
}

impl<M: Copy + Send + 'static> Rx<M> for rtrb::Consumer<M> {
    fn receive(&mut self) -> Option<M> {
        self.pop().ok()
    }

    fn drain(&mut self, mut each: impl FnMut(M)) -> usize {
        let count = self.slots();
        let Ok(chunk) = self.read_chunk(count) else { return 0 };
        let (one, two) = chunk.as_slices();
        one.iter().chain(two).for_each(|message| each(*message));
        chunk.commit_all();
        count
    }
}

macro_rules! channel {
    ($tx:ty, $rx:ty, |$receiver:ident| $receive:expr) => {
        impl<M: Copy + Send + 'static> Tx<M> for $tx {
            fn send(&mut self, message: M) -> bool {
                self.try_send(message).is_ok()
            }

            fn batch(&mut self, message: M, count: usize) -> bool {
                for sent in 0..count {
                    if !self.send(black_box(message)) {
                        return sent > 0;
                    }
                }
                true
            }
        }

        impl<M: Copy + Send + 'static> Rx<M> for $rx {
            fn receive(&mut self) -> Option<M> {
                let $receiver = self;
                $receive
            }
        }
    };
}

channel!(crossbeam_channel::Sender<M>, crossbeam_channel::Receiver<M>, |rx| rx.try_recv().ok());
channel!(flume::Sender<M>, flume::Receiver<M>, |rx| rx.try_recv().ok());
channel!(std::sync::mpsc::SyncSender<M>, std::sync::mpsc::Receiver<M>, |rx| rx.try_recv().ok());

impl<M: Copy + Send + 'static> Tx<M> for kanal::Sender<M> {
    fn send(&mut self, message: M) -> bool {
        self.try_send(message).unwrap_or(false)
    }

    fn batch(&mut self, message: M, count: usize) -> bool {
        (0..count).all(|_| Tx::send(self, black_box(message)))
    }
}

impl<M: Copy + Send + 'static> Rx<M> for kanal::Receiver<M> {
    fn receive(&mut self) -> Option<M> {
        self.try_recv().ok().flatten()
    }
}

/// One-way nanoseconds of a ping-pong over two queues, both sides looking all the time.
pub(crate) fn ping_pong<M: Copy + Send + 'static, T: Tx<M>, R: Rx<M>>(
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
pub(crate) fn calls<M: Message>(message: M) -> f64 {
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

fn wait<M>(rx: &mut impl Rx<M>) -> M {
    loop {
        if let Some(message) = rx.receive() {
            return message;
        }
        spin_loop();
    }
}

/// Millions of messages a second, in batches.
pub(crate) fn throughput<M: Copy + Send + 'static, T: Tx<M>, R: Rx<M>>(
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

/// Disruptor has no ends but closures: the same two measurements by hand.
pub(crate) mod ring {
    use disruptor::{BusySpin, Polling, Producer, build_single_producer};

    use super::*;

    type Line = [u64; 8];

    /// As [`ping_pong`].
    pub(crate) fn ping_pong() -> f64 {
        let open = || {
            let builder = build_single_producer(FEW, || [0_u64; 8], BusySpin);
            let (poller, builder) = builder.new_event_poller();
            (builder.build(), poller)
        };
        let ((mut there, mut there_end), (mut back, mut back_end)) = (open(), open());
        macro_rules! wait {
            ($poller:expr) => {
                loop {
                    if let Ok(mut events) = $poller.poll()
                        && let Some(event) = (&mut events).next()
                    {
                        break *event;
                    }
                    spin_loop();
                }
            };
        }
        let thread = std::thread::spawn(move || {
            pin(1);
            for _ in 0..ROUND_TRIPS {
                let message: Line = wait!(there_end);
                back.publish(|event| *event = message);
            }
        });
        pin(0);
        let value = latency(ROUND_TRIPS, || {
            there.publish(|event| *event = black_box([1; 8]));
            black_box(wait!(back_end));
        });
        let _ = thread.join();
        value
    }

    /// As [`throughput`].
    pub(crate) fn throughput(batch: usize) -> f64 {
        let builder = build_single_producer(SLOTS, || [0_u64; 8], BusySpin);
        let (mut poller, builder) = builder.new_event_poller();
        let mut producer = builder.build();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            pin(0);
            while !stopped.load(Ordering::Relaxed) {
                let _ = producer.try_batch_publish(batch, |events| {
                    events.for_each(|event| *event = black_box([5; 8]));
                });
            }
        });
        pin(1);
        let mut sum = 0_u64;
        let value = rate(|| match poller.poll() {
            Ok(mut events) => (&mut events).map(|event| sum += event[0]).count(),
            Err(Polling::NoEvents | Polling::Shutdown) => 0,
        });
        black_box(sum);
        stop.store(true, Ordering::Relaxed);
        while !thread.is_finished() {
            let _ = poller.poll().map(|mut events| (&mut events).count());
        }
        value / 1e6
    }
}

/// One-way nanoseconds between two threads that always sleep.
pub(crate) fn blocking() -> f64 {
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
