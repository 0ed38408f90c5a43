//! A player's place in a stream.

use std::sync::Arc;

use bytes::Bytes;

use super::{Batch, Framing, Window};

/// A player's place in a stream: what it has yet to be sent. Ask [`Reader::peek`] for the next
/// bytes and tell [`Reader::advance`] how many of them the socket took.
///
/// A reader holds at most one batch, the one that it is in the middle of. It is closed by its
/// owner when it takes nothing for a while, so all stalled readers of a stream together hold no
/// more than what the stream carried in that while.
#[derive(Debug)]
pub struct Reader {
    pending: Option<Arc<Batch>>,
    next: u64,
    offset: u32,
    skips: u32,
    framing: Framing,
    joined: bool,
    /// The batch in hand is from the window: neither greeting nor prelude.
    in_media: bool,
}

impl Reader {
    /// A reader that is sent `greeting` first and then starts at the newest key frame.
    #[must_use]
    pub fn new(framing: Framing, greeting: Bytes) -> Self {
        let pending = (!greeting.is_empty()).then(|| Batch::greeting(greeting));
        Self { pending, next: 0, offset: 0, skips: 0, framing, joined: false, in_media: false }
    }

    /// The next bytes to send, never empty, or `None` until the window has more.
    pub fn peek(&mut self, window: &Window) -> Option<&[u8]> {
        let end = self.load(window)?;
        let batch = self.pending.as_ref()?;
        batch.bytes(self.framing).get(self.offset as usize..end)
    }

    /// What [`Reader::peek`] gives, shared instead of borrowed: for whoever sends it later.
    pub fn share(&mut self, window: &Window) -> Option<Bytes> {
        let end = self.load(window)?;
        let batch = self.pending.as_ref()?;
        Some(batch.bytes(self.framing).slice(self.offset as usize..end))
    }

    /// Takes note that `sent` of the bytes that [`Reader::peek`] gave are on their way.
    pub fn advance(&mut self, sent: usize) {
        self.offset += sent as u32;
        if self.pending.as_ref().is_some_and(|b| self.offset as usize >= self.whole(b)) {
            self.pending = None;
            self.offset = 0;
        }
    }

    /// Whether the reader is between two messages, so that something else may be sent.
    #[must_use]
    pub fn at_boundary(&self) -> bool {
        let offset = self.offset as usize;
        let ends = |b: &Arc<Batch>| b.message_end(self.framing, offset) == offset;
        offset == 0 || self.pending.as_ref().is_none_or(ends)
    }

    /// How often it was moved ahead because it was too slow.
    #[must_use]
    pub fn skips(&self) -> u32 {
        self.skips
    }

    /// Whether it has been sent media, or is about to be.
    #[must_use]
    pub fn joined(&self) -> bool {
        self.joined
    }

    /// The end of what may be sent of the batch in hand: its own, or for a reader that is too far
    /// behind that of the message it is in, because half a message would break the byte stream.
    fn end(&self, window: &Window) -> usize {
        let Some(batch) = &self.pending else { return 0 };
        if self.in_media && window.shortcut(batch.seq()).is_some() {
            return batch.message_end(self.framing, self.offset as usize);
        }
        self.whole(batch)
    }

    /// Has something to send in hand, and says where it ends.
    fn load(&mut self, window: &Window) -> Option<usize> {
        let mut end = self.end(window);
        while self.offset as usize >= end {
            self.pending = Some(self.follow(window)?);
            self.offset = 0;
            end = self.end(window);
        }
        Some(end)
    }

    fn whole(&self, batch: &Batch) -> usize {
        batch.bytes(self.framing).len()
    }

    fn follow(&mut self, window: &Window) -> Option<Arc<Batch>> {
        // A batch that is still in hand was cut short, so what follows it cannot be next.
        let cut = self.pending.as_ref().filter(|_| self.in_media);
        let at = cut.map_or(self.next, |batch| batch.seq());
        let start = if self.joined { window.shortcut(at) } else { window.start() };
        if let Some(start) = start {
            self.skips += u32::from(self.joined);
            self.joined = true;
            self.in_media = false;
            self.next = start.seq();
            return start.prelude().cloned();
        }
        if !self.joined {
            return None;
        }
        if self.next < window.first() {
            // What it wants is gone and no key frame is left to continue at.
            self.joined = false;
            self.skips += 1;
            return None;
        }
        let batch = window.get(self.next)?.clone();
        self.next += 1;
        self.in_media = true;
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use psyne::Time;

    use super::super::{Config, Writer};
    use super::*;
    use crate::flv::{Kind, Tag};

    #[test]
    fn what_is_shared_is_what_is_borrowed() {
        let mut writer = Writer::new(Config::default());
        let body = Bytes::from_static(&[0x17, 1, 0, 0, 0, 9]);
        let tag = Tag { kind: Kind::Video, timestamp_ms: 0, body };
        writer.push(Time::ZERO, &tag).unwrap();
        writer.seal();
        for framing in [Framing::Rtmp, Framing::Flv] {
            let mut reader = Reader::new(framing, Bytes::from_static(b"hello"));
            let mut sent = 0;
            while let Some(shared) = reader.share(&writer.window()) {
                assert_eq!(Some(&shared[..]), reader.peek(&writer.window()));
                reader.advance(1);
                sent += 1;
            }
            assert!(sent > 5 + tag.body.len(), "{sent}");
        }
    }
}
