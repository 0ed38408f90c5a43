//! The rows of the table, in its order.

mod browser;
mod egress;
mod fan_out;
mod ingest;
mod waiters;

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::proc::Usage;
use crate::report::{Figure, Goal, Row};
use crate::rounds::{Bench, say};
use crate::servers::{Who, path};

/// Wake-ups after the start have died down by then.
const IDLE: Duration = Duration::from_secs(3);
const MB: f64 = 1e6;

/// A case makes the rows that it can measure together.
struct Case {
    /// Name and goal of each row, for when it cannot be measured.
    rows: &'static [(&'static str, &'static str)],
    run: fn(&Bench) -> Result<Vec<Row>>,
}

const CASES: &[Case] = &[
    Case { rows: &fan_out::SLIM, run: fan_out::slim },
    Case { rows: &fan_out::WIDE, run: fan_out::wide },
    Case { rows: &egress::ROWS, run: egress::run },
    Case { rows: &waiters::ROWS, run: waiters::run },
    Case { rows: &ingest::ROWS, run: ingest::run },
    Case { rows: &browser::ROWS, run: browser::run },
    Case { rows: &IDLE_ROWS, run: idle },
];

/// The order of the table: memory stands below both rates.
const MEMORY_ROW: &str = fan_out::MEMORY;

/// Measures all; each row is there, measured or not.
pub(crate) fn all(bench: &Bench, only: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut memory = None;
    for case in CASES {
        if !case.rows.iter().any(|(name, _)| name.contains(only)) {
            continue;
        }
        let began = Instant::now();
        say(&format!("… {}", case.rows[0].0));
        let made = (case.run)(bench).unwrap_or_else(|error| {
            let why = format!("{error:#}");
            case.rows.iter().map(|(name, goal)| Row::missing(name, goal, &why)).collect()
        });
        for row in made {
            say(&format!("{} ({} s)", row.line(), began.elapsed().as_secs()));
            if row.is(MEMORY_ROW) { memory = Some(row) } else { rows.push(row) }
        }
    }
    if let Some(memory) = memory {
        rows.insert(rows.len().min(2), memory);
    }
    rows
}

const IDLE_ROWS: [(&str, &str); 1] = [("idle server", "≤ 40 MB resident, binary ≤ 40 MB")];

fn idle(bench: &Bench) -> Result<Vec<Row>> {
    let server = bench.paths.start(Who::Ours, 0)?;
    std::thread::sleep(IDLE);
    let resident = Usage::of(server.guard.pid())?.rss_kb * 1_024.0 / MB;
    let binary = std::fs::metadata(path(&bench.paths.streamr)?)?.len() as f64 / MB;
    let figure = |what: &str, value: f64| Figure {
        what: what.into(),
        unit: "MB",
        ours: vec![value],
        peer: Vec::new(),
        floor: None,
        goal: Goal::AtMost(40.0),
    };
    let figures = [figure("resident", resident), figure("binary", binary)];
    Ok(vec![Row::of(IDLE_ROWS[0].0, &figures, None, "one core, no stream on air")])
}
