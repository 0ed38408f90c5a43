#![doc = include_str!("../README.md")]

pub mod association;
mod candidate;
mod certificate;
mod channels;
mod clock;
mod dcep;
mod dtls;
mod error;
#[cfg(feature = "media")]
pub mod media;
pub mod sctp;
pub mod sdp;
mod secret;
mod session;
pub mod stun;
pub mod turn;

pub use candidate::{Host, Local, Remote};
pub use certificate::{Certificate, Fingerprint};
pub use channels::{ChannelId, Config as ChannelsConfig, Event as ChannelEvent, Payload};
pub use dcep::{Dcep, Open};
pub use dtls::{SrtpKeys, Versions};
pub use error::Error;
pub use psyne_core::Time;
pub use secret::Seed;
pub use session::{Closed, Config, Event, Metrics, Output, Session, Transmit};
