//! What outlives the process: streams, hashes of keys, broadcasts, settings.

#[doc(hidden)]
pub mod conformance;
mod sqlite;

use async_trait::async_trait;
use streamr_core::id::{BroadcastId, StreamName};
use streamr_core::key::KeyHash;
use streamr_core::lifecycle::{Saved, State};

use crate::Error;

pub use sqlite::Sqlite;

/// Bytes in the longest title of a stream.
pub const TITLE_BYTES_MAX: usize = 200;

/// A stream as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// What it is called in addresses.
    pub name: StreamName,
    /// What it is called on pages; at most `TITLE_BYTES_MAX` bytes.
    pub title: String,
    /// What it was when last heard of.
    pub state: State,
    /// The hash of its key.
    pub key: KeyHash,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
    /// Its broadcast that has not ended.
    pub broadcast: Option<Broadcast>,
}

impl Stream {
    /// What its `Lifecycle` starts from.
    #[must_use]
    pub fn saved(&self) -> Saved {
        Saved { state: self.state, broadcast: self.broadcast.as_ref().map(|b| b.id) }
    }
}

/// A broadcast as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broadcast {
    /// Its id.
    pub id: BroadcastId,
    /// When it began, milliseconds since the Unix epoch.
    pub started_unix_ms: u64,
    /// When it ended; `None` while it is on.
    pub ended_unix_ms: Option<u64>,
    /// The most viewers it had at once.
    pub viewers_peak: u32,
}

/// A stream to be made.
#[derive(Clone, Debug)]
pub struct NewStream {
    /// What it is called in addresses.
    pub name: StreamName,
    /// What it is called on pages.
    pub title: String,
    /// The hash of its key.
    pub key: KeyHash,
    /// Now, milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
}

/// Storage. Every change is durable and whole when its call returns. All methods fail with the
/// `Store*` errors when the database does; other errors are named where they happen.
/// `store::conformance` is the suite that every implementation passes.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// All streams, archived ones too, by name.
    async fn streams(&self) -> Result<Vec<Stream>, Error>;

    /// The stream of that name.
    async fn stream(&self, name: &StreamName) -> Result<Option<Stream>, Error>;

    /// The stream whose key has that hash; a rotated key finds nothing.
    async fn stream_by_key(&self, key: &KeyHash) -> Result<Option<Stream>, Error>;

    /// Makes a stream, `ready`. `Error::NameTaken` if the name is.
    async fn add_stream(&self, new: &NewStream) -> Result<Stream, Error>;

    /// Changes what it is called on pages. `Error::NoStream` if there is none.
    async fn set_title(&self, name: &StreamName, title: &str) -> Result<(), Error>;

    /// Replaces its key. `Error::NoStream` if there is none.
    async fn set_key(&self, name: &StreamName, key: &KeyHash) -> Result<(), Error>;

    /// Remembers what it is. `Error::NoStream` if there is none, `Error::State` if it is archived
    /// and should be something else: whoever archives it wins.
    async fn set_state(&self, name: &StreamName, state: State) -> Result<(), Error>;

    /// Remembers that a broadcast began. `Error::NoStream` if there is no such stream. One that
    /// was still open is closed as of now: there is at most one.
    async fn start_broadcast(
        &self,
        name: &StreamName,
        id: BroadcastId,
        now_unix_ms: u64,
    ) -> Result<(), Error>;

    /// Remembers that it ended and how many watched. Nothing if it had ended before.
    async fn end_broadcast(
        &self,
        id: BroadcastId,
        now_unix_ms: u64,
        viewers_peak: u32,
    ) -> Result<(), Error>;

    /// The newest broadcasts of a stream, at most `limit`, newest first.
    async fn broadcasts(&self, name: &StreamName, limit: u32) -> Result<Vec<Broadcast>, Error>;

    /// A setting.
    async fn setting(&self, key: &str) -> Result<Option<String>, Error>;

    /// Changes a setting.
    async fn set_setting(&self, key: &str, value: &str) -> Result<(), Error>;

    /// Whether it can be written now: writes something, and says what is wrong if that fails.
    async fn check(&self) -> Result<(), Error>;

    /// Writes back what is open and lets go; calls after it fail.
    async fn close(&self);
}
