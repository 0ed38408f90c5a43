//! Queues with two senders and two receivers, each a thread that waits as its queue does.

use std::hint::black_box;
use std::time::Instant;

use psyne::channel::{Config, Full, Message, Wait, mpmc, mpsc, spmc};

use psyne_cli::measure::pin;

/// Senders, and as many receivers.
const ENDS: usize = 2;
/// Messages of each sender in a sample: whole batches.
const EACH: u64 = 160_000;
/// Messages of a batch.
pub(crate) const BATCH: usize = 32;
/// Slots of each queue; ours has a ring for each sender, which share them.
const SLOTS: usize = 4096;

/// An end that sends and waits for room.
pub(crate) trait Out<M: Copy>: Send + 'static {
    /// Sends.
    fn send(&mut self, message: M);
    /// Sends `BATCH` of them, by the queue's own batches if it has any.
    fn batch(&mut self, message: M) {
        (0..BATCH).for_each(|_| self.send(black_box(message)));
    }
}

/// An end that receives and waits.
pub(crate) trait In<M>: Send + 'static {
    /// Receives; nothing at the end.
    fn receive(&mut self) -> Option<M>;
    /// Receives some, by the queue's own batches if it has any: how many, 0 at the end.
    fn some(&mut self, _into: &mut Vec<M>) -> usize {
        self.receive().map_or(0, |message| {
            black_box(message);
            1
        })
    }
}

/// Millions of messages a second from all senders to all receivers, one by one or in batches.
pub(crate) fn throughput<M: Copy + Send + 'static, T: Out<M>, R: In<M>>(
    message: M,
    batches: bool,
    (outs, ins): (Vec<T>, Vec<R>),
) -> f64 {
    let takers: Vec<_> = ins
        .into_iter()
        .enumerate()
        .map(|(index, mut input)| {
            std::thread::spawn(move || {
                pin((index + 1) % ENDS);
                let mut count = 0_u64;
                if batches {
                    let mut into = vec![message; BATCH];
                    loop {
                        match input.some(&mut into) {
                            0 => break,
                            some => count += some as u64,
                        }
                    }
                }
                while let Some(message) = input.receive() {
                    black_box(message);
                    count += 1;
                }
                count
            })
        })
        .collect();
    let start = Instant::now();
    for (index, mut output) in outs.into_iter().enumerate() {
        std::thread::spawn(move || {
            pin(index % ENDS);
            match batches {
                true => (0..EACH / BATCH as u64).for_each(|_| output.batch(message)),
                false => (0..EACH).for_each(|_| output.send(black_box(message))),
            }
        });
    }
    let count: u64 = takers.into_iter().map(|taker| taker.join().unwrap_or_default()).sum();
    assert_eq!(count, ENDS as u64 * EACH, "nothing is lost");
    count as f64 / start.elapsed().as_secs_f64() / 1e6
}

fn config(slots: usize) -> Config {
    let mut config = Config::default();
    (config.slots, config.wait, config.full) = (slots, Wait::Adaptive, Full::Block);
    config
}

/// Ours.
pub(crate) fn ours<M: Message>() -> (Vec<mpmc::Sender<M>>, Vec<mpmc::Receiver<M>>) {
    let (sender, receiver) = mpmc::channel(&config(SLOTS / ENDS)).expect("a ring is granted");
    let sender = (0..ENDS).map(|_| sender.try_clone().expect("one more")).collect();
    (sender, (0..ENDS).map(|_| receiver.try_clone().expect("one more")).collect())
}

/// A queue for each receiver, among which each sender deals its messages out.
pub(crate) struct Dealer<M: Message>(Vec<mpsc::Sender<M>>, usize);

/// Ours, dealt out: what work that is not shared would cost.
pub(crate) fn dealt<M: Message>() -> (Vec<Dealer<M>>, Vec<mpsc::Receiver<M>>) {
    let config = config(SLOTS / ENDS / ENDS);
    let mut outs: Vec<_> = (0..ENDS).map(|_| Dealer(Vec::new(), 0)).collect();
    let ins = (0..ENDS).map(|_| {
        let (mut sender, receiver) = mpsc::channel(&config).expect("a ring is granted");
        for out in &mut outs {
            out.0.push(sender.try_clone().expect("one more"));
        }
        receiver
    });
    let ins = ins.collect();
    (outs, ins)
}

impl<M: Message> Out<M> for Dealer<M> {
    fn send(&mut self, message: M) {
        self.1 = (self.1 + 1) % self.0.len();
        let _ = self.0[self.1].send(message);
    }
}

impl<M: Message> In<M> for mpsc::Receiver<M> {
    fn receive(&mut self) -> Option<M> {
        self.recv().ok()
    }
}

/// A peer's ends, which are cloned.
pub(crate) fn cloned<T: Clone, R: Clone>(open: impl Fn(usize) -> (T, R)) -> (Vec<T>, Vec<R>) {
    let (sender, receiver) = open(SLOTS);
    (vec![sender; ENDS], vec![receiver; ENDS])
}

macro_rules! ends {
    ($tx:ty, $rx:ty) => {
        impl<M: Copy + Send + 'static> Out<M> for $tx {
            fn send(&mut self, message: M) {
                let _ = <$tx>::send(self, message);
            }
        }

        impl<M: Copy + Send + 'static> In<M> for $rx {
            fn receive(&mut self) -> Option<M> {
                self.recv().ok()
            }
        }
    };
}

ends!(crossbeam_channel::Sender<M>, crossbeam_channel::Receiver<M>);
ends!(flume::Sender<M>, flume::Receiver<M>);

impl<M: Copy + Send + 'static> Out<M> for kanal::Sender<M> {
    fn send(&mut self, message: M) {
        let _ = kanal::Sender::send(self, message);
    }
}

impl<M: Copy + Send + 'static> In<M> for kanal::Receiver<M> {
    fn receive(&mut self) -> Option<M> {
        self.recv().ok()
    }

    fn some(&mut self, into: &mut Vec<M>) -> usize {
        into.clear();
        match self.drain_into(into) {
            Ok(0) => self.receive().map_or(0, |_| 1),
            Ok(count) => black_box(&into[..count]).len(),
            Err(_) => 0,
        }
    }
}

impl<M: Message> Out<M> for mpmc::Sender<M> {
    fn send(&mut self, message: M) {
        let _ = spmc::Sender::send(self, message);
    }

    fn batch(&mut self, message: M) {
        let Ok(mut batch) = spmc::Sender::batch(self, BATCH) else { return };
        for _ in 0..BATCH {
            let _ = batch.push(black_box(message));
        }
        let _ = batch.commit();
    }
}

impl<M: Message> In<M> for mpmc::Receiver<M> {
    fn receive(&mut self) -> Option<M> {
        self.recv().ok()
    }

    fn some(&mut self, into: &mut Vec<M>) -> usize {
        let count = self.recv_into(into).unwrap_or(0);
        black_box(&into[..count]);
        count
    }
}
