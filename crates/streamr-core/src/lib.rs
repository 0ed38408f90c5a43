#![doc = include_str!("../README.md")]

mod error;
pub mod id;
pub mod key;
pub mod lifecycle;

pub use error::Error;
