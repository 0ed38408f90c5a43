//! Every fuzz target of this crate survives its seeds and some thousand mutations of them, without
//! nightly. How targets are written: fuzz/README.md.

#![cfg(not(miri))]

#[path = "../../../fuzz/src/channel/mod.rs"]
#[allow(missing_docs, unreachable_pub, reason = "it is the library of the fuzz workspace")]
mod channel;
#[path = "../../../fuzz/src/drive.rs"]
#[allow(clippy::print_stderr, unreachable_pub, reason = "it is the library of the fuzz workspace")]
mod drive;

const MUTATIONS: u32 = 3_000;

#[test]
fn every_target_survives_its_seeds_and_their_mutations() {
    for (name, body) in channel::TARGETS {
        drive::run(name, *body, MUTATIONS);
    }
}
