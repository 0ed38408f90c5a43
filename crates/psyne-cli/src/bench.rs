//! `psyne bench`: what this machine allows, and how near channels come. `cargo xtask bench channel`
//! has more cases, goals, and peers.

use std::process::ExitCode;

use anyhow::{Result, bail};
use psyne::channel::{Full, Wait};
use psyne_cli::measure::queues::{blocking, calls, ours, ping_pong, throughput};
use psyne_cli::measure::{Contestant, floor, interleave, median, payload};
use serde::Serialize;

use crate::table::{self, number, word};
use crate::term;

/// Flags of `psyne bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How often each case is measured, taking turns: about a second each time.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

const SMALL: [u64; 7] = [1; 7];
const LINE: [u64; 8] = [1; 8];
const BATCH: usize = 32;
const PAYLOAD_BYTES: usize = 64 << 10;

/// What a figure is divided by.
#[derive(Clone, Copy)]
enum Against {
    /// It is a floor itself.
    Nothing,
    /// So many times the case of this index.
    Case(usize, f64),
    /// What one message a crossing would be: nanoseconds in the case of this index.
    Crossing(usize),
}

/// A name, a unit, what it is compared to, and a sample.
type Case = (&'static str, &'static str, Against, fn() -> f64);

/// Each floor stands before what is measured against it.
const CASES: [Case; 9] = [
    ("a cache line crosses", "ns", Against::Nothing, floor::lines),
    ("56 B one way", "ns", Against::Case(0, 1.0), || {
        ping_pong(SMALL, |slots| ours(slots, Wait::Spin, Full::Refuse))
    }),
    ("64 B one way", "ns", Against::Case(0, 1.0), || {
        ping_pong(LINE, |slots| ours(slots, Wait::Spin, Full::Refuse))
    }),
    ("request and reply", "ns", Against::Case(0, 2.0), || calls(SMALL)),
    ("64 B in batches of 32", "M/s", Against::Crossing(0), || {
        throughput(LINE, BATCH, |line| line[0], |slots| ours(slots, Wait::Spin, Full::Refuse))
    }),
    ("memcpy of 64 KiB, one core", "GB/s", Against::Nothing, || payload::memcpy(PAYLOAD_BYTES)),
    ("64 KiB copied in and read", "GB/s", Against::Case(5, 1.0), || {
        payload::ours(PAYLOAD_BYTES, true) * PAYLOAD_BYTES as f64 / 1e9
    }),
    ("futex wakes a thread", "ns", Against::Nothing, floor::wake),
    ("64 B wake a receiver", "ns", Against::Case(7, 1.0), blocking),
];

/// What was measured.
#[derive(Serialize)]
struct Report {
    cores: usize,
    optimised: bool,
    places: Vec<Place>,
    /// Samples during which the cores moved.
    dropped: usize,
}

/// How far apart the cores were, and what was measured there.
#[derive(Serialize)]
struct Place {
    place: &'static str,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    case: &'static str,
    unit: &'static str,
    value: f64,
    /// In the same unit; none for a floor.
    floor: Option<f64>,
    ratio: Option<f64>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let cores = std::thread::available_parallelism()?.get();
    if cores < 2 {
        bail!("this needs two cores, one for each side: give this process another (`taskset`)");
    }
    let optimised = !cfg!(debug_assertions);
    if !optimised {
        term::complain("this is a debug build: `cargo run --release -p psyne-cli -- bench`");
    }
    let contestants: Vec<Contestant<'_>> =
        CASES.iter().map(|case| (case.0, Box::new(case.3) as Box<_>)).collect();
    let samples = interleave(args.rounds.into(), &contestants);
    let places = [("near", &samples.near.0), ("far", &samples.far.0)];
    let places = places.into_iter().map(|(place, values)| Place { place, rows: rows(values) });
    let places: Vec<Place> = places.filter(|place| !place.rows.is_empty()).collect();
    let report = Report { cores, optimised, places, dropped: samples.dropped };
    if report.places.is_empty() {
        bail!("the cores moved during every sample: something else needs them, try later");
    }
    term::print(&if args.json { serde_json::to_string(&report)? + "\n" } else { page(&report) })?;
    Ok(ExitCode::SUCCESS)
}

/// The cases of which there is a sample, and of their floor.
fn rows(values: &[Vec<f64>]) -> Vec<Row> {
    let middle = |case: usize| (!values[case].is_empty()).then(|| median(&values[case]));
    let row = |(index, (case, unit, against, _)): (usize, &Case)| {
        let value = middle(index)?;
        let floor = match *against {
            Against::Nothing => None,
            Against::Case(of, times) => Some(middle(of)? * times),
            Against::Crossing(of) => Some(1e3 / middle(of)?),
        };
        Some(Row { case, unit, value, floor, ratio: floor.map(|floor| value / floor) })
    };
    CASES.iter().enumerate().filter_map(row).collect()
}

fn page(report: &Report) -> String {
    let colours = term::colours();
    let mut out = String::new();
    for place in &report.places {
        let what = match place.place {
            "near" => "cores near: they share a cache",
            _ => "cores far: a line takes the long way",
        };
        out.push_str(&term::ink(term::Ink::Strong, what, colours));
        out.push('\n');
        let some = |value: Option<f64>, digits| {
            number(value.map_or(String::new(), |value| format!("{value:.digits$}")))
        };
        let cells = place.rows.iter().map(|row| {
            let value = number(format!("{:.1}", row.value));
            vec![word(row.case), value, word(row.unit), some(row.floor, 1), some(row.ratio, 2)]
        });
        let cells: Vec<_> = cells.collect();
        out.push_str(&table::render(&["CASE", "HERE", "", "FLOOR", "RATIO"], &cells, colours));
        out.push('\n');
    }
    out.push_str(
        "ns: less is better; M/s and GB/s: more. FLOOR is what the machine itself does.\n",
    );
    if report.dropped > 0 {
        out.push_str(&format!("{} samples left out: the cores moved.\n", report.dropped));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_stands_beside_its_floor() {
        let mut values = vec![Vec::new(); CASES.len()];
        values[0] = vec![50.0];
        values[1] = vec![60.0];
        values[4] = vec![40.0];
        // Its floor was not seen in this placement.
        values[6] = vec![9.0];
        let rows = rows(&values);
        let ratios: Vec<_> = rows.iter().map(|row| (row.case, row.ratio)).collect();
        assert_eq!(
            ratios,
            [
                ("a cache line crosses", None),
                ("56 B one way", Some(1.2)),
                ("64 B in batches of 32", Some(2.0)),
            ]
        );
    }

    #[test]
    fn floors_come_first() {
        for (index, (_, unit, against, _)) in CASES.iter().enumerate() {
            if let Against::Case(of, _) = against {
                assert!(*of < index && CASES[*of].1 == *unit);
            }
        }
    }
}
