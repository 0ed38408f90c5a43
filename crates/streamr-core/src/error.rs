//! What a caller can ask for that is not allowed.

use crate::lifecycle::{Reason, State};

/// A request that the rules of the product refuse. Nothing has changed when it is returned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A stream name that could not stand in an address; `reason` says what to change.
    #[error("stream name: {reason}")]
    Name {
        /// What the name breaks.
        reason: &'static str,
    },
    /// Text that is not a stream key. Not the same as a wrong key: this one cannot be right.
    #[error("this is not a stream key: keys look like sk_ and 32 letters and digits")]
    Key,
    /// Text that is not an id.
    #[error("this is not an id: ids are 13 letters and digits")]
    Id,
    /// A move that the lifecycle's table does not list.
    #[error("a stream that is {from} does not move for {reason}")]
    Move {
        /// The state it is in.
        from: State,
        /// What was asked for.
        reason: Reason,
    },
    /// Somebody is publishing with this key already.
    #[error("this stream has a publisher already: stop that one first")]
    Busy,
}

impl Error {
    /// A stable name for logs, metrics, HTTP and other languages.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Name { .. } => "bad_name",
            Self::Key => "bad_key",
            Self::Id => "bad_id",
            Self::Move { .. } => "bad_state",
            Self::Busy => "busy",
        }
    }
}
