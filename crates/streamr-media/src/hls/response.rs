//! What a player gets.

use bytes::Bytes;

use super::Event;
use crate::media::TrackId;

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Send this.
    Ready(Reply),
    /// It is not there yet. Wait until an event meets the condition, then ask again; after three
    /// target durations give up with [`Reply::timed_out`].
    Block(Until),
}

/// An HTTP response without its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status: 200, 400, 404 or 503.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// `Cache-Control`, see docs/guide/caching.md.
    pub cache_control: &'static str,
    /// The body, shared by all who get it.
    pub body: Bytes,
}

/// What a blocked request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Until {
    /// The track that has to get on; `None`: any.
    pub track: Option<TrackId>,
    /// The media sequence number to reach.
    pub msn: u64,
    /// The part of it to reach; `None`: its end.
    pub part: Option<u32>,
}

impl Until {
    /// Whether `event` ends the wait.
    #[must_use]
    pub fn is_met_by(&self, event: &Event) -> bool {
        let same = |track| self.track.is_none_or(|mine| mine == track);
        match *event {
            Event::Ended => true,
            Event::SegmentReady { track, msn } => same(track) && msn >= self.msn,
            Event::PartReady { track, msn, part } => {
                same(track)
                    && (msn > self.msn || msn == self.msn && self.part.is_some_and(|p| part >= p))
            }
        }
    }
}

pub(super) const PLAYLIST: &str = "application/vnd.apple.mpegurl";
const TEXT: &str = "text/plain; charset=utf-8";

/// Bytes that never change under their URL.
pub(super) const CACHE_MEDIA: &str = "public, max-age=86400, immutable";
/// A playlist that was asked for by its contents: six target durations, as the draft says (B.1).
/// Sequence numbers never come again, so no other broadcast meets it.
pub(super) const CACHE_BLOCKING: &str = "public, max-age=24";
/// A playlist as it stands.
pub(super) const CACHE_PLAIN: &str = "public, max-age=1";
/// Will never exist.
const CACHE_GONE: &str = "public, max-age=6";
const CACHE_NEVER: &str = "no-store";

impl Reply {
    pub(super) const fn playlist(body: Bytes, cache_control: &'static str) -> Self {
        Self { status: 200, content_type: PLAYLIST, cache_control, body }
    }

    pub(super) const fn media(body: Bytes, content_type: &'static str) -> Self {
        Self { status: 200, content_type, cache_control: CACHE_MEDIA, body }
    }

    const fn error(status: u16, cache_control: &'static str, body: &'static str) -> Self {
        let body = Bytes::from_static(body.as_bytes());
        Self { status, content_type: TEXT, cache_control, body }
    }

    pub(super) const fn gone() -> Self {
        Self::error(404, CACHE_GONE, "no longer here\n")
    }

    /// 404: there is no such stream, track or file, at least not now.
    #[must_use]
    pub const fn not_found() -> Self {
        Self::error(404, CACHE_NEVER, "not found\n")
    }

    /// 400: the delivery directives ask for what cannot be (draft §6.2.5.2).
    #[must_use]
    pub const fn bad_request() -> Self {
        Self::error(400, CACHE_NEVER, "delivery directives are inconsistent or too far ahead\n")
    }

    /// 503: a blocked request waited for three target durations (draft §6.2.5.2).
    #[must_use]
    pub const fn timed_out() -> Self {
        Self::error(503, CACHE_NEVER, "the stream does not get on\n")
    }
}
