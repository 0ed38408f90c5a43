//! The command itself, beside a process (this one) that has channels.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

use psyne::channel::{Config, Full, Wait, broadcast, bytes, spsc};
use serde_json::Value;

fn psyne(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_psyne")).args(words).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A name that no other test uses.
fn name(what: &str) -> String {
    format!("test/{}/{what}", std::process::id())
}

fn config() -> Config {
    let mut config = Config::default();
    (config.slots, config.wait, config.full) = (100, Wait::Park, Full::Refuse);
    config
}

/// The channel of that name in a line of JSON.
fn channel<'a>(line: &'a Value, name: &str) -> &'a Value {
    let channels = line["channels"].as_array().unwrap();
    let found = channels.iter().find(|channel| channel["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is not among {channels:#?}"))
}

#[test]
fn ls_and_show_count_what_is_sent_and_what_waits() {
    let address = format!("ipc://{}", name("ticks"));
    let mut receiver = spsc::Receiver::<[u64; 4]>::open(&address, &config()).unwrap();
    let mut sender = spsc::Sender::<[u64; 4]>::open(&address, &config()).unwrap();
    for number in 0..30 {
        sender.send([number; 4]).unwrap();
    }
    for _ in 0..10 {
        receiver.recv().unwrap();
    }
    let ls = psyne(&["ls", "--json"]);
    assert!(ls.status.success());
    let ls: Value = serde_json::from_slice(&ls.stdout).unwrap();
    let ticks = channel(&ls, &address);
    for (key, value) in [("sent", 30), ("depth", 20), ("lag", 20), ("message_bytes", 32)] {
        assert_eq!(ticks[key], value, "{key} of {ticks:#}");
    }
    assert_eq!((&ticks["pattern"], &ticks["slots"]), (&"queue".into(), &128.into()));
    assert_eq!(ticks["ends"].as_array().unwrap().len(), 2);
    let table = psyne(&["ls"]);
    let line = text(&table.stdout).lines().find(|line| line.contains(&address)).unwrap();
    assert!(line.contains("queue") && line.contains("32 B") && line.contains("20"), "{line}");
    assert!(!line.contains('\x1b'), "no colours where nobody looks on");
    let page = psyne(&["show", &name("ticks")]);
    let page = text(&page.stdout);
    let pid = std::process::id().to_string();
    for expected in ["messages of 32 B", "sends", "receives, owns the name", &pid, "30", "10"] {
        assert!(page.contains(expected), "{expected} is not in\n{page}");
    }
}

#[test]
fn top_prints_a_line_of_rates_for_each_look() {
    let address = format!("ipc://{}", name("strings"));
    let mut receiver = bytes::Receiver::open(&address, &config()).unwrap();
    let mut sender = bytes::Sender::open(&address, &config()).unwrap();
    let top = ["top", "strings", "--json", "--interval", "0.1", "--count", "8"];
    let mut top =
        Command::new(env!("CARGO_BIN_EXE_psyne")).args(top).stdout(Stdio::piped()).spawn().unwrap();
    let mut rates = Vec::new();
    for line in BufReader::new(top.stdout.take().unwrap()).lines() {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let strings = channel(&line, &address);
        let of = |key: &str| strings[key].as_f64().unwrap();
        let lines = of("bytes_per_s") / 64.0;
        assert!((lines - of("messages_per_s")).abs() < 1e-6, "{strings:#}");
        rates.push(of("messages_per_s"));
        sender.send(&[7; 40]).unwrap();
        drop(receiver.recv().unwrap());
    }
    assert_eq!(rates.len(), 8);
    // What was sent after the first line is in one of the others.
    assert!(rates.iter().any(|rate| *rate > 0.0), "{rates:?}");
    assert!(top.wait().unwrap().success());
}

#[test]
fn losses_and_private_channels_are_seen_if_they_are_wanted() {
    let address = format!("memory://{}", name("private"));
    let mut sender = broadcast::Sender::<u64>::open(&address, &config()).unwrap();
    let lag = broadcast::Lag::Skip;
    let mut receiver = broadcast::Receiver::<u64>::open(&address, lag, &config()).unwrap();
    assert!(receiver.try_recv().unwrap().is_none());
    while sender.receivers() == 0 {
        std::thread::yield_now();
    }
    (0..500).for_each(|number| sender.send(number).unwrap());
    assert_eq!(receiver.recv().unwrap_err().code(), "lagged");
    let without = psyne(&["ls", "--json"]);
    assert!(!text(&without.stdout).contains(&address));
    let all: Value = serde_json::from_slice(&psyne(&["ls", "--all", "--json"]).stdout).unwrap();
    let private = channel(&all, &address);
    let ends = private["ends"].as_array().unwrap();
    let lost: u64 = ends.iter().map(|end| end["lost"].as_u64().unwrap()).sum();
    assert!(lost > 300, "{private:#}");
}

#[test]
fn errors_say_what_to_do() {
    let missing = psyne(&["show", "ipc://nobody/has/this"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("`psyne ls --all` lists"));
    assert_eq!(psyne(&["frobnicate"]).status.code(), Some(2));
    assert_eq!(psyne(&["top", "--interval", "0"]).status.code(), Some(2));
    let help = psyne(&["--help"]);
    assert!(help.status.success() && text(&help.stdout).contains("Examples:"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(text(&psyne(&["completions", shell]).stdout).contains("psyne"));
    }
}

#[test]
#[ignore = "it measures, and takes as long as others need the cores"]
fn the_figures_of_bench_stand_beside_their_floor() {
    let bench = psyne(&["bench", "--rounds", "1", "--json"]);
    // Every sample may straddle a move of the cores, which is said.
    if bench.status.success() {
        let report: Value = serde_json::from_slice(&bench.stdout).unwrap();
        for place in report["places"].as_array().unwrap() {
            for row in place["rows"].as_array().unwrap() {
                assert!(row["value"].as_f64().unwrap() > 0.0, "{row:#}");
            }
        }
    } else {
        assert!(text(&bench.stderr).contains("the cores moved"), "{}", text(&bench.stderr));
    }
}
