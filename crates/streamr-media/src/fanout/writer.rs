//! Cuts messages into batches.

use std::sync::Arc;

use bytes::Bytes;
use psyne::Time;

use super::batch::Builder;
use super::{Batch, Config, Role, Window};
use crate::Error;
use crate::flv::{Kind, Tag};

/// The writing end of a stream's buffer.
#[derive(Debug)]
pub struct Writer {
    config: Config,
    window: Window,
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
            window: Window::new(config.clone()),
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
            let batch = self.open.seal(self.window.next(), self.prelude.take());
            self.window.push(batch);
        }
    }

    /// What readers can have.
    #[must_use]
    pub fn window(&self) -> &Window {
        &self.window
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
