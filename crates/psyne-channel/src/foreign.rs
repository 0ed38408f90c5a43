//! For fuzzers: what reads bytes of other processes and is nobody else's business.

use crate::{ipc, observe};

/// The hello in these bytes, as this process would say it.
#[must_use]
pub fn hello(bytes: &[u8]) -> Option<Vec<u8>> {
    ipc::reread(bytes)
}

/// The ends that a process tells an observer of, and how this process would tell of them.
#[must_use]
pub fn window(bytes: &[u8]) -> Option<(Vec<observe::End>, Vec<u8>)> {
    let (ends, _) = observe::decode(bytes)?;
    let again = observe::encode(ends.clone());
    Some((ends, again))
}
