use thiserror::Error as Derive;

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
}

impl Error {
    /// A name that stays the same in every language and version.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Uri { .. } => "uri",
        }
    }
}
