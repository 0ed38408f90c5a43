//! Targets of psyne-rtc.

pub mod ops;
pub mod text;
pub mod turn;

/// A target: its name, which is also the folder of its seeds, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every parser of this crate.
pub const PARSERS: &[Target] = &[
    ("rtc_candidate", text::candidate),
    ("rtc_dcep", text::dcep),
    ("rtc_sdp", text::sdp),
    ("stun", turn::stun),
    ("turn_client_ops", turn::client_ops),
    ("turn_server_ops", turn::server_ops),
    ("turn_stream", turn::stream),
];

/// The operations in any order, which cost handshakes.
pub const OPS: &[Target] = &[("rtc_session_ops", ops::session)];
