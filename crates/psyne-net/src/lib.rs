#![doc = include_str!("../README.md")]

pub mod channel;
mod door;
mod error;
pub mod frame;
pub mod gather;
mod p2p;
mod pulse;
pub mod rtc;
mod serve;
pub mod signal;
pub mod socket;
mod stream;
mod tcp;
pub mod tls;
pub mod turn;
mod udp;
mod unix;
pub mod uri;
mod webrtc;
mod ws;

pub use channel::{Channel, Driver, Listener, Message, Options, Reason};
pub use door::{connect, listen};
pub use error::Error;
