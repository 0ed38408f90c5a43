//! What can go wrong. A peer's fault, or a full channel, is a value; misuse by the caller panics.

/// Everything that a channel can answer instead of doing what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The channel is full and its policy was not to wait any longer. Nothing was sent.
    #[error("the channel is full: send less, or open it with more slots")]
    Full,
    /// Nothing came, or no room came free, within the time given.
    #[error("nothing happened within the time given")]
    TimedOut,
    /// The other side is gone, and everything that it sent has been received.
    #[error("the channel is closed: {0}")]
    Closed(Reason),
    /// So many messages were overwritten before they were received. The next receive goes on after
    /// them.
    #[error("{0} messages were overwritten before they were received")]
    Lagged(u64),
    /// No more receivers were agreed on when the channel was opened.
    #[error("there are {0} receivers already: open the channel for more")]
    Crowded(usize),
    /// The message does not fit into the channel, whatever its state.
    #[error("{bytes} bytes do not fit: the channel takes messages up to {bytes_max}")]
    TooLong {
        /// What was asked for.
        bytes: usize,
        /// What the channel was opened for.
        bytes_max: usize,
    },
    /// The other side wrote what no correct side writes. The channel can't go on.
    #[error("the other side broke the protocol: {0}")]
    Corrupt(&'static str),
    /// The configuration contradicts itself; the text says where.
    #[error("the configuration is wrong: {0}")]
    Config(&'static str),
    /// The operating system refused memory.
    #[error("the system refused memory for the channel: {0}")]
    Memory(String),
}

impl Error {
    /// A stable name for other languages and for logs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::TimedOut => "timed_out",
            Self::Closed(_) => "closed",
            Self::Lagged(_) => "lagged",
            Self::Crowded(_) => "crowded",
            Self::TooLong { .. } => "too_long",
            Self::Corrupt(_) => "corrupt",
            Self::Config(_) => "config",
            Self::Memory(_) => "memory",
        }
    }
}

/// Why a channel is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The other side was dropped.
    #[error("the other side finished")]
    Finished,
}
