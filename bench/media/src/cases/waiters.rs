//! Ten thousand blocked playlist reloads, woken by one part.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::load::{Load, Report, Wait};
use crate::proc::{LOADER_CORE, SERVER_CORE};
use crate::report::{Figure, Goal, Row};
use crate::rounds::{Bench, newest, say};
use crate::servers::{Who, ports};
use crate::stats::quantile;

/// What [`run`] makes.
pub(super) const ROWS: [(&str, &str); 1] =
    [("10,000 blocked playlist reloads, woken by one part", "p99 ≤ 20 ms")];

const WAITERS: usize = 10_000;
const MBIT_PER_S: f64 = 1.0;
const LIMIT: Duration = Duration::from_secs(120);
/// Head fields beside the length, so that the floor sends as many bytes as ours.
const HEAD_BYTES: usize = 200;

fn p99s(report: &Report) -> Vec<f64> {
    report.waits_ms.chunks(WAITERS).map(|part| quantile(part, 0.99)).collect()
}

/// Milliseconds in which a plain program reaches as many sockets: p99, each round.
fn floor(bench: &Bench, rounds: usize, bytes: usize) -> Result<Vec<f64>> {
    let addr = ports(1)?[0];
    let send = Load::FloorServer { addr, waiters: WAITERS, rounds, bytes };
    let server = bench.start(SERVER_CORE, &send)?;
    sleep(Duration::from_millis(300));
    let receive = Load::Floor { addr, waiters: WAITERS, rounds };
    let arrived = bench.start(LOADER_CORE, &receive)?.output(LIMIT)?;
    let arrived: Report = serde_json::from_str(&arrived)?;
    let sent: Report = serde_json::from_str(&server.output(LIMIT)?)?;
    if let Some(fault) = arrived.faults.first().or(sent.faults.first()) {
        bail!("{fault}");
    }
    let rounds = arrived.waits_ms.chunks(WAITERS).zip(sent.waits_ms);
    let waits = |(times, sent): (&[f64], f64)| -> Vec<f64> {
        times.iter().map(|time| (time - sent) / 1e3).collect()
    };
    Ok(rounds.map(|round| quantile(&waits(round), 0.99)).collect())
}

/// Ours, then what the kernel alone takes.
pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let server = bench.paths.start(Who::Ours, 1)?;
    let spec = Wait {
        addr: server.http,
        path: server.playlist(0),
        waiters: WAITERS,
        rounds: bench.plan.parts,
        pid: server.guard.pid(),
    };
    let report = bench.load(&Load::Wait { feed: bench.feed(&server, MBIT_PER_S), spec })?;
    let bytes = newest(&server).map_or(2_000, |(playlist, _)| playlist.len());
    let floors =
        floor(bench, bench.plan.parts, bytes + HEAD_BYTES).context("the kernel's floor")?;
    let floor = crate::stats::median(&floors);
    let p50 = quantile(&report.waits_ms, 0.5);
    let each = (report.usage.rss_kb - report.few.rss_kb) * 1.024 / WAITERS as f64;
    let kernel = floors.iter().fold(f64::INFINITY, |least, p99| least.min(*p99));
    say(&format!("p50 {p50:.1} ms, floor p99 {floor:.1} ms (best {kernel:.1})"));
    let figure = Figure {
        what: "p99".into(),
        unit: "ms",
        ours: p99s(&report),
        peer: Vec::new(),
        floor: Some(floor),
        goal: Goal::AtMost(20.0),
    };
    let note = format!(
        "p50 {p50:.1} ms, {each:.1} KB resident a waiter; from the publisher's last write before \
         the first answer. Floor: p99 of a plain program that sends as many bytes to as many \
         loopback sockets one by one; why the goal is out of reach: docs/decisions/0030"
    );
    Ok(vec![Row::of(ROWS[0].0, &[figure], None, &note)])
}
