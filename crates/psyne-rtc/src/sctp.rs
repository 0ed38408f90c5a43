//! Our own SCTP association, behind [`crate::association::Association`].
//!
//! What of SCTP is spoken, and why so: docs/wire/sctp.md. Work on a packet does not grow with the
//! bytes in flight: what was sent and what arrived are rings and ranges by TSN, losses are found
//! in the order of sending (RACK), and streams take turns.
//!
//! Reading order: `machine` is the association, `read` and `handshake` what packets do to
//! it, `streams`, `launch` and `flight` the way out, `inbound` and `assembly` the way in, `bbr`
//! and `pacer` how fast.

mod assembly;
mod bbr;
mod config;
mod cookie;
mod flight;
mod handshake;
mod inbound;
mod launch;
mod machine;
mod pacer;
mod ranges;
mod read;
mod resets;
mod rtt;
mod streams;
mod tickets;
mod wire;

pub use config::Config;
pub use machine::{Association, Metrics};
