use thiserror::Error as Derive;

use crate::channel::Reason;

/// What can go wrong with a connection. [`Error::code`] is stable.
#[derive(Clone, Debug, PartialEq, Eq, Derive)]
#[non_exhaustive]
pub enum Error {
    /// The text is no URI that we know. Write `scheme://rest`, with a scheme of
    /// [`crate::uri::Scheme::ALL`].
    #[error("{uri:?} is not an address: {why}")]
    Uri {
        /// What was given, at most [`crate::uri::BYTES_MAX`] of it.
        uri: String,
        /// What is wrong with it, and what to write.
        why: String,
    },
    /// The options contradict themselves; the text says where.
    #[error("the options are wrong: {0}")]
    Options(&'static str),
    /// The transport can't do what was asked; the text says which one can.
    #[error("{0}")]
    Unsupported(String),
    /// The peer could not be reached.
    #[error("{uri} could not be reached: {why}")]
    Connect {
        /// What was connected to.
        uri: String,
        /// What the system said.
        why: String,
    },
    /// The address could not be listened at.
    #[error("nobody can listen at {uri}: {why}")]
    Listen {
        /// What was listened at.
        uri: String,
        /// What the system said.
        why: String,
    },
    /// The other side is not who or what it should be: another program, version, key.
    #[error("the other side was not accepted: {why}")]
    Handshake {
        /// What it said, and what it should have.
        why: String,
    },
    /// The other side broke the protocol, and the channel is over.
    #[error("the other side broke the protocol: {0}")]
    Protocol(&'static str),
    /// The message is longer than the other side takes. Nothing was sent.
    #[error("{bytes} bytes do not fit: the other side takes messages up to {bytes_max}")]
    TooLong {
        /// What was to be sent.
        bytes: usize,
        /// What the other side takes.
        bytes_max: usize,
    },
    /// The queue is full, or the channel not open yet, and nobody was to wait. Nothing was sent.
    #[error("the channel is full: send less, or wait")]
    Full,
    /// Nothing happened within the time given.
    #[error("nothing happened within the time given")]
    TimedOut,
    /// Somebody closed the channel.
    #[error("the channel was closed by {}: {reason}", if *.by_peer { "the peer" } else { "us" })]
    Closed {
        /// The peer, not us.
        by_peer: bool,
        /// With what words.
        reason: Reason,
    },
    /// The channel ended and nobody closed it: the peer or the way to it vanished.
    #[error("the channel was lost: {why}")]
    Lost {
        /// How that was seen.
        why: String,
    },
    /// A session refuses what it was asked for.
    #[error(transparent)]
    Rtc(#[from] psyne_rtc::Error),
    /// The session is over: make another.
    #[error("the session is over: {0:?}")]
    Session(psyne_rtc::Closed),
}

impl Error {
    /// A name that stays the same in every language and version.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Uri { .. } => "uri",
            Self::Options(_) => "options",
            Self::Unsupported(_) => "unsupported",
            Self::Connect { .. } => "connect",
            Self::Listen { .. } => "listen",
            Self::Handshake { .. } => "handshake",
            Self::Protocol(_) => "protocol",
            Self::TooLong { .. } => "too_long",
            Self::Full => "full",
            Self::TimedOut => "timed_out",
            Self::Closed { .. } => "closed",
            Self::Lost { .. } => "lost",
            Self::Rtc(error) => error.code(),
            Self::Session(_) => "session",
        }
    }
}
