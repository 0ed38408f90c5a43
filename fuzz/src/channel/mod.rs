//! Targets of psyne-channel.

pub mod peer;
pub mod tensor;

/// A target: its name, which is also the folder of its seeds, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target of this crate.
pub const TARGETS: &[Target] = &[
    ("channel_hello", peer::hello),
    ("channel_tensor", tensor::view),
    ("channel_window", peer::window),
];
