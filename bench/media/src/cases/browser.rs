//! What a viewer sees: a real ffmpeg publishes, a real Chromium plays.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::proc::{Guard, bound_to_us};
use crate::report::{Figure, Goal, Row};
use crate::rounds::{Bench, newest};
use crate::servers::{Server, path};

/// What [`run`] makes.
pub(super) const ROWS: [(&str, &str); 2] = [
    ("publish to playable in the browser", "p50 ≤ 2 s, p95 ≤ 3 s"),
    ("page open to first frame", "p50 ≤ 0.8 s"),
];

/// Of web/tests/cases.
const CASE: &str = "starts_soon_and_stays_close_to_live";
/// A page that is opened, played for some seconds and closed on a busy machine.
const PAGE_SECONDS_MAX: u64 = 30;

fn ffmpeg(bench: &Bench, server: &Server) -> Result<Guard> {
    let url = format!("rtmp://{}/live/{}", server.rtmp, server.streams[0].key);
    let clip = bench.paths.clip();
    let mut command = bound_to_us("ffmpeg");
    command.args(["-hide_banner", "-loglevel", "error", "-re", "-stream_loop", "-1"]);
    command.args(["-i", path(&clip)?, "-c", "copy", "-f", "flv", &url]);
    Guard::start("ffmpeg", command.stdout(Stdio::null()).stderr(Stdio::null()))
}

/// The line of numbers that the browser case prints.
fn browse(bench: &Bench, server: &Server) -> Result<Value> {
    let mut command = bound_to_us("node");
    command.args(["tests/run.mjs", CASE]).current_dir(bench.paths.root.join("web"));
    command.env("SERVER_URL", format!("http://{}", server.http));
    command.env("STREAM", &server.streams[0].name);
    command.env("ROUNDS", bench.plan.pages.to_string());
    command.env("SAMPLE", bench.paths.root.join("assets/clapper.mp4"));
    let node = Guard::start("node", command.stdout(Stdio::piped()))?;
    let limit = Duration::from_secs(30 + 2 * PAGE_SECONDS_MAX * bench.plan.pages as u64);
    let text = node.output(limit)?;
    let line = text.lines().find(|line| line.starts_with('{')).context("node printed no result")?;
    let value: Value = serde_json::from_str(line)?;
    if value["ok"] != Value::Bool(true) {
        bail!("the browser case failed: {}", value["error"]);
    }
    Ok(value)
}

/// Both figures come from the same visits.
pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let server = bench.paths.start_anywhere()?;
    let mut publisher = ffmpeg(bench, &server)?;
    newest(&server)?;
    let seen = browse(bench, &server);
    publisher.alive()?;
    publisher.stop();
    server.guard.stop();
    let seen = seen?;
    let number = |key: &str| seen[key].as_f64().with_context(|| format!("{key} is no number"));
    let figure = |what: &str, ours: f64, floor: Option<f64>, goal: f64| Figure {
        what: what.into(),
        unit: "s",
        ours: vec![ours],
        peer: Vec::new(),
        floor,
        goal: Goal::AtMost(goal),
    };
    let latency = [
        figure("p50", number("latency_p50_s")?, None, 2.0),
        figure("p95", number("latency_p95_s")?, None, 3.0),
    ];
    let floor = number("floor_p50_ms")? / 1e3;
    let startup = figure("p50", number("startup_p50_ms")? / 1e3, Some(floor), 0.8);
    let note = format!("{} visits, ffmpeg publishing, all on this machine", bench.plan.pages);
    let p95 = number("startup_p95_ms")? / 1e3;
    let p95 = format!("{note}; p95 {p95} s; the floor is a page with nothing but a <video>");
    Ok(vec![Row::of(ROWS[0].0, &latency, None, &note), Row::of(ROWS[1].0, &[startup], None, &p95)])
}
