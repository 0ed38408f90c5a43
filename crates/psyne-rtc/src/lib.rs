#![doc = include_str!("../README.md")]

pub mod association;
mod error;
pub mod sctp;

pub use error::Error;
