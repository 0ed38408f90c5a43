//! Targets of streamr-server.

pub mod http;

/// A target: its name, which is also the folder of its seeds, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target of this crate.
pub const TARGETS: &[Target] = &[("http_head", http::head)];
