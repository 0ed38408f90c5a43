//! HTTP and HTTPS: segments and live playlists of ours, files of the same bytes from nginx.

use std::fs;

use anyhow::Result;

use crate::fetch;
use crate::load::Report;
use crate::report::{Figure, Goal, Row};
use crate::rounds::{Ask, Bench, Sides, newest, say};
use crate::servers::{Server, Who, peer};

/// What [`run`] makes.
pub(super) const ROWS: [(&str, &str); 3] = [
    ("HTTPS segment egress per core", "≥ 1.05 × peer"),
    ("HTTP segment egress per core", "≥ 12 Gbit/s"),
    ("live playlists per second per core, HTTP and HTTPS", "≥ 1.05 × peer"),
];

const MBIT_PER_S: f64 = 2.6;
const SEGMENT: Ask = Ask { tls: false, connections: 16 };
const PLAYLIST: Ask = Ask { tls: false, connections: 64 };
const SEGMENT_FILE: &str = "/segment.m4s";
const PLAYLIST_FILE: &str = "/live.m3u8";

/// One server in one round.
struct Round {
    segment: Report,
    segment_tls: Report,
    playlist: Report,
    playlist_tls: Report,
}

fn gbit_per_s(report: &Report) -> f64 {
    report.bytes * 8.0 / 1e9 / report.seconds / report.cpu
}

fn per_s(report: &Report) -> f64 {
    report.units / report.seconds / report.cpu
}

fn round(bench: &Bench, who: Who) -> Result<Round> {
    let server = bench.paths.start(who, 1)?;
    let mut feed = match who {
        Who::Ours => Some(bench.publish(&server, MBIT_PER_S)?),
        Who::Nginx => None,
    };
    let ask = |what: &str, ask: Ask| -> Result<Report> {
        let report = bench.ask(&server, what, &ask)?;
        say(&format!(
            "{who:?} {what}{}: {:.2} Gbit/s, {:.0} a second, {:.0} % of a core, loader {:.0} %",
            if ask.tls { " by TLS" } else { "" },
            report.bytes * 8.0 / 1e9 / report.seconds,
            report.units / report.seconds,
            report.cpu * 100.0,
            report.loader_cpu * 100.0
        ));
        Ok(report)
    };
    let segment = || match who {
        Who::Ours => keep(bench, &server),
        Who::Nginx => Ok(SEGMENT_FILE.to_owned()),
    };
    let playlist = match who {
        Who::Ours => server.playlist(0),
        Who::Nginx => PLAYLIST_FILE.to_owned(),
    };
    let round = Round {
        segment: ask(&segment()?, SEGMENT)?,
        segment_tls: ask(&segment()?, Ask { tls: true, ..SEGMENT })?,
        playlist: ask(&playlist, PLAYLIST)?,
        playlist_tls: ask(&playlist, Ask { tls: true, ..PLAYLIST })?,
    };
    if let Some(feed) = &mut feed {
        feed.alive()?;
    }
    Ok(round)
}

/// The newest segment's path; its bytes and the playlist's become nginx's files.
fn keep(bench: &Bench, server: &Server) -> Result<String> {
    let (playlist, segment) = newest(server)?;
    let www = bench.paths.www();
    fs::write(www.join(&PLAYLIST_FILE[1..]), playlist)?;
    fs::write(www.join(&SEGMENT_FILE[1..]), fetch::get(server.http, &segment)?)?;
    Ok(segment)
}

/// All four kinds of requests in each round.
pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let sides = bench.interleave(bench.plan.rounds, |who| round(bench, who))?;
    let nginx = peer("nginx", "nginx");
    let figure = |what: &str, unit, goal, number: &dyn Fn(&Round) -> f64| {
        let Sides { ours, peer } = sides.map(number);
        Figure { what: what.into(), unit, ours, peer, floor: None, goal }
    };
    let https = figure("HTTPS", "Gbit/s", Goal::TimesPeer(1.05), &|r| gbit_per_s(&r.segment_tls));
    let http = figure("HTTP", "Gbit/s", Goal::AtLeast(12.0), &|r| gbit_per_s(&r.segment));
    let lists = [
        figure("HTTP", "a second", Goal::TimesPeer(1.05), &|r| per_s(&r.playlist)),
        figure("HTTPS", "a second", Goal::TimesPeer(1.05), &|r| per_s(&r.playlist_tls)),
    ];
    let playlist_bytes = fs::metadata(bench.paths.www().join(&PLAYLIST_FILE[1..]))?.len();
    let segment_bytes = fs::metadata(bench.paths.www().join(&SEGMENT_FILE[1..]))?.len();
    let size = format!("{} kB a segment", segment_bytes / 1_000);
    let tls = format!("TLS 1.3, AES-128-GCM, ECDSA P-256, {size}");
    let plain = format!("nginx by sendfile, {size}; both in user space or kernel as by default");
    let list = format!("{playlist_bytes} bytes; ours changes 5 times a second, nginx's is a file");
    Ok(vec![
        Row::of(ROWS[0].0, &[https], Some(&nginx), &tls),
        Row::of(ROWS[1].0, &[http], Some(&nginx), &plain),
        Row::of(ROWS[2].0, &lists, Some(&nginx), &list),
    ])
}
