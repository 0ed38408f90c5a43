//! What can go wrong on the outside, as sentences that say what to do.

use std::net::SocketAddr;

use streamr_core::lifecycle::State;

/// A fault of the machine, of its set-up, or of a request. The text is one sentence for a person;
/// `code` is for programs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot be used.
    #[error("configuration: {0}")]
    Config(String),
    /// Another program listens where we should.
    #[error(
        "port {port} ({part}) is in use by another program: stop that program \
         (`ss -ltnup 'sport = :{port}'` names it), or set {key} to a free port",
        port = address.port()
    )]
    PortInUse {
        /// What would have listened: "HTTP", "RTMP" …
        part: &'static str,
        /// The key of the configuration that names the address.
        key: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// Listening failed for another reason.
    #[error("cannot listen on {address} ({part}): {reason}; see {key} in the configuration")]
    Listen {
        /// What would have listened.
        part: &'static str,
        /// The key of the configuration that names the address.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// The system's words.
        reason: std::io::Error,
    },
    /// A certificate or key cannot be used.
    #[error("TLS: {0}")]
    Tls(String),
    /// A file or folder cannot be used.
    #[error("{doing}: {reason}")]
    File {
        /// What was tried, with the path.
        doing: String,
        /// The system's words.
        reason: std::io::Error,
    },
    /// Another process holds the database.
    #[error(
        "the database {0} is locked by another process: stop the other streamr (or sqlite3) that \
         has it open, or give this one its own data.dir"
    )]
    StoreLocked(String),
    /// The database cannot be written.
    #[error(
        "the database {0} is read-only: let the user that runs streamr write the file and its \
         folder (`chown`, `chmod u+w`), or remount the disk read-write"
    )]
    StoreReadOnly(String),
    /// The disk under the database refuses.
    #[error(
        "the database {path} cannot be read or written ({reason}): its disk fails or has become \
         read-only; look at `dmesg`, then remount or replace it. Broadcasts go on meanwhile"
    )]
    StoreDisk {
        /// Which database.
        path: String,
        /// SQLite's words.
        reason: String,
    },
    /// No space is left for the database.
    #[error("the disk that holds the database {0} is full: free some space, or move data.dir")]
    StoreFull(String),
    /// The database was written by a newer streamr.
    #[error(
        "the database {0} was written by a newer streamr: run that version, or restore the backup \
         from before the update"
    )]
    StoreNewer(String),
    /// The database is not one, or is damaged.
    #[error("the database {0} is damaged or no database: restore a backup, or move it away")]
    StoreDamaged(String),
    /// Another fault of the database.
    #[error("the database {path}: {reason}; `streamr doctor` looks for the cause")]
    Store {
        /// Which database.
        path: String,
        /// Its own words.
        reason: String,
    },
    /// No stream has this name.
    #[error("there is no stream called {0}: `streamr stream list` names them all")]
    NoStream(String),
    /// The name is taken; an archived stream keeps its name.
    #[error("a stream called {0} exists already (maybe archived): choose another name")]
    NameTaken(String),
    /// A request that does not fit what the stream is now.
    #[error("the stream is {0}, so this cannot be done now")]
    State(State),
    /// A limit of the configuration was reached.
    #[error("{limit} is {max}: archive what is not needed, or raise it")]
    Limit {
        /// The key of the configuration.
        limit: &'static str,
        /// Its value.
        max: u64,
    },
    /// A text is too long.
    #[error("the {what} is too long: {bytes_max} bytes are allowed")]
    TooLong {
        /// Which text.
        what: &'static str,
        /// What is allowed.
        bytes_max: u64,
    },
    /// A rule of the product refuses.
    #[error(transparent)]
    Rule(#[from] streamr_core::Error),
}

impl Error {
    /// A stable name for logs, HTTP and other languages.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Config(_) => "config",
            Self::PortInUse { .. } => "port_in_use",
            Self::Listen { .. } => "listen",
            Self::Tls(_) => "tls",
            Self::File { .. } => "file",
            Self::StoreLocked(_) => "store_locked",
            Self::StoreReadOnly(_) => "store_read_only",
            Self::StoreFull(_) => "store_full",
            Self::StoreDisk { .. } => "store_disk",
            Self::StoreNewer(_) => "store_newer",
            Self::StoreDamaged(_) => "store_damaged",
            Self::Store { .. } => "store",
            Self::NoStream(_) => "no_stream",
            Self::NameTaken(_) => "name_taken",
            Self::State(_) => "bad_state",
            Self::Limit { .. } => "limit",
            Self::TooLong { .. } => "too_long",
            Self::Rule(rule) => rule.code(),
        }
    }

    /// The fault of listening at `address`, which `key` of the configuration names.
    #[must_use]
    pub fn listen(
        part: &'static str,
        key: &'static str,
        address: SocketAddr,
        reason: std::io::Error,
    ) -> Self {
        if reason.kind() == std::io::ErrorKind::AddrInUse {
            Self::PortInUse { part, key, address }
        } else {
            Self::Listen { part, key, address, reason }
        }
    }

    pub(crate) fn file(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |reason| Self::File { doing, reason }
    }
}
