//! What the engine asks of whoever knows the streams.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Stream, Topic};

/// Answers for media. The engine calls it from its own threads, many times a millisecond: it must
/// not block, and what it returns is shared, not copied.
pub trait Media: Send + Sync + 'static {
    /// Answers `GET /hls/{stream}/{path}?{query}`. Asked again, with the same arguments, when what
    /// a [`Answer::Block`] waits for has come.
    fn hls(&self, stream: &str, path: &str, query: Option<&str>) -> Answer;

    /// Somebody asks for `GET /hls/{stream}/{path}?{query}`, once each time: for counting viewers.
    fn asked(&self, stream: &str, path: &str, query: Option<&str>, by: Asker<'_>) {
        let _ = (stream, path, query, by);
    }

    /// The live stream of this name, for HTTP-FLV players; `None` if it is not live.
    fn stream(&self, name: &str) -> Option<Arc<Stream>>;
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker<'a> {
    /// The address that the connection comes from.
    pub address: IpAddr,
    /// Value of `User-Agent`; empty if it says none.
    pub user_agent: &'a [u8],
}

/// What to do about a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Send this.
    Ready(Reply),
    /// Send nothing until the topic has reached the version, then ask again.
    Block(Block),
}

/// A complete answer. Cloning it copies no bytes.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Value of `Content-Type`.
    pub content_type: &'static str,
    /// Value of `Cache-Control`.
    pub cache_control: &'static str,
    /// Value of `ETag` with its quotes, for answers that can be revalidated.
    pub etag: Option<Bytes>,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// A short plain-text answer that must not be cached, for errors.
    #[must_use]
    pub fn text(status: u16, text: &'static str) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            cache_control: "no-store",
            etag: None,
            body: Bytes::from_static(text.as_bytes()),
        }
    }
}

/// Until when a request sleeps.
#[derive(Clone, Debug)]
pub struct Block {
    /// What it waits on: usually one topic for each media playlist.
    pub topic: Arc<Topic>,
    /// The version of the topic that lets it go on.
    pub version: u64,
    /// Answer 503 if that takes longer (RFC 8216bis, 6.2.5.2: three target durations).
    pub timeout: Duration,
}
