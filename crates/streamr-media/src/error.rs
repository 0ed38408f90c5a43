//! What foreign bytes can do wrong.

/// A fault in bytes or requests that came from outside. The connection or file that caused it
/// ends; nothing else notices.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes break the format named by `format`; `reason` says where and how.
    #[error("{format}: {reason}")]
    Malformed {
        /// The format's usual name: "RTMP", "AMF0", "FLV", "MPEG-TS", "H.264" …
        format: &'static str,
        /// What was expected and what was found.
        reason: &'static str,
    },
    /// The bytes are well formed but use something that is not supported.
    #[error("{format}: {feature} is not supported")]
    Unsupported {
        /// The format's usual name.
        format: &'static str,
        /// What would have to be supported.
        feature: &'static str,
    },
    /// A named limit was reached; `limit` is the name of the field in the machine's config.
    #[error("limit {limit} reached: {value} is more than {max}")]
    Limit {
        /// Name of the limit, for instance "frame_bytes_max".
        limit: &'static str,
        /// What was asked for.
        value: u64,
        /// What is allowed.
        max: u64,
    },
}

impl Error {
    /// A stable name for logs, metrics and other languages.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed",
            Self::Unsupported { .. } => "unsupported",
            Self::Limit { .. } => "limit",
        }
    }

    pub(crate) const fn malformed(format: &'static str, reason: &'static str) -> Self {
        Self::Malformed { format, reason }
    }
}
