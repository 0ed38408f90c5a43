//! What functions answer, and what there is to say about it.

use core::cell::RefCell;
use core::ffi::{CStr, c_char};
use std::ffi::CString;

use psyne::channel::Error;

/// What a function answers. 0 is success; the others are those of Rust's `psyne::channel::Error`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is done.
    PsyneOk = 0,
    /// The channel is full and its policy was not to wait any longer.
    PsyneFull = 1,
    /// Nothing came, or no room came free, within the time given.
    PsyneTimedOut = 2,
    /// The other side is gone, and everything that it sent has been received.
    PsyneClosed = 3,
    /// The other side's process died; `psyne_error_number` is its number. What is asked next waits
    /// for another process to take its place.
    PsynePeerDied = 4,
    /// So many messages (`psyne_error_number`) were overwritten before they were received.
    PsyneLagged = 5,
    /// The name has such an end already.
    PsyneCrowded = 6,
    /// The message does not fit; `psyne_error_number` bytes would.
    PsyneTooLong = 7,
    /// The other side means another type of message.
    PsyneLayoutMismatch = 8,
    /// The name belongs to another kind of channel.
    PsynePatternMismatch = 9,
    /// The other side broke the protocol.
    PsyneCorrupt = 10,
    /// The configuration contradicts itself.
    PsyneConfig = 11,
    /// The address is none.
    PsyneAddress = 12,
    /// The system refused memory.
    PsyneMemory = 13,
    /// The system refused something else.
    PsyneSystem = 14,
    /// A null pointer where there must be none; a commit without a loan; a second loan, or a second
    /// message, while there is one; a tensor that was not given back.
    PsyneMisuse = 15,
    /// Something that this header does not know yet.
    PsyneOther = 16,
    /// The server let the request go without a reply.
    PsyneRefused = 17,
}

/// The C name of each status, in their order.
const CODES: [&CStr; 18] = [
    c"ok",
    c"full",
    c"timed_out",
    c"closed",
    c"peer_died",
    c"lagged",
    c"crowded",
    c"too_long",
    c"layout_mismatch",
    c"pattern_mismatch",
    c"corrupt",
    c"config",
    c"address",
    c"memory",
    c"system",
    c"misuse",
    c"other",
    c"refused",
];

thread_local! {
    static LAST: RefCell<(CString, u64)> = RefCell::default();
}

impl From<&Error> for Status {
    fn from(error: &Error) -> Self {
        match error {
            Error::Full => Self::PsyneFull,
            Error::TimedOut => Self::PsyneTimedOut,
            Error::Closed(_) => Self::PsyneClosed,
            Error::PeerDied { .. } => Self::PsynePeerDied,
            Error::Lagged(_) => Self::PsyneLagged,
            Error::Crowded(_) => Self::PsyneCrowded,
            Error::TooLong { .. } => Self::PsyneTooLong,
            Error::LayoutMismatch => Self::PsyneLayoutMismatch,
            Error::PatternMismatch => Self::PsynePatternMismatch,
            Error::Corrupt(_) => Self::PsyneCorrupt,
            Error::Config(_) => Self::PsyneConfig,
            Error::Address(_) => Self::PsyneAddress,
            Error::Memory(_) => Self::PsyneMemory,
            Error::System(_) => Self::PsyneSystem,
            Error::InUse => Self::PsyneMisuse,
            Error::Refused => Self::PsyneRefused,
            _ => Self::PsyneOther,
        }
    }
}

/// The number that an error has to tell.
fn number(error: &Error) -> u64 {
    match error {
        Error::PeerDied { pid } => u64::from(*pid),
        Error::Lagged(missed) => *missed,
        Error::Crowded(ends_max) => *ends_max as u64,
        Error::TooLong { bytes_max, .. } => *bytes_max as u64,
        _ => 0,
    }
}

impl Status {
    /// Keeps what there is to say about an error for whoever asks.
    pub(crate) fn of(result: Result<(), Error>) -> Self {
        match result {
            Ok(()) => Self::PsyneOk,
            Err(error) => {
                keep(&error.to_string(), number(&error));
                Self::from(&error)
            }
        }
    }

    /// The caller did what the header forbids.
    pub(crate) fn misuse(what: &str) -> Self {
        keep(what, 0);
        Self::PsyneMisuse
    }
}

fn keep(text: &str, number: u64) {
    let text = CString::new(text.replace('\0', "")).unwrap_or_default();
    LAST.set((text, number));
}

/// A sentence about what went wrong last in this thread and what to do, in UTF-8; "" if nothing
/// did. It stays until something else goes wrong in this thread.
#[unsafe(no_mangle)]
pub extern "C" fn psyne_error_text() -> *const c_char {
    LAST.with_borrow(|(text, _)| text.as_ptr())
}

/// The number that belongs to what went wrong last in this thread: see the status.
#[unsafe(no_mangle)]
pub extern "C" fn psyne_error_number() -> u64 {
    LAST.with_borrow(|(_, number)| *number)
}

/// A stable name for a status, the same in every language: "peer_died". It stays for ever.
#[unsafe(no_mangle)]
pub extern "C" fn psyne_status_code(status: i32) -> *const c_char {
    let known = usize::try_from(status).ok().and_then(|at| CODES.get(at));
    known.unwrap_or(&c"other").as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_rust() {
        let errors = [
            Error::Full,
            Error::PeerDied { pid: 1 },
            Error::Lagged(1),
            Error::TooLong { bytes: 2, bytes_max: 1 },
            Error::LayoutMismatch,
            Error::Config("x"),
            Error::Refused,
            Error::System("x".into()),
        ];
        for error in errors {
            let status = Status::of(Err(error.clone()));
            let code = CODES[status as usize].to_str().unwrap();
            assert_eq!(code, error.code());
            assert_eq!(psyne_error_number() > 0, number(&error) > 0, "{code}");
        }
    }
}
