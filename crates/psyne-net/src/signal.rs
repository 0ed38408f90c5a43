//! Signaling: how two peers that cannot reach each other yet exchange what WebRTC needs.
//!
//! A [`Hub`] decides who is in which group and what goes to whom; a [`Member`] is its other side.
//! Both are machines without I/O. [`server`] and [`client`] put them on WebSockets. What they say
//! is docs/wire/signal.md.

pub mod client;
mod http;
pub mod hub;
mod limits;
mod member;
mod message;
mod rate;
pub mod server;
pub(crate) mod tls;
mod token;

pub use hub::Hub;
pub use limits::Limits;
pub use member::{Backoff, Config as MemberConfig, Event, Member, Output as MemberOutput};
pub use message::{FromHub, Ice, Join, Name, Refusal, Signal, ToHub, Welcome};
pub use rate::Rate;
pub use token::{Secret, Ticket, turn_password};

/// The version of what is said, which is also the WebSocket subprotocol [`SUBPROTOCOL`].
pub const VERSION: u32 = 1;
/// The WebSocket subprotocol (RFC 6455, 1.9) that both sides name.
pub const SUBPROTOCOL: &str = "psyne.signal.1";
