//! The last batches of a stream.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Batch, Config};

/// The last batches of a stream, oldest first, without holes. Cloning one costs a reference count
/// a batch.
#[derive(Clone, Debug)]
pub struct Window {
    config: Config,
    batches: VecDeque<Arc<Batch>>,
    bytes: usize,
    next: u64,
    keyframe: Option<u64>,
}

impl Window {
    /// An empty window that expects batch 0.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, batches: VecDeque::new(), bytes: 0, next: 0, keyframe: None }
    }

    /// Takes the next batch and drops what is too old. Batches that it already has are ignored,
    /// and a hole empties it first.
    pub fn push(&mut self, batch: Arc<Batch>) {
        if batch.seq() < self.next {
            return;
        }
        if batch.seq() > self.next {
            self.batches.clear();
            self.bytes = 0;
            self.keyframe = None;
        }
        self.next = batch.seq() + 1;
        self.bytes += batch.rtmp_bytes();
        if batch.prelude().is_some() {
            self.keyframe = Some(batch.seq());
        }
        self.batches.push_back(batch);
        while self.front_is_spent() {
            self.evict();
        }
    }

    /// Takes from `other` every batch that this one lacks.
    pub fn follow(&mut self, other: &Self) {
        if other.next == self.next {
            return;
        }
        let from = self.next.max(other.first());
        for seq in from..other.next {
            if let Some(batch) = other.get(seq) {
                self.push(batch.clone());
            }
        }
    }

    /// The batch with this number, if it is still here.
    #[must_use]
    pub fn get(&self, seq: u64) -> Option<&Arc<Batch>> {
        let index = seq.checked_sub(self.first())?;
        self.batches.get(usize::try_from(index).ok()?)
    }

    /// The number of the oldest batch that is here, or of the next one if there is none.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.next - self.batches.len() as u64
    }

    /// The number that the next batch will have.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The newest batch that somebody can start with.
    #[must_use]
    pub fn start(&self) -> Option<&Arc<Batch>> {
        self.get(self.keyframe?)
    }

    /// Bytes held, in the RTMP framing.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where a reader that wants batch `seq` should rather continue: the newest key frame if the
    /// reader is too far behind and that is ahead of it.
    pub(super) fn shortcut(&self, seq: u64) -> Option<&Arc<Batch>> {
        let start = self.start().filter(|b| b.seq() > seq)?;
        let Some(wanted) = self.get(seq) else { return Some(start) };
        let newest = self.batches.back()?;
        (newest.opened().since(wanted.opened()) > self.config.lag_max).then_some(start)
    }

    fn front_is_spent(&self) -> bool {
        let (Some(front), Some(newest)) = (self.batches.front(), self.batches.back()) else {
            return false;
        };
        // Nobody else's window has it, so nobody is on the way through it, and who joins begins
        // at the key frame.
        if Arc::strong_count(front) == 1 && self.keyframe.is_some_and(|k| front.seq() < k) {
            return true;
        }
        let age = newest.opened().since(front.opened());
        let starts_here = self.keyframe.is_some_and(|k| k <= front.seq());
        let held = if starts_here { self.config.group_max } else { self.config.lag_max };
        age > held || (self.bytes > self.config.window_bytes_max && self.batches.len() > 1)
    }

    fn evict(&mut self) {
        if let Some(batch) = self.batches.pop_front() {
            self.bytes -= batch.rtmp_bytes();
            if self.keyframe == Some(batch.seq()) {
                self.keyframe = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use psyne::Time;

    use super::super::Writer;
    use super::*;
    use crate::flv::{Kind, Tag};

    /// Pushes the picture of a second, a key frame every other second; what is held after that.
    fn push(writer: &mut Writer, second: u64) -> usize {
        let first = if second.is_multiple_of(2) { 0x17 } else { 0x27 };
        let body = Bytes::from([&[first, 1, 0, 0, 0], &[7; 995][..]].concat());
        let timestamp_ms = second as u32 * 1_000;
        let tag = Tag { kind: Kind::Video, timestamp_ms, body };
        writer.push(Time::from_micros(second * 1_000_000), &tag).expect("within the limits");
        writer.seal();
        writer.window().batches.len()
    }

    #[test]
    fn who_is_behind_can_catch_up_and_without_them_one_group_is_held() {
        let mut writer = Writer::new(Config::default());
        let alone: Vec<_> = (0..6).map(|second| push(&mut writer, second)).collect();
        assert_eq!(alone, [1, 2, 1, 2, 1, 2]);
        let mut follower = writer.window().clone();
        for second in 6..30 {
            push(&mut writer, second);
            follower.follow(writer.window());
        }
        // Eight seconds, and the one that is exactly as old.
        assert_eq!(writer.window().batches.len(), 9);
        drop(follower);
        assert_eq!(push(&mut writer, 30), 1);
    }
}
