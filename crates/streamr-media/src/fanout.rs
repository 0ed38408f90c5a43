//! One buffer a stream, framed once, read by any number of players.
//!
//! ```text
//! flv::Tag ─► Writer ─seal─► Arc<Batch> ─► Window (one a thread) ─► Reader (one a player)
//! ```
//!
//! The [`Writer`] cuts tags as they come into immutable [`Batch`]es, which share the bytes of the
//! tags until the first RTMP reader asks for a batch: then it is framed, once, for all of them.
//! They are broadcast by `psyne::channel::broadcast::values`, key frames being marks. A [`Window`]
//! is a follower of that, a queue of reference counts: each thread has its own, and no lock is held
//! while sockets are written. A [`Reader`] is a position: it costs a player some forty bytes, and
//! whoever is caught up sends the very same slice.
//!
//! HTTP-FLV differs from RTMP in a few bytes around each message, so a batch derives its FLV form
//! from that when the first FLV reader asks for it. Streams without readers pay for neither.
//!
//! Without windows but the writer's own, the newest group of pictures is all that is held.
//!
//! A batch in which a decoder can start begins with the key frame and carries a *prelude*:
//! metadata and sequence headers as of then. Whoever joins, or fell behind, continues there.

mod batch;
mod reader;
mod role;
mod window;
mod writer;

use core::time::Duration;

pub use batch::{Batch, Framing, MESSAGE_STREAM_ID};
pub use reader::Reader;
pub use role::Role;
pub use window::Window;
pub use writer::Writer;

/// Limits of a stream's buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Payload bytes in one RTMP chunk. Players must be told by Set Chunk Size. 60,000 is taken by
    /// every known player, makes most messages a single chunk, and is what `rtmp::Config` says.
    pub chunk_bytes: u32,
    /// A batch is sealed when it holds this much, even if no reader asks. 64 KiB is 40 ms at
    /// 13 Mbit/s, and a good size for one `send`.
    pub batch_bytes_max: usize,
    /// A reader that is further behind continues at the newest key frame, if there is a newer one.
    /// 8 s is longer than the hiccups of a mobile network, and short enough to remain live.
    pub lag_max: Duration,
    /// How long a group of pictures is kept for joining when no key frame comes. After that, who
    /// joins waits for the next key frame.
    pub group_max: Duration,
    /// Bytes kept whatever the times say: 20 Mbit/s for 12 s.
    pub window_bytes_max: usize,
    /// Longest message that is accepted. The length field has 24 bits.
    pub message_bytes_max: usize,
    /// Sequence headers remembered, one a track, metadata included.
    pub headers_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            chunk_bytes: 60_000,
            batch_bytes_max: 64 << 10,
            lag_max: Duration::from_secs(8),
            group_max: Duration::from_secs(30),
            window_bytes_max: 32 << 20,
            message_bytes_max: (16 << 20) - 1,
            headers_max: 16,
        }
    }
}
