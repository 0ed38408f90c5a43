//! RTMP players: how many a core serves, and what one costs in memory.

use anyhow::Result;

use crate::load::{Load, Report};
use crate::report::{Figure, Goal, Row};
use crate::rounds::{Bench, Sides, say};
use crate::servers::peer;

/// The row about memory.
pub(super) const MEMORY: &str = "memory per RTMP player, the shared group of pictures aside";
/// What [`slim`] makes.
pub(super) const SLIM: [(&str, &str); 2] = [
    ("RTMP players per core at 0.6 Mbit/s, ≤ 40 ms write batching", "≥ 1.3 × peer"),
    (MEMORY, "≤ 8 KB"),
];
/// What [`wide`] makes.
pub(super) const WIDE: [(&str, &str); 1] = [("RTMP players per core at 2.6 Mbit/s", "≥ 2 × peer")];

/// So many that both servers stay below a whole core, and the loader on the other.
const SLIM_PLAYERS: usize = 2_000;
const WIDE_PLAYERS: usize = 800;
/// Memory is compared to that with this many.
const FEW: usize = 50;
const SETTLE_S: f64 = 2.0;
const KB: f64 = 1.024;
const BATCHING: &str = "ours gathers ≤ 40 ms of messages for a write; nginx-rtmp writes each \
                        message by itself, whatever its settings, and its kernel joins them";

fn measure(bench: &Bench, mbit_per_s: f64, players: usize) -> Result<Sides<Report>> {
    bench.interleave(bench.plan.rounds, |who| {
        let server = bench.paths.start(who, 1)?;
        let report = bench.load(&Load::Play {
            feed: bench.feed(&server, mbit_per_s),
            name: server.streams[0].name.clone(),
            players,
            few: FEW,
            window: Bench::window(&server, SETTLE_S, bench.plan.window_s),
        })?;
        say(&format!(
            "{who:?}: {players} players, {:.0} Mbit/s, {:.1} % of a core, loader {:.0} %",
            report.bytes * 8.0 / report.seconds / 1e6,
            report.cpu * 100.0,
            report.loader_cpu * 100.0
        ));
        Ok(report)
    })
}

fn per_core(sides: &Sides<Report>, times: f64) -> Figure {
    let Sides { ours, peer } = sides.map(|report| report.units / report.cpu);
    let goal = Goal::TimesPeer(times);
    Figure { what: "players".into(), unit: "players", ours, peer, floor: None, goal }
}

/// Many players of a slim stream.
pub(super) fn slim(bench: &Bench) -> Result<Vec<Row>> {
    let sides = measure(bench, 0.6, SLIM_PLAYERS)?;
    let peer = peer("nginx-rtmp", "libnginx-mod-rtmp");
    let rate = Row::of(SLIM[0].0, &[per_core(&sides, 1.3)], Some(&peer), BATCHING);
    let each = (SLIM_PLAYERS - FEW) as f64;
    let resident = sides.map(|r| (r.usage.rss_kb - r.few.rss_kb) * KB / each);
    let anonymous = sides.map(|r| (r.usage.anon_kb - r.few.anon_kb) * KB / each);
    let figure = |what: &str, Sides { ours, peer }: Sides<f64>| Figure {
        what: what.into(),
        unit: "KB",
        ours,
        peer,
        floor: None,
        goal: Goal::AtMost(8.0),
    };
    let figures = [figure("resident", resident), figure("anonymous", anonymous)];
    let note = "growth from 50 to 2,000 players; socket buffers are the kernel's";
    Ok(vec![rate, Row::of(MEMORY, &figures, Some(&peer), note)])
}

/// Fewer players of a wide stream.
pub(super) fn wide(bench: &Bench) -> Result<Vec<Row>> {
    let sides = measure(bench, 2.6, WIDE_PLAYERS)?;
    let peer = peer("nginx-rtmp", "libnginx-mod-rtmp");
    Ok(vec![Row::of(WIDE[0].0, &[per_core(&sides, 2.0)], Some(&peer), BATCHING)])
}
