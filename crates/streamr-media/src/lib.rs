#![doc = include_str!("../README.md")]

pub mod amf;
pub mod cmaf;
pub mod codec;
mod error;
/// Stands on psyne's channels, which are Linux's so far.
#[cfg(target_os = "linux")]
pub mod fanout;
pub mod flv;
pub mod hls;
pub mod media;
pub mod mp4;
pub mod rtmp;
pub mod rtp;
pub mod timeline;
pub mod ts;

pub use error::Error;
