//! The rows of the table, in its order.

use bench_report::report::{Figure, Goal, Measure, PeerName, Row, measure};
use bench_report::stats::median;

use crate::association::{Who, cost, floor, lossy};

/// Every row, or those whose name has the word in it.
pub(crate) fn all(rounds: usize, only: &str) -> Vec<Row> {
    let cases: [(&str, Measure); 2] = [
        ("SCTP alone, both ends in one process, 16 KiB messages", windows),
        ("SCTP alone, 50 ms RTT with 1 % loss (virtual clock)", loss),
    ];
    measure(&cases, rounds, only)
}

fn stock() -> PeerName {
    PeerName { name: "sctp-proto".into(), version: "0.10.8".into() }
}

/// Windows, and how many bytes the peer is given: enough for some tenths of a second.
const WINDOWS: [(usize, &str, u64); 5] = [
    (64 << 10, "64 KiB", 16 << 20),
    (256 << 10, "256 KiB", 16 << 20),
    (1 << 20, "1 MiB", 8 << 20),
    (4 << 20, "4 MiB", 8 << 20),
    (8 << 20, "8 MiB", 8 << 20),
];
const OURS_BYTES: u64 = 128 << 20;

fn windows(name: &str, rounds: usize) -> Row {
    let mut ours = vec![Vec::new(); WINDOWS.len()];
    let (mut bare, mut peer) = (ours.clone(), ours.clone());
    let mut floors = Vec::new();
    for _ in 0..rounds {
        floors.push(floor(OURS_BYTES));
        for (at, (window, _, bytes)) in WINDOWS.into_iter().enumerate() {
            ours[at].push(cost(Who::Ours, window, OURS_BYTES));
            bare[at].push(cost(Who::OursOverDtls, window, OURS_BYTES));
            peer[at].push(cost(Who::Stock, window, bytes));
        }
    }
    let middle: Vec<f64> = ours.iter().map(|values| median(values)).collect();
    let mean = middle.iter().sum::<f64>() / middle.len() as f64;
    let off = middle.iter().map(|value| (value / mean - 1.0).abs() * 100.0).fold(0.0, f64::max);
    let bare: Vec<String> = WINDOWS
        .iter()
        .zip(&bare)
        .map(|((_, window, _), values)| format!("{:.0} with {window}", median(values)))
        .collect();
    let floor = median(&floors);
    let figures = WINDOWS.iter().zip(ours.into_iter().zip(peer));
    let mut figures: Vec<Figure> = figures
        .map(|((_, window, _), (ours, peer))| Figure {
            what: format!("window {window}"),
            unit: "Mbit per CPU-second",
            ours,
            peer,
            floor: Some(floor),
            goal: Goal::AtLeast(1_200.0),
        })
        .collect();
    figures.push(Figure {
        what: "furthest from the mean of all windows".into(),
        unit: "%",
        ours: vec![off],
        peer: Vec::new(),
        floor: None,
        goal: Goal::AtMost(15.0),
    });
    let note = format!(
        "SCTP packets without DTLS under them, 1 ms each way on a virtual clock so that the window \
         is in flight; without the checksum, as over DTLS (RFC 9653): {}; floor: each byte copied \
         twice and its CRC32c taken twice",
        bare.join(", "),
    );
    Row::of(name, &figures, Some(&stock()), &note)
}

fn loss(name: &str, rounds: usize) -> Row {
    let seeds = 1..=rounds as u64;
    let (ours, peer) =
        seeds.map(|seed| (lossy(Who::OursOverDtls, seed), lossy(Who::Stock, seed))).unzip();
    let figure = Figure {
        what: "reliable, ordered, 2 MiB window".into(),
        unit: "Mbit/s",
        ours,
        peer,
        floor: None,
        goal: Goal::AtLeast(50.0),
    };
    let note = "SCTP packets without DTLS under them; 20 virtual seconds, a seed a round, 1 % each \
                way, no bound on the rate";
    Row::of(name, &[figure], Some(&stock()), note)
}
