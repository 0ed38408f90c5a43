//! One writer and a reader in each language: what was set before they came, what is set while they
//! look, and what was set last.

mod support;

use std::io::{BufRead, BufReader, Read, Write};

use support::{LANGUAGES, start};

#[test]
fn the_newest_value_is_seen_in_every_language() {
    let folder = tempfile::tempdir().unwrap();
    for (from, writer) in LANGUAGES {
        let address = format!("ipc://examples-{}-thermostat-{from}", std::process::id());
        let mut writer = start(writer("thermostat", folder.path()), &["set", &address]);
        let mut targets = writer.stdin.take().unwrap();
        targets.write_all(b"18.5\n").unwrap();
        let mut readers = LANGUAGES.map(|(to, reader)| {
            let mut reader = start(reader("thermostat", folder.path()), &["watch", &address]);
            (to, BufReader::new(reader.stdout.take().unwrap()), reader)
        });
        for (to, lines, _) in &mut readers {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            assert_eq!(line, "heating to 18.5\n", "from {from} to {to}");
        }
        targets.write_all(b"19\n20\n21.5\n").unwrap();
        drop(targets);
        assert!(writer.wait().unwrap().success(), "{from}");
        for (to, mut lines, mut reader) in readers {
            let mut rest = String::new();
            lines.read_to_string(&mut rest).unwrap();
            let last = "heating to 21.5\nstays at 21.5\n";
            assert!(rest.ends_with(last), "from {from} to {to}: {rest}");
            assert!(reader.wait().unwrap().success(), "from {from} to {to}");
        }
    }
}
