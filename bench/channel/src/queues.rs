//! The peers' queues behind the door of `psyne_cli::measure::queues`.

use std::hint::{black_box, spin_loop};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use psyne_cli::measure::queues::{FEW, Rx, SLOTS, Tx};
use psyne_cli::measure::{ROUND_TRIPS, latency, pin, rate};

/// Who adapts them.
pub(crate) struct Peer;

impl<M: Copy + Send + 'static> Tx<Peer, M> for rtrb::Producer<M> {
    fn send(&mut self, message: M) -> bool {
        self.push(message).is_ok()
    }

    fn batch(&mut self, message: M, count: usize) -> bool {
        let Ok(chunk) = self.write_chunk_uninit(count) else { return false };
        chunk.fill_from_iter(std::iter::repeat_with(|| black_box(message)).take(count)) == count
    }
}

impl<M: Copy + Send + 'static> Rx<Peer, M> for rtrb::Consumer<M> {
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
        impl<M: Copy + Send + 'static> Tx<Peer, M> for $tx {
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

        impl<M: Copy + Send + 'static> Rx<Peer, M> for $rx {
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

impl<M: Copy + Send + 'static> Tx<Peer, M> for kanal::Sender<M> {
    fn send(&mut self, message: M) -> bool {
        self.try_send(message).unwrap_or(false)
    }

    fn batch(&mut self, message: M, count: usize) -> bool {
        (0..count).all(|_| Tx::send(self, black_box(message)))
    }
}

impl<M: Copy + Send + 'static> Rx<Peer, M> for kanal::Receiver<M> {
    fn receive(&mut self) -> Option<M> {
        self.try_recv().ok().flatten()
    }
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
            Ok(mut events) => {
                (&mut events).map(|event| event.iter().for_each(|word| sum += word)).count()
            }
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
