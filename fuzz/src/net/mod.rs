//! Targets of psyne-net.

pub mod frame;
pub mod signal;

/// A target: its name, which is also the folder of its seeds, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target of this crate.
pub const TARGETS: &[Target] = &[
    ("channel_datagram", frame::datagram),
    ("channel_stream", frame::stream),
    ("signal_from_hub", signal::from_hub),
    ("signal_hub_ops", signal::hub_ops),
    ("signal_to_hub", signal::to_hub),
    ("signal_token", signal::token),
];
