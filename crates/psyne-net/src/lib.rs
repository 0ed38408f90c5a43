#![doc = include_str!("../README.md")]

pub mod channel;
mod door;
mod error;
pub mod frame;
mod serve;
pub mod signal;
mod stream;
mod tcp;
mod unix;
pub mod uri;

pub use channel::{Channel, Driver, Listener, Message, Options, Reason};
pub use door::{connect, listen};
pub use error::Error;
