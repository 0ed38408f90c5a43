//! The fuzz targets of our SCTP survive their seeds and some mutations, without nightly.

#[path = "../../../fuzz/src/drive.rs"]
#[allow(clippy::print_stderr, unreachable_pub, reason = "it is the library of the fuzz workspace")]
mod drive;
#[path = "../../../fuzz/src/sctp/mod.rs"]
#[allow(missing_docs, unreachable_pub, reason = "it is the library of the fuzz workspace")]
mod sctp;

const MUTATIONS: u32 = 200;

#[test]
fn every_target_survives_its_seeds_and_their_mutations() {
    for (name, body) in sctp::TARGETS {
        drive::run(name, *body, MUTATIONS);
    }
}
