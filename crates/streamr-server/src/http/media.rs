//! The door between the pages and what is on: `live` stands behind it.

use async_trait::async_trait;
use bytes::Bytes;
use streamr_core::id::StreamName;
use streamr_core::lifecycle::{Lifecycle, State};
use streamr_media::hls::Opening;

use super::{Request, Response};
use crate::{App, Error};

/// What can be said of a stream that is on, beyond what is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Viewers now, by all ways of watching.
    pub viewers: u32,
    /// Pixels, when known.
    pub width: Option<u16>,
    /// Pixels, when known.
    pub height: Option<u16>,
    /// RFC 6381 names: `avc1.64001f`, `mp4a.40.2`.
    pub codecs: Vec<String>,
    /// `source`, `480p` …, best first.
    pub renditions: Vec<String>,
    /// Whether `Media::thumbnail` has one.
    pub thumbnail: bool,
}

/// What a creator asks of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// The test is over: `Lifecycle::go_live`.
    GoLive,
    /// The broadcast is over: `Lifecycle::end`.
    End,
    /// The stream is over: `Lifecycle::archive`.
    Archive,
    /// The key was rotated: whoever publishes with the old one is cut off.
    KeyRotated,
}

/// What is on. Implementations own the `Lifecycle` of every stream that is on and write what it
/// says to the store.
#[async_trait]
pub trait Media: Send + Sync + 'static {
    /// What is known of a stream beyond the store; `None` if nothing is on.
    fn status(&self, name: &StreamName) -> Option<Status>;

    /// What a stream is now, which the store hears a moment later; `None` if nothing has happened
    /// to it since the server started.
    fn state(&self, name: &StreamName) -> Option<State>;

    /// A JPEG of it, not older than half a minute.
    fn thumbnail(&self, name: &StreamName) -> Option<Bytes>;

    /// What a player that opens the stream now will need, by paths below `/hls/NAME/`.
    fn opening(&self, name: &StreamName) -> Option<Opening>;

    /// Answers GET and HEAD below `/hls/` and `/flv/`. May take as long as a blocked playlist does
    /// and may send without end. CORS and security headers are added outside.
    async fn respond(&self, request: Request) -> Response;

    /// Does what a creator asks, for any stream in the store.
    ///
    /// # Errors
    /// `Error::Rule` if the stream's state does not allow it, or what the store says.
    async fn command(&self, name: &StreamName, command: Command) -> Result<(), Error>;

    /// Why it cannot take publishers now; `None` if it can. For `/readyz`.
    fn trouble(&self) -> Option<String>;

    /// Finishes open segments, says goodbye to publishers and players. Called once, at shutdown,
    /// after `Shutdown::begin`; given 10 seconds.
    async fn close(&self);
}

/// A server on which nothing is ever on: for tests, and for a process that only serves pages.
pub struct Idle(App);

impl Idle {
    /// Over this app's store.
    #[must_use]
    pub const fn new(app: App) -> Self {
        Self(app)
    }
}

#[async_trait]
impl Media for Idle {
    fn status(&self, _: &StreamName) -> Option<Status> {
        None
    }

    fn state(&self, _: &StreamName) -> Option<State> {
        None
    }

    fn thumbnail(&self, _: &StreamName) -> Option<Bytes> {
        None
    }

    fn opening(&self, _: &StreamName) -> Option<Opening> {
        None
    }

    async fn respond(&self, _: Request) -> Response {
        super::reply::error(&super::reply::Fault::NotFound)
    }

    async fn command(&self, name: &StreamName, command: Command) -> Result<(), Error> {
        let store = &self.0.store;
        let stream = store.stream(name).await?.ok_or(Error::NoStream(name.to_string()))?;
        let now = psyne::Time::ZERO;
        let mut life = Lifecycle::new(self.0.config.lifecycle(), now, 0, stream.saved());
        match command {
            Command::GoLive => life.go_live(now)?,
            Command::End => life.end(now)?,
            Command::Archive => life.archive(now),
            Command::KeyRotated => {}
        }
        if let Some(broadcast) = stream.broadcast.filter(|_| life.broadcast().is_none()) {
            store.end_broadcast(broadcast.id, crate::time::unix_ms(), 0).await?;
        }
        if life.state() == stream.state || stream.state == State::Archived {
            return Ok(());
        }
        store.set_state(name, life.state()).await
    }

    fn trouble(&self) -> Option<String> {
        None
    }

    async fn close(&self) {}
}
