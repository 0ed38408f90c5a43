//! Measures side by side with peers, and renders what was measured.
//!
//! Every area has its own program below bench/ and writes bench/results/AREA.json in the same form.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{setup, sh, web};

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure; all if absent.
    area: Option<Area>,
    /// Short windows and few rounds: ends within five minutes.
    #[arg(long)]
    quick: bool,
    /// Only the cases whose name has this in it, and no file is written: for work on the bench.
    #[arg(long, value_name = "WORD")]
    only: Option<String>,
    /// Measure nothing, but render bench/results/*.json into docs/benchmarks.md.
    #[arg(long, conflicts_with_all = ["area", "quick", "only"])]
    table: bool,
}

/// Something that can be measured.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Area {
    /// Ingest, packaging and delivery, beside nginx and nginx-rtmp.
    Media,
    /// Channels, beside iceoryx2, rtrb, disruptor and others.
    Channel,
    /// Connections between peers, beside sctp-proto.
    Net,
}

const RESULTS: &str = "bench/results";
const PAGE: &str = "docs/benchmarks.md";

/// Measures, or renders.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.table {
        return table();
    }
    match args.area {
        Some(Area::Media) => media(args),
        Some(Area::Channel) => channel(args),
        Some(Area::Net) => net(args),
        None => media(args).and_then(|()| channel(args)).and_then(|()| net(args)),
    }
}

fn media(args: &Args) -> Result<()> {
    setup::everything()?;
    web::build_if_stale()?;
    sh::run(sh::cargo(&["build", "--release", "--locked", "-p", "streamr"]))?;
    let scratch = sh::root().join("target/bench-media");
    measure(args, "media", &[".", "target/release/streamr", utf8(&scratch)?])
}

fn channel(args: &Args) -> Result<()> {
    measure(args, "channel", &["."])
}

fn net(args: &Args) -> Result<()> {
    measure(args, "net", &["."])
}

/// Builds and runs the program of an area: `before` are its arguments before the result's path.
fn measure(args: &Args, area: &str, before: &[&str]) -> Result<()> {
    let build = ["build", "--release", "--locked", "--manifest-path", "bench/Cargo.toml", "-p"];
    let program = format!("bench-{area}");
    sh::run(sh::cargo(&[&build[..], &[&program]].concat()))?;
    std::fs::create_dir_all(sh::root().join(RESULTS))?;
    let file = format!("{area}.json");
    let result = match args.only {
        Some(_) => sh::root().join("target").join(format!("bench-{file}")),
        None => sh::root().join(RESULTS).join(file),
    };
    let program = sh::root().join("bench/target/release").join(program);
    let mut command = sh::cmd(utf8(&program)?, before);
    command.arg(&result);
    if args.quick {
        command.arg("--quick");
    }
    if let Some(word) = &args.only {
        command.args(["--only", word]);
    }
    sh::run(command)?;
    sh::print(&section(&read(&result)?)?)
}

fn utf8(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

fn read(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

/// Writes docs/benchmarks.md.
fn table() -> Result<()> {
    let entries = std::fs::read_dir(sh::root().join(RESULTS)).context(RESULTS)?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "json"));
    files.sort();
    if files.is_empty() {
        bail!("{RESULTS} is empty: run `cargo xtask bench` first");
    }
    let mut page = String::from(
        "# Benchmarks\n\nMade by `cargo xtask bench --table` from `bench/results`; do not edit. \
         [bench/README.md](../bench/README.md) says how it is measured and what to beware of. \
         Figures are medians of interleaved rounds; what a virtual machine repeats within 10 % is \
         the same.\n",
    );
    for file in &files {
        page.push('\n');
        page.push_str(&section(&read(file)?)?);
    }
    std::fs::write(sh::root().join(PAGE), page)?;
    sh::say(&format!("{PAGE} is written"));
    Ok(())
}

