//! RTMP 1.0 with Enhanced RTMP v1 and v2, as machines without I/O.
//!
//! [`Server`] and [`Client`] speak a whole connection. Once a player plays, the server's driver may
//! take its socket over with [`Server::into_player`] and keep the few hundred bytes of a
//! [`PlayerControl`]. [`chunk`] is the wire; `docs/wire/rtmp.md` says what of the protocol is
//! spoken and why.

pub mod chunk;
mod client;
mod command;
mod handshake;
mod link;
mod player;
mod server;
mod url;

use core::time::Duration;

use bytes::Bytes;
use psyne::Time;

pub use client::{Client, ClientEvent, Intent, Target};
pub use player::{PlayerControl, PlayerEvent};
pub use server::{Connect, Event, Parts, Reject, Server, StreamId};
pub use url::Url;

/// Limits and habits of one connection, for both roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The only applications to connect to (`live` of `rtmp://host/live/key`); empty means any.
    pub apps: Vec<String>,
    /// Bytes of one message. A picture of 100 Mbit/s at one frame a second still fits.
    pub message_bytes_max: u32,
    /// Bytes of all unfinished messages together: one largest picture and the sound beside it.
    pub partial_bytes_max: u32,
    /// Chunk streams of one peer. Encoders use 3 to 8.
    pub chunk_streams_max: u16,
    /// Bytes of a command; only media may be longer. A `connect` takes about 500.
    pub command_bytes_max: u32,
    /// Bytes of an application, stream or key name with its query. Signed queries take some 500.
    pub name_bytes_max: u16,
    /// Message streams of one connection. Encoders and players use one.
    pub streams_max: u8,
    /// Bytes of media that arrive between `publish` and our answer to it.
    pub held_bytes_max: u32,
    /// Events that wait to be polled. One input of 64 KiB with a tag in every 12 bytes makes 5,400.
    pub events_max: u32,
    /// Bytes of replies that wait to be polled. Each reply answers a message, so only a flood of
    /// commands comes near it. A [`Client`] that publishes is not bound by it.
    pub output_bytes_max: u32,
    /// The chunk size that we announce and send with: few headers, and still short enough that a
    /// picture does not hold the sound up.
    pub chunk_bytes: u32,
    /// Bytes after which each side acknowledges.
    pub window_bytes: u32,
    /// From the first byte to an accepted `publish` or `play`.
    pub setup_timeout: Duration,
    /// Without a byte from a publisher (server) or from the stream that is played (client).
    pub idle_timeout: Duration,
    /// Whether a [`Client`] offers the digest handshake. Servers answer whichever they are offered.
    pub digest: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            apps: Vec::new(),
            message_bytes_max: (16 << 20) - 1,
            partial_bytes_max: 20 << 20,
            chunk_streams_max: 64,
            command_bytes_max: 64 << 10,
            name_bytes_max: 1_024,
            streams_max: 8,
            held_bytes_max: 4 << 20,
            events_max: 65_536,
            output_bytes_max: 256 << 10,
            chunk_bytes: 60_000,
            window_bytes: 2_500_000,
            setup_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(30),
            digest: false,
        }
    }
}

impl Config {
    const fn chunk_limits(&self) -> chunk::Limits {
        chunk::Limits {
            message_bytes_max: self.message_bytes_max,
            partial_bytes_max: self.partial_bytes_max,
            chunk_streams_max: self.chunk_streams_max,
        }
    }
}

/// What a machine wants from its driver. Drain it until it says `Wait`.
#[derive(Clone, Debug, PartialEq)]
pub enum Output<E = Event> {
    /// Send these bytes, in order.
    Transmit(Bytes),
    /// This happened.
    Event(E),
    /// Nothing more until then (call `handle_timeout`), or until the next input or verb.
    Wait(Option<Time>),
}

/// Why a machine ended its connection. The driver flushes and closes the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Closed {
    /// We refused a request and have said so.
    Rejected,
    /// `setup_timeout` passed without an accepted request.
    SetupTimeout,
    /// `idle_timeout` passed without a byte.
    IdleTimeout,
}

const fn malformed(reason: &'static str) -> crate::Error {
    crate::Error::malformed("RTMP", reason)
}

impl Config {
    /// # Errors
    /// [`crate::Error::Limit`] of `events_max`: nobody takes them.
    fn check_events(&self, waiting: usize) -> Result<(), crate::Error> {
        let max = self.events_max;
        if waiting > max as usize {
            return Err(limit("events_max", waiting, max.into()));
        }
        Ok(())
    }
}

fn limit(limit: &'static str, value: usize, max: u64) -> crate::Error {
    crate::Error::Limit { limit, value: value as u64, max }
}
