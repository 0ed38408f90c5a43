//! What tests against models and races share. Miri runs a thousand times slower, so that there it
//! is a share of everything.

#![allow(dead_code, reason = "each test file uses a part")]

use proptest::prelude::ProptestConfig;
use psyne_channel::{Config, Full, Wait};

/// Most steps of a random case.
pub(crate) const STEPS_MAX: usize = if cfg!(miri) { 40 } else { 250 };

/// How many messages race.
pub(crate) const fn races(messages: u64) -> u64 {
    if cfg!(miri) { 40 } else { messages }
}

/// How many random cases.
pub(crate) fn plan() -> ProptestConfig {
    let cases = if cfg!(miri) { 4 } else { 256 };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Slots, how both sides wait, and what a sender does about a full ring.
pub(crate) fn config(slots: usize, wait: Wait, full: Full) -> Config {
    Config { slots, wait, full, ..Config::default() }
}
