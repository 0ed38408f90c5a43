#![doc = include_str!("../README.md")]

mod error;
pub mod uri;

pub use error::Error;
