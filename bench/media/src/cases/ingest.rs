//! Many publishers at once, each packaged.

use std::fs;

use anyhow::{Result, ensure};

use crate::fetch;
use crate::load::{Load, Report};
use crate::report::{Figure, Goal, Row};
use crate::rounds::{Bench, Sides, say};
use crate::servers::{Server, Who, peer};
use crate::wait::segments;

/// What [`run`] makes.
pub(super) const ROWS: [(&str, &str); 1] =
    [("publishers of 1 Mbit/s per core, with packaging", "≥ 1000 publishers")];

const PUBLISHERS: usize = 300;
const MBIT_PER_S: f64 = 1.0;
/// Two groups of pictures: each publisher has sent a keyframe and more.
const SETTLE_S: f64 = 4.0;
/// Length of the sample's groups of pictures.
const SEGMENT_S: f64 = 2.0;
/// Every so many streams, what was packaged is looked at.
const SAMPLE_EVERY: usize = 37;

/// Segments that a stream must have by now, one that is being made and one of slack aside.
fn packaged(bench: &Bench, who: Who, server: &Server, seconds: f64) -> Result<()> {
    let due = (seconds / SEGMENT_S) as u64 - 2;
    for index in (0..PUBLISHERS).step_by(SAMPLE_EVERY) {
        let name = &server.streams[index].name;
        let playlist = match who {
            Who::Ours => fetch::get(server.http, &server.playlist(index))?,
            Who::Nginx => fs::read(bench.paths.www().join(format!("hls/{name}.m3u8")))?,
        };
        let made = segments(&String::from_utf8_lossy(&playlist));
        ensure!(made >= due, "void: {name} has {made} segments instead of {due}");
    }
    Ok(())
}

/// Ours and nginx-rtmp with its HLS, which has no parts.
pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let rounds = bench.plan.rounds.div_ceil(2);
    let sides = bench.interleave(rounds, |who| -> Result<Report> {
        let server = bench.paths.start(who, PUBLISHERS)?;
        let window = Bench::window(&server, SETTLE_S, bench.plan.window_s);
        let spec = bench.feed(&server, MBIT_PER_S);
        let report = bench.load(&Load::Publish { spec, window: Some(window) })?;
        packaged(bench, who, &server, SETTLE_S + bench.plan.window_s)?;
        say(&format!(
            "{who:?}: {PUBLISHERS} publishers, {:.1} % of a core, loader {:.0} %, {:.0} MB",
            report.cpu * 100.0,
            report.loader_cpu * 100.0,
            report.usage.rss_kb / 1e3
        ));
        Ok(report)
    })?;
    let Sides { ours, peer: nginx } = sides.map(|report| report.units / report.cpu);
    let figure = Figure {
        what: "publishers".into(),
        unit: "publishers",
        ours,
        peer: nginx,
        floor: None,
        goal: Goal::AtLeast(1_000.0),
    };
    let mb = crate::stats::median(&sides.map(|report| report.usage.rss_kb * 1.024e-3).ours);
    let note = format!(
        "measured with {PUBLISHERS}, {:.2} MB resident each; ours makes CMAF parts of 200 ms in \
         memory, nginx-rtmp TS segments of 2 s in files",
        mb / PUBLISHERS as f64
    );
    let peer = peer("nginx-rtmp", "libnginx-mod-rtmp");
    Ok(vec![Row::of(ROWS[0].0, &[figure], Some(&peer), &note)])
}
