#![doc = include_str!("../README.md")]

mod error;
pub mod media;

pub use error::Error;
