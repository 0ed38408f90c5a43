//! What is written down: the form that all bench areas share.

use serde::Serialize;

use crate::stats::{median, range};

/// bench/results/AREA.json.
#[derive(Clone, Debug, Serialize)]
pub struct Results {
    /// Which bench.
    pub area: &'static str,
    /// Processor, cores, kernel, memory.
    pub machine: String,
    /// What was measured; `-dirty` if files had changed since.
    pub commit: String,
    /// Whether windows were short and rounds few.
    pub quick: bool,
    /// One for each row of the table.
    pub rows: Vec<Row>,
}

/// Measures the row of a case, whose name it is given, in some rounds.
pub type Measure = fn(&str, usize) -> Row;

/// The rows of those cases whose name has the word in it; each is said as soon as it is there.
#[must_use]
pub fn measure(cases: &[(&str, Measure)], rounds: usize, only: &str) -> Vec<Row> {
    let wanted = cases.iter().filter(|(name, _)| name.contains(only));
    let measured = wanted.map(|(name, case)| {
        let row = case(name, rounds);
        eprintln!("{}", row.line());
        row
    });
    measured.collect()
}

/// What is wanted of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// So many times the peer's.
    TimesPeer(f64),
    /// No more than so many times the peer's, or the floor without a peer.
    AtMostTimes(f64),
    /// No less.
    AtLeast(f64),
    /// No more.
    AtMost(f64),
}

impl Goal {
    /// How well it is met: 1 and more if it is.
    fn margin(self, ours: f64, ratio: Option<f64>) -> f64 {
        match self {
            Self::TimesPeer(times) => ratio.map_or(0.0, |ratio| ratio / times),
            Self::AtMostTimes(times) => ratio.map_or(0.0, |ratio| times / ratio),
            Self::AtLeast(least) => ours / least,
            Self::AtMost(most) => most / ours,
        }
    }

    fn text(self, unit: &str) -> String {
        match self {
            Self::TimesPeer(times) => format!("≥ {times} × peer"),
            Self::AtMostTimes(times) => format!("≤ {times} × peer or floor"),
            Self::AtLeast(least) => format!("≥ {least} {unit}"),
            Self::AtMost(most) => format!("≤ {most} {unit}"),
        }
    }
}

/// One figure, in as many rounds as were valid.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What distinguishes it from the others of its row.
    pub what: String,
    /// Of all numbers.
    pub unit: &'static str,
    /// Ours, a number a round.
    pub ours: Vec<f64>,
    /// The peer's.
    pub peer: Vec<f64>,
    /// What the machine itself allows.
    pub floor: Option<f64>,
    /// What is wanted.
    pub goal: Goal,
}

/// Program and version that a row compares to.
#[derive(Clone, Debug, Serialize)]
pub struct PeerName {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// One row of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    case: String,
    ours: Option<f64>,
    unit: String,
    peer: Option<f64>,
    peer_name: Option<String>,
    peer_version: Option<String>,
    floor: Option<f64>,
    ratio: Option<f64>,
    goal: String,
    met: bool,
    spread: Option<Spread>,
    /// The figures of a row that has several; the row itself shows the one that is worst off.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parts: Vec<Part>,
    note: String,
}

/// Least and greatest of the rounds.
#[derive(Clone, Debug, Serialize)]
struct Spread {
    ours: (f64, f64),
    peer: Option<(f64, f64)>,
}

#[derive(Clone, Debug, Serialize)]
struct Part {
    what: String,
    ours: f64,
    unit: String,
    peer: Option<f64>,
    floor: Option<f64>,
    ratio: Option<f64>,
    goal: String,
    met: bool,
}

/// Numbers are kept to four digits: no machine here repeats more.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10_f64.powi(3 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

impl Figure {
    fn middle(&self) -> (f64, Option<f64>, Option<f64>) {
        let ours = median(&self.ours);
        let peer = (!self.peer.is_empty()).then(|| median(&self.peer));
        (ours, peer, peer.or(self.floor).map(|other| ours / other))
    }

    fn margin(&self) -> f64 {
        let (ours, _, ratio) = self.middle();
        self.goal.margin(ours, ratio)
    }

    fn part(&self) -> Part {
        let (ours, peer, ratio) = self.middle();
        Part {
            what: self.what.clone(),
            ours: rounded(ours),
            unit: self.unit.into(),
            peer: peer.map(rounded),
            floor: self.floor.map(rounded),
            ratio: ratio.map(rounded),
            goal: self.goal.text(self.unit),
            met: self.margin() >= 1.0,
        }
    }
}

