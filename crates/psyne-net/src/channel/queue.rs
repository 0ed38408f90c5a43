//! Messages that wait between a channel and its driver: bounded by number and by bytes.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Message;

/// A queue with one side that puts and one that takes.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    messages_max: usize,
    bytes_max: usize,
    /// Something came, or the queue was closed.
    pub(super) filled: Notify,
    /// Something was taken, or the queue was closed.
    pub(super) emptied: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Message>,
    bytes: usize,
    is_closed: bool,
}

impl Queue {
    pub(super) fn new(messages_max: usize, bytes_max: usize) -> Self {
        let (filled, emptied) = (Notify::new(), Notify::new());
        Self { waiting: Mutex::default(), messages_max, bytes_max, filled, emptied }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the next message has room, however long it is: the limit of bytes is where no
    /// further message is taken, so that one of any length fits an empty queue.
    fn fits(&self, waiting: &Waiting) -> bool {
        waiting.messages.len() < self.messages_max && waiting.bytes < self.bytes_max
    }

    /// Puts a message at the end, or gives it back.
    pub(super) fn push(&self, message: Message) -> Result<(), Message> {
        let mut waiting = self.lock();
        if !self.fits(&waiting) {
            return Err(message);
        }
        self.put(&mut waiting, message);
        Ok(())
    }

    /// Puts a message at the end and takes as many away at the front as that needs; says how many.
    pub(super) fn push_over(&self, message: Message) -> u64 {
        let mut waiting = self.lock();
        let mut dropped = 0;
        while !self.fits(&waiting) {
            let oldest = waiting.messages.pop_front().map_or(0, |oldest| oldest.len());
            waiting.bytes -= oldest;
            dropped += 1;
        }
        self.put(&mut waiting, message);
        dropped
    }

    fn put(&self, waiting: &mut Waiting, message: Message) {
        if waiting.is_closed {
            return;
        }
        waiting.bytes += message.len();
        waiting.messages.push_back(message);
        self.filled.notify_one();
    }

    pub(super) fn pop(&self) -> Option<Message> {
        let mut waiting = self.lock();
        let message = waiting.messages.pop_front()?;
        waiting.bytes -= message.len();
        self.emptied.notify_one();
        Some(message)
    }

    /// Whether the next message has room.
    pub(super) fn has_room(&self) -> bool {
        self.fits(&self.lock())
    }

    /// What is put from now on is thrown away; what waits can still be taken.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.wake();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Who takes has gone: nothing waits any more, and nothing will.
    pub(super) fn abandon(&self) {
        let mut waiting = self.lock();
        *waiting = Waiting { is_closed: true, ..Waiting::default() };
        drop(waiting);
        self.wake();
    }

    /// Both sides look again.
    pub(super) fn wake(&self) {
        self.filled.notify_one();
        self.emptied.notify_one();
    }

    pub(super) fn len(&self) -> usize {
        self.lock().messages.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: usize) -> Message {
        Message::binary(vec![0; bytes])
    }

    #[test]
    fn a_queue_is_bounded_by_number_and_by_bytes() {
        let queue = Queue::new(3, 100);
        assert_eq!(queue.push(of(500)), Ok(()), "an empty one takes any length");
        assert!(queue.push(of(1)).is_err() && !queue.has_room());
        assert_eq!(queue.pop().map(|message| message.len()), Some(500));
        for _ in 0..3 {
            assert_eq!(queue.push(of(10)), Ok(()));
        }
        assert!(queue.push(of(0)).is_err(), "the fourth");
        assert_eq!((queue.push_over(of(90)), queue.len()), (1, 3), "by number");
        assert_eq!((queue.push_over(of(7)), queue.len()), (2, 2), "by bytes");
        queue.close();
        assert_eq!((queue.push(of(1)), queue.len()), (Ok(()), 2), "thrown away");
        assert_eq!((queue.pop().is_some(), queue.len()), (true, 1), "what waited is taken");
        queue.abandon();
        assert!(queue.pop().is_none() && queue.is_closed());
    }
}
