#![doc = include_str!("../README.md")]

mod config;
mod ends;
mod error;
#[allow(unsafe_code)]
mod raw;
mod sync;
mod wait;

pub mod broadcast;
pub mod bytes;
pub mod latest;
pub mod spsc;

pub use config::{Ask, Config, Full, Verdict, Wait};
pub use ends::Stats;
pub use error::{Error, Reason};
pub use psyne_derive::Message;
pub use raw::{Layout, Message};
