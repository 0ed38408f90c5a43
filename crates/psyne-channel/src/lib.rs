#![doc = include_str!("../README.md")]

mod config;
mod ends;
mod error;
mod lanes;
#[allow(unsafe_code)]
mod raw;
mod sync;
mod wait;

pub mod broadcast;
pub mod bytes;
pub mod latest;
pub mod mpsc;
pub mod spsc;

pub use config::{Ask, Config, Full, Verdict, Wait};
pub use ends::Stats;
pub use error::{Error, Reason};
pub use lanes::ENDS_MAX;
pub use psyne_derive::Message;
pub use raw::{Layout, Message};
