#![doc = include_str!("../README.md")]
#![cfg_attr(any(loom, miri), allow(dead_code, reason = "models have no other processes"))]

mod address;
mod audience;
mod calls;
mod claim;
mod config;
mod crowd;
mod desk;
mod ends;
mod error;
#[cfg(not(any(loom, miri)))]
#[doc(hidden)]
pub mod foreign;
#[cfg_attr(any(loom, miri), path = "ipc/model.rs")]
mod ipc;
mod lanes;
#[cfg(not(any(loom, miri)))]
pub mod observe;
mod place;
mod policy;
#[allow(unsafe_code)]
mod raw;
mod sync;
mod team;
mod wait;
#[cfg(not(any(loom, miri)))]
mod watch;

pub mod any;
pub mod broadcast;
pub mod bytes;
pub mod event;
pub mod latest;
pub mod mpmc;
pub mod mpsc;
pub mod plain;
pub mod request;
pub mod spmc;
pub mod spsc;
pub mod tensor;

pub use config::{Ask, Config, Full, Verdict, Wait};
pub use ends::Stats;
pub use error::{Error, Reason};
pub use lanes::ENDS_MAX;
pub use psyne_derive::Message;
pub use raw::{Layout, Message};
#[cfg(not(any(loom, miri)))]
pub use watch::{Ready, Watch, Watched};