/// One area: where it was measured, and its rows.
fn section(results: &Value) -> Result<String> {
    let text = |key: &str| results[key].as_str().unwrap_or("unknown");
    let rows = results["rows"].as_array().context("results without rows")?;
    let met = rows.iter().filter(|row| row["met"] == Value::Bool(true)).count();
    let quick =
        if results["quick"] == Value::Bool(true) { " Quick: few, short rounds." } else { "" };
    let mut out = format!(
        "## {}\n\n{}; commit {}.{quick} {met} of {} goals met.\n\n\
         | case | ours | peer | ratio | floor | goal | met |\n|---|---|---|---|---|---|---|\n",
        text("area"),
        text("machine"),
        text("commit").get(..12).unwrap_or("unknown"),
        rows.len()
    );
    for row in rows {
        line(&mut out, row)?;
    }
    out.push('\n');
    for row in rows {
        if let Some(note) = row["note"].as_str().filter(|note| !note.is_empty()) {
            writeln!(out, "- *{}*: {note}.", row["case"].as_str().unwrap_or_default())?;
        }
    }
    Ok(out)
}

/// A row, and its figures below it if there are several.
fn line(out: &mut String, row: &Value) -> Result<()> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let unit = text(row, "unit");
    let peer_name = match text(row, "peer_name") {
        name if name.is_empty() => name,
        name => format!(" ({name} {})", text(row, "peer_version")),
    };
    let parts = row["parts"].as_array().map_or(&[][..], Vec::as_slice);
    let head = if parts.is_empty() { std::slice::from_ref(row) } else { parts };
    for part in head {
        let of = |which: &str| spread(&row["spread"][which]).filter(|_| parts.is_empty());
        let unit = if parts.is_empty() { unit.clone() } else { text(part, "unit") };
        let what = match text(part, "what") {
            what if what.is_empty() => String::new(),
            what => format!(": {what}"),
        };
        let ours = match part["ours"].as_f64() {
            Some(_) => {
                format!("{} {unit}{}", number(&part["ours"]), of("ours").unwrap_or_default())
            }
            None => "not measured".into(),
        };
        let peer = match part["peer"].as_f64() {
            Some(_) => {
                format!("{}{peer_name}{}", number(&part["peer"]), of("peer").unwrap_or_default())
            }
            None => String::new(),
        };
        writeln!(
            out,
            "| {}{what} | {ours} | {peer} | {} | {} | {} | {} |",
            text(row, "case"),
            number(&part["ratio"]),
            number(&part["floor"]),
            text(part, "goal"),
            if part["met"] == Value::Bool(true) { "yes" } else { "**no**" },
        )?;
    }
    Ok(())
}

/// Least and greatest, if they differ.
fn spread(range: &Value) -> Option<String> {
    let (low, high) = (&range[0], &range[1]);
    (low.is_number() && low != high).then(|| format!(" [{}, {}]", number(low), number(high)))
}

/// As it stands, with thin thousands; nothing for null.
fn number(value: &Value) -> String {
    let Some(value) = value.as_f64() else { return String::new() };
    if value < 10_000.0 {
        return value.to_string();
    }
    let digits = format!("{value:.0}");
    let (head, tail) = digits.split_at(digits.len() - 3);
    format!("{head},{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_rendered_measured_or_not() {
        let results = serde_json::json!({
            "area": "media", "machine": "m", "commit": "0123456789abcdef", "quick": false,
            "rows": [
                { "case": "a", "ours": 12_340.0, "unit": "players", "peer": 10_000.0,
                  "peer_name": "nginx", "peer_version": "1", "floor": null, "ratio": 1.234,
                  "goal": "≥ 1.3 × peer", "met": false, "note": "n",
                  "spread": { "ours": [12_000.0, 12_500.0], "peer": [9_000.0, 9_000.0] } },
                { "case": "b", "ours": null, "unit": "", "goal": "≤ 1 s", "met": false },
                { "case": "c", "ours": 2.0, "unit": "MB (x)", "goal": "≤ 3 MB", "met": true,
                  "parts": [
                    { "what": "x", "ours": 2.0, "unit": "MB", "goal": "≤ 3 MB", "met": true },
                    { "what": "y", "ours": 1.0, "unit": "MB", "goal": "≤ 3 MB", "met": true } ] }
            ]
        });
        let out = section(&results).unwrap();
        for expected in [
            "m; commit 0123456789ab. 1 of 3 goals met.",
            "| a | 12,340 players [12,000, 12,500] | 10,000 (nginx 1) | 1.234 |  | ≥ 1.3 × peer \
             | **no** |",
            "| b | not measured |",
            "| c: x | 2 MB |",
            "| c: y | 1 MB |",
            "- *a*: n.",
        ] {
            assert!(out.contains(expected), "{expected} is not in\n{out}");
        }
    }
}
