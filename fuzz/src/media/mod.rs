//! Targets of streamr-media.

pub mod amf;
pub mod flv;
pub mod rtmp;

/// A target: its name, which is also the folder of its seeds, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target of this crate.
pub const TARGETS: &[Target] = &[
    ("amf0", amf::amf0),
    ("amf3", amf::amf3),
    ("flv_demux", flv::demux),
    ("rtmp_client_bytes", rtmp::client_bytes),
    ("rtmp_server_bytes", rtmp::server_bytes),
    ("rtmp_server_ops", rtmp::server_ops),
];
