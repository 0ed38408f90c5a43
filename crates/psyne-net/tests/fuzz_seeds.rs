//! Every fuzz target of this crate survives its seeds and some mutations of them, without nightly.
//! How targets are written: fuzz/README.md.

#[path = "../../../fuzz/src/drive.rs"]
#[allow(clippy::print_stderr, unreachable_pub, reason = "it is the library of the fuzz workspace")]
mod drive;
#[path = "../../../fuzz/src/net/mod.rs"]
#[allow(missing_docs, unreachable_pub, reason = "it is the library of the fuzz workspace")]
mod net;

const MUTATIONS: u32 = 3_000;

#[test]
fn every_target_survives_its_seeds_and_their_mutations() {
    for (name, body) in net::TARGETS {
        drive::run(name, *body, MUTATIONS);
    }
}
