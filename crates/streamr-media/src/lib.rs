#![doc = include_str!("../README.md")]

pub mod amf;
pub mod codec;
mod error;
pub mod fanout;
pub mod flv;
pub mod media;
pub mod rtmp;

pub use error::Error;