impl Row {
    /// A row that was measured. It is met if all its figures are.
    pub fn of(case: &str, figures: &[Figure], peer: Option<&PeerName>, note: &str) -> Self {
        let by_margin = |a: &&Figure, b: &&Figure| a.margin().total_cmp(&b.margin());
        let worst = figures.iter().min_by(by_margin).expect("a row has a figure");
        let head = worst.part();
        let spread = |values: &[f64]| {
            let (low, high) = range(values);
            (rounded(low), rounded(high))
        };
        let several = figures.len() > 1;
        Self {
            case: case.into(),
            ours: Some(head.ours),
            unit: if several { format!("{} ({})", head.unit, head.what) } else { head.unit },
            peer: head.peer,
            peer_name: peer.map(|peer| peer.name.clone()),
            peer_version: peer.map(|peer| peer.version.clone()),
            floor: worst.floor.map(rounded),
            ratio: head.ratio,
            goal: head.goal,
            met: figures.iter().all(|figure| figure.margin() >= 1.0),
            spread: Some(Spread {
                ours: spread(&worst.ours),
                peer: (!worst.peer.is_empty()).then(|| spread(&worst.peer)),
            }),
            parts: if several { figures.iter().map(Figure::part).collect() } else { Vec::new() },
            note: note.into(),
        }
    }

    /// A row that could not be measured: it stays in the table and is not met.
    pub fn missing(case: &str, goal: &str, why: &str) -> Self {
        Self {
            case: case.into(),
            ours: None,
            unit: String::new(),
            peer: None,
            peer_name: None,
            peer_version: None,
            floor: None,
            ratio: None,
            goal: goal.into(),
            met: false,
            spread: None,
            parts: Vec::new(),
            note: format!("not measured: {why}"),
        }
    }

    /// Whether it is the row of this name.
    pub fn is(&self, case: &str) -> bool {
        self.case == case
    }

    /// One line for the terminal.
    pub fn line(&self) -> String {
        let number = |value: Option<f64>| value.map_or("-".into(), |value| value.to_string());
        format!(
            "{} {}: {} {}, peer {}, ratio {}, goal {}{}{}",
            if self.met { "met " } else { "MISS" },
            self.case,
            number(self.ours),
            self.unit,
            number(self.peer),
            number(self.ratio),
            self.goal,
            if self.note.is_empty() { "" } else { "; " },
            self.note
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(ours: &[f64], peer: &[f64], goal: Goal) -> Figure {
        let what = "x".to_owned();
        Figure { what, unit: "u", ours: ours.into(), peer: peer.into(), floor: None, goal }
    }

    #[test]
    fn met_is_computed() {
        let cases = [
            (figure(&[13.0], &[10.0], Goal::TimesPeer(1.3)), true),
            (figure(&[12.9], &[10.0], Goal::TimesPeer(1.3)), false),
            (figure(&[99.0], &[], Goal::TimesPeer(1.3)), false),
            (figure(&[5.0, 7.0, 6.0], &[], Goal::AtLeast(6.0)), true),
            (figure(&[8.1], &[], Goal::AtMost(8.0)), false),
            (figure(&[2.5], &[10.0], Goal::AtMostTimes(0.25)), true),
            (figure(&[2.6], &[10.0], Goal::AtMostTimes(0.25)), false),
        ];
        for (figure, met) in cases {
            let row = Row::of("case", std::slice::from_ref(&figure), None, "");
            assert_eq!(row.met, met, "{figure:?}");
            assert!(row.parts.is_empty());
        }
    }

    #[test]
    fn a_row_with_several_figures_shows_the_worst() {
        let good = figure(&[20.0], &[10.0], Goal::TimesPeer(1.05));
        let bad = figure(&[9.0, 11.0], &[10.0], Goal::TimesPeer(1.05));
        let row = Row::of("case", &[good, bad], None, "");
        assert_eq!((row.ours, row.ratio, row.met), (Some(10.0), Some(1.0), false));
        assert_eq!(row.parts.len(), 2);
        assert!(Row::missing("case", "≥ 1", "no server").line().contains("MISS"));
    }

    #[test]
    fn four_digits() {
        assert_eq!(rounded(12_345.6), 12_350.0);
        assert_eq!(rounded(0.001_234_56), 0.001_235);
    }
}
