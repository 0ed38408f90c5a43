//! The engine that feeds players.
//!
//! ```text
//!            ┌─ shard 0 ─ epoll: listeners, HTTP connections, players ─┐
//!  Handle ───┼─ shard 1 ─ …                                            ├── sockets
//!            └─ shard n ─ …                                            ┘
//!                 ▲ Media (answers)   ▲ Stream (fan-out)   ▲ Topic (wake-ups)
//! ```
//!
//! Each shard is one thread that owns its sockets outright; nothing is locked while it writes. It
//! answers `GET` and `HEAD` below `/hls/` and `/flv/` over HTTP/1.1 itself, with and without TLS.
//! Every other request, and every connection that speaks HTTP/2, is handed with all that was read
//! and its TLS session to the general HTTP server, as a [`Handover`].
//!
//! Work comes in turns: a connection that asks without end, an answer for thousands who waited and
//! a batch for thousands of players are left after a bounded part, and gone on with when every
//! other socket that was ready has been served.
//!
//! An idle connection costs one slot in a table and no buffer. Playlist requests that wait for a
//! part are kept as lists of slot numbers under the request that they share, so that one answer is
//! rendered for all of them.

mod conn;
mod deliver;
mod engine;
mod feed;
mod handover;
pub mod http;
mod link;
mod listener;
mod mailbox;
mod media;
mod metrics;
mod ring;
mod serve;
mod shard;
mod stream;
mod tls;
mod topic;
mod waiters;

use std::time::Duration;

pub use engine::{Driver, Handle, new};
pub use handover::{Handover, HandoverIo};
pub use link::Link;
pub use listener::Listener;
pub use media::{Answer, Asker, Block, Media, Reply};
pub use metrics::Metrics;
pub use stream::Stream;
pub use topic::Topic;

/// Limits and times of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Threads, each with its own sockets. 0 means one for each core.
    pub shards: usize,
    /// How long messages are collected before they are sent to players. One write a player and
    /// batch is what a core spends its time on; 40 ms is one picture at 25 frames a second.
    pub write_batch: Duration,
    /// Sends a batch to hundreds of players with one system call, by `io_uring`, where the system
    /// has it. It is a quarter cheaper: docs/decisions/0030.
    pub ring: bool,
    /// Sockets of all shards together, of every kind. More are closed at once.
    pub connections_max: usize,
    /// Longest head of an HTTP request. Browsers stay below 8 KiB.
    pub head_bytes_max: usize,
    /// How long a request head may take from its first byte.
    pub head_timeout: Duration,
    /// How long a connection may be silent between two requests.
    pub idle_timeout: Duration,
    /// How long a socket that has something to take may take nothing.
    pub stall_timeout: Duration,
    /// Connections that wait to be taken over by the general HTTP server.
    pub handovers_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            shards: 0,
            write_batch: Duration::from_millis(40),
            ring: true,
            connections_max: 65_536,
            head_bytes_max: 8 << 10,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            stall_timeout: Duration::from_secs(30),
            handovers_max: 1_024,
        }
    }
}
