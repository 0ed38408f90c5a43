//! Every fuzz target of this crate survives its seeds and some mutations of them, without nightly.
//! How targets are written: fuzz/README.md.

#[path = "../../../fuzz/src/drive.rs"]
#[allow(clippy::print_stderr, unreachable_pub, reason = "it is the library of the fuzz workspace")]
mod drive;
#[path = "../../../fuzz/src/rtc/mod.rs"]
#[allow(missing_docs, unreachable_pub, reason = "it is the library of the fuzz workspace")]
mod rtc;

const MUTATIONS: u32 = 3_000;
/// Each may cost some handshakes, at milliseconds.
const MUTATIONS_OPS: u32 = 40;

#[test]
fn every_parser_survives_its_seeds_and_their_mutations() {
    for (name, body) in rtc::PARSERS {
        drive::run(name, *body, MUTATIONS);
    }
}

#[test]
fn sessions_survive_operations_in_any_order() {
    for (name, body) in rtc::OPS {
        drive::run(name, *body, MUTATIONS_OPS);
    }
}
