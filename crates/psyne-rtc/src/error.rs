//! What can go wrong in a session.

/// Everything that a session refuses, and why it ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A description, a candidate or a message broke its format's rules.
    #[error("{what} is malformed; the other side must be fixed")]
    Malformed {
        /// Which rule.
        what: &'static str,
    },
    /// Something is longer, or there are more of it, than the configuration allows.
    #[error("{what} is over its limit of {max}; raise it, or send less")]
    TooMuch {
        /// The name of the limit.
        what: &'static str,
        /// What it is set to.
        max: usize,
    },
    /// What the other side asks for is not spoken here.
    #[error("{what} is not supported")]
    Unsupported {
        /// What it asked for.
        what: &'static str,
    },
    /// More is waiting to be sent than may wait: wait for the channel to drain, and send again.
    #[error("the send buffer is full; wait until it drains")]
    Full,
    /// There is no such channel, or it is not open: never, not yet, or no longer.
    #[error("the channel is not open")]
    NotOpen,
    /// A command does not fit what the session waits for, such as an answer that nobody offered.
    #[error("{what} does not fit the state of the session")]
    State {
        /// The command.
        what: &'static str,
    },
}

impl Error {
    /// A name that stays the same for programs to match on, in every language.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "rtc.malformed",
            Self::TooMuch { .. } => "rtc.too_much",
            Self::Unsupported { .. } => "rtc.unsupported",
            Self::Full => "rtc.full",
            Self::NotOpen => "rtc.not_open",
            Self::State { .. } => "rtc.state",
        }
    }
}
