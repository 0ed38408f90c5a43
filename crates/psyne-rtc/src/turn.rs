//! Relaying by TURN (RFC 8656): the client, the server, and what both speak. Machines without I/O.
//!
//! Over UDP each datagram is one frame, over TCP and TLS [`Framer`] finds frames in the stream.
//! What is spoken and what is left out: docs/wire/turn.md.

mod allocation;
mod ask;
mod client;
mod credential;
mod framer;
mod guard;
mod peers;
mod reach;
mod server;

use core::ops::RangeInclusive;
use core::time::Duration;

pub use client::{Client, ClientConfig, ClientEvent, ClientOutput, Failure, Transport};
pub use credential::{Credential, Users, issue};
pub use framer::Framer;
pub use reach::{Prefix, Reach};
pub use server::{
    AllocationId, Flow, FromPeer, Server, ServerConfig, ServerMetrics, ServerOutput, ToPeer, Via,
};

/// Numbers of channels that are taken: those of RFC 5766 §11, from which coturn's client draws.
const CHANNELS_TAKEN: RangeInclusive<u16> = 0x4000..=0x7FFE;
/// Numbers of channels that are given (RFC 8656 §12).
const CHANNELS: RangeInclusive<u16> = 0x4000..=0x4FFF;
/// Bytes before the data of ChannelData (RFC 8656 §12.4).
pub const CHANNEL_HEADER_BYTES: usize = 4;
/// How long a permission holds (RFC 8656 §9).
const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);

/// Of which kind an address is (RFC 8656 §18.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    #[default]
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The kind of this address.
    #[must_use]
    pub const fn of(ip: core::net::IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    const fn number(self) -> u8 {
        match self {
            Self::V4 => 1,
            Self::V6 => 2,
        }
    }
}

/// The header of ChannelData.
fn channel_header(number: u16, length: usize) -> [u8; CHANNEL_HEADER_BYTES] {
    let [a, b] = number.to_be_bytes();
    // Datagrams are shorter than 64 KiB; whoever calls has looked.
    let [c, d] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    [a, b, c, d]
}

/// Number and data of ChannelData, which may be followed by padding (RFC 8656 §12.6).
fn channel_data(frame: &[u8]) -> Option<(u16, &[u8])> {
    let (head, rest) = frame.split_at_checked(CHANNEL_HEADER_BYTES)?;
    let number = u16::from_be_bytes([*head.first()?, *head.get(1)?]);
    let length = u16::from_be_bytes([*head.get(2)?, *head.get(3)?]);
    let data = rest.get(..usize::from(length))?;
    CHANNELS_TAKEN.contains(&number).then_some((number, data))
}
