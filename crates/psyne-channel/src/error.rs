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
    /// The process at the other side died, and everything that it sent has been received. Said
    /// once; what is asked next waits for another process to take its place.
    #[error("the other side died: it was process {pid}")]
    PeerDied {
        /// Its number, as this process sees it.
        pid: u32,
    },
    /// The other side means another type of message, or its memory is not as agreed.
    #[error("the other side has another layout: both need the same type of message")]
    LayoutMismatch,
    /// The name belongs to another kind of channel.
    #[error("the name belongs to another kind of channel")]
    PatternMismatch,
    /// The name can't be had: the text says why.
    #[error("the address can't be used: {0}")]
    Address(&'static str),
    /// The operating system refused what naming a channel takes.
    #[error("the system refused a socket for the channel: {0}")]
    System(String),
    /// So many messages were overwritten before they were received. The next receive goes on after
    /// them.
    #[error("{0} messages were overwritten before they were received")]
    Lagged(u64),
    /// The server let the request go without a reply: ask again, or somebody else.
    #[error("the server did not answer the request")]
    Refused,
    /// No more ends of this kind were agreed on when the channel was opened.
    #[error("there are {0} such ends already: open the channel for more")]
    Crowded(usize),
    /// A message received before is still looked at, and this end lends one at a time.
    #[error("a message received before is still in use: release it first")]
    InUse,
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
            Self::PeerDied { .. } => "peer_died",
            Self::LayoutMismatch => "layout_mismatch",
            Self::PatternMismatch => "pattern_mismatch",
            Self::Address(_) => "address",
            Self::System(_) => "system",
            Self::Lagged(_) => "lagged",
            Self::Refused => "refused",
            Self::Crowded(_) => "crowded",
            Self::InUse => "in_use",
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
