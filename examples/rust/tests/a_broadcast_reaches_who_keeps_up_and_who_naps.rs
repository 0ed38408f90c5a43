//! One sender and four receivers of all languages, one of which sleeps through most of it.

mod support;

use std::io::Write;

use support::{LANGUAGES, printed, start};

#[test]
fn a_broadcast_reaches_who_keeps_up_and_who_naps() {
    let folder = tempfile::tempdir().unwrap();
    for (at, (from, sender)) in LANGUAGES.into_iter().enumerate() {
        let (to, napper) = LANGUAGES[(at + 1) % LANGUAGES.len()];
        let what = format!("prices from {from}, a nap in {to}");
        let address = format!("ipc://examples-{}-prices-{from}", std::process::id());
        let readers = LANGUAGES
            .map(|(_, reader)| start(reader("prices", folder.path()), &["recv", &address]));
        let mut napper = start(napper("prices", folder.path()), &["nap", &address]);
        let sender = start(sender("prices", folder.path()), &["send", &address, "5000", "4"]);
        assert_eq!(printed(sender, &what), "sent 5000 prices\n");
        for reader in readers {
            let all = "received 5000 prices, missed 0, sum 6248750.0\n";
            assert_eq!(printed(reader, &what), all, "{what}");
        }
        napper.stdin.take().unwrap().write_all(b"\n").unwrap();
        // The last 112: 4888 to 4999, halved.
        let late =
            "napping until you press Enter\nreceived 112 prices, missed 4888, sum 276836.0\n";
        assert_eq!(printed(napper, &what), late, "{what}");
    }
}
