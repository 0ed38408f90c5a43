//! Targets of streamr-media.

pub mod amf;
pub mod codec;
pub mod flv;
pub mod hls;
pub mod mp4;
pub mod rtmp;
pub mod rtp;
pub mod ts;

/// A target: its name, which is also the folder of its seeds, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target of this crate.
pub const TARGETS: &[Target] = &[
    ("aac", codec::aac),
    ("amf0", amf::amf0),
    ("amf3", amf::amf3),
    ("av1", codec::av1),
    ("flv_demux", flv::demux),
    ("h264", codec::h264),
    ("hevc", codec::hevc),
    ("hls_ops", hls::ops),
    ("hls_request", hls::request),
    ("mp4", mp4::file),
    ("mp4_fragment", mp4::fragment),
    ("opus", codec::opus),
    ("rtmp_client_bytes", rtmp::client_bytes),
    ("rtmp_server_bytes", rtmp::server_bytes),
    ("rtmp_server_ops", rtmp::server_ops),
    ("rtp_frames", rtp::frames),
    ("stamp", codec::stamp),
    ("ts", ts::demux),
    ("vp9", codec::vp9),
];
