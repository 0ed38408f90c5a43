//! The bodies of all fuzz targets, as plain functions. See README.md.

pub mod channel;
pub mod drive;
pub mod media;
pub mod net;
pub mod rtc;
pub mod sctp;
pub mod server;
