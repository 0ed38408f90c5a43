//! Cuts messages into batches.

use std::sync::Arc;

use bytes::Bytes;
use psyne::Time;
use psyne::channel::broadcast::values::{self, Sender};

use super::batch::Builder;
use super::{Batch, Config, Role, Window};
use crate::Error;
use crate::flv::{Kind, Tag};

/// The writing end of a stream's buffer.
#[derive(Debug)]
pub struct Writer {
    config: Config,
    batches: Sender<Arc<Batch>>,
    /// Of what is kept, in the RTMP framing.
    bytes: usize,
    open: Builder,
    prelude: Option<Arc<Batch>>,
    headers: Vec<(Kind, u8, Bytes)>,
    video: bool,
}

impl Writer {
    /// An empty buffer.
    ///
    /// # Panics
    /// If `config.chunk_bytes` is 0.
    #[must_use]
    pub fn new(config: Config) -> Self {
        assert!(config.chunk_bytes > 0, "an RTMP chunk holds at least one byte");
        Self {
            batches: values::channel(),
            bytes: 0,
            open: Builder::new(config.chunk_bytes),
            prelude: None,
            headers: Vec::new(),
            video: false,
            config,
        }
    }

    /// Appends a tag. It reaches readers with the next [`Writer::seal`], or when its batch is full.
    ///
    /// # Errors
    /// [`Error::Limit`] if the body is longer than `message_bytes_max` or is the header of one
    /// track more than `headers_max`. The tag is then left out.
    pub fn push(&mut self, now: Time, tag: &Tag) -> Result<(), Error> {
        self.check(tag)?;
        let role = Role::of(tag);
        if let Role::Header { slot } = role {
            self.keep_header(tag, slot)?;
        }
        self.video |= tag.kind == Kind::Video;
        let starts = role == Role::Keyframe && (tag.kind == Kind::Video || !self.video);
        // Without pictures every frame is a start, and a start at each batch is enough.
        if (starts && self.video) || self.open.len() >= self.config.batch_bytes_max {
            self.seal();
        }
        if starts && self.open.is_empty() {
            self.prelude = Some(self.prelude(tag.timestamp_ms));
        }
        self.open.push(now, tag);
        Ok(())
    }

    /// Hands everything that was pushed to readers.
    pub fn seal(&mut self) {
        if !self.open.is_empty() {
            let next = self.batches.peek(values::Window::next);
            let batch = self.open.seal(next, self.prelude.take());
            self.bytes += batch.rtmp_bytes();
            let starts = batch.prelude().is_some();
            self.batches.send(batch, starts);
            self.evict();
        }
    }

    /// What readers can have, for one thread of them.
    #[must_use]
    pub fn window(&self) -> Window {
        Window::new(self.batches.follow(), self.config.clone())
    }

    /// Bytes that are kept, in the RTMP framing.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many batches are kept.
    #[must_use]
    pub fn batches(&self) -> usize {
        self.batches.peek(|kept| (kept.next() - kept.first()) as usize)
    }

    /// Drops what is too old.
    fn evict(&mut self) {
        let followed = self.batches.followers() > 0;
        let mut bytes = self.bytes;
        let first = self.batches.peek(|kept| {
            let mut first = kept.first();
            while self.is_spent(kept, (first, bytes), followed) {
                bytes -= kept.get(first).map_or(0, |batch| batch.rtmp_bytes());
                first += 1;
            }
            first
        });
        self.bytes = bytes;
        self.batches.forget_before(first);
    }

    /// Whether batch `first` need not be kept, if those before it are not and the rest has `bytes`.
    fn is_spent(
        &self,
        kept: &values::Window<Arc<Batch>>,
        (first, bytes): (u64, usize),
        followed: bool,
    ) -> bool {
        let (Some(front), Some(newest)) = (kept.get(first), kept.newest()) else { return false };
        // Nobody is on the way through it, and who joins begins at the key frame.
        let mark = kept.mark().filter(|mark| *mark >= first);
        if !followed && mark.is_some_and(|mark| first < mark) {
            return true;
        }
        let age = newest.opened().since(front.opened());
        let starts_here = mark.is_some_and(|mark| mark <= first);
        let held = if starts_here { self.config.group_max } else { self.config.lag_max };
        age > held || (bytes > self.config.window_bytes_max && first + 1 < kept.next())
    }

    /// Whether something was pushed that readers cannot have yet.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        !self.open.is_empty()
    }

    fn check(&self, tag: &Tag) -> Result<(), Error> {
        let max = self.config.message_bytes_max.min((1 << 24) - 1);
        if tag.body.len() > max {
            let value = tag.body.len() as u64;
            return Err(Error::Limit { limit: "message_bytes_max", value, max: max as u64 });
        }
        Ok(())
    }

    fn keep_header(&mut self, tag: &Tag, slot: u8) -> Result<(), Error> {
        let body = tag.body.clone();
        let same = |(kind, s, _): &&mut (Kind, u8, Bytes)| *kind == tag.kind && *s == slot;
        if let Some(header) = self.headers.iter_mut().find(same) {
            header.2 = body;
            return Ok(());
        }
        let max = self.config.headers_max;
        if self.headers.len() >= max {
            let value = self.headers.len() as u64 + 1;
            return Err(Error::Limit { limit: "headers_max", value, max: max as u64 });
        }
        self.headers.push((tag.kind, slot, body));
        // Metadata first, then pictures, then sound: the order in which players expect them.
        self.headers
            .sort_by_key(|(kind, slot, _)| (*kind != Kind::Script, *kind != Kind::Video, *slot));
        Ok(())
    }

    fn prelude(&self, timestamp_ms: u32) -> Arc<Batch> {
        let mut builder = Builder::new(self.config.chunk_bytes);
        for (kind, _, body) in &self.headers {
            // FFmpeg takes metadata of any other time for a track of text.
            let timestamp_ms = if *kind == Kind::Script { 0 } else { timestamp_ms };
            builder.push(Time::ZERO, &Tag { kind: *kind, timestamp_ms, body: body.clone() });
        }
        builder.seal(0, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pushes the picture of a second, a key frame every other second; what is held after that.
    fn push(writer: &mut Writer, second: u64) -> usize {
        let first = if second.is_multiple_of(2) { 0x17 } else { 0x27 };
        let body = Bytes::from([&[first, 1, 0, 0, 0], &[7; 995][..]].concat());
        let timestamp_ms = second as u32 * 1_000;
        let tag = Tag { kind: Kind::Video, timestamp_ms, body };
        writer.push(Time::from_micros(second * 1_000_000), &tag).expect("within the limits");
        writer.seal();
        writer.batches()
    }

    #[test]
    fn who_is_behind_can_catch_up_and_without_them_one_group_is_held() {
        let mut writer = Writer::new(Config::default());
        let alone: Vec<_> = (0..6).map(|second| push(&mut writer, second)).collect();
        assert_eq!(alone, [1, 2, 1, 2, 1, 2]);
        let mut follower = writer.window();
        for second in 6..30 {
            push(&mut writer, second);
            follower.refresh();
        }
        // Eight seconds, and the one that is exactly as old.
        assert_eq!(writer.batches(), 9);
        assert_eq!((follower.first(), follower.start().map(|b| b.seq())), (21, Some(28)));
        drop(follower);
        assert_eq!((push(&mut writer, 30), writer.bytes() > 900), (1, true));
    }
}
