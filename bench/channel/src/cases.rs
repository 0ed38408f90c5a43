//! The rows of the table, in its order.

use bench_report::report::{Figure, Goal, Measure, Row, measure};
use bench_report::stats::median;
use psyne::channel::{Full, Wait};

use psyne_cli::measure::queues::{self, SLOTS, ours, ping_pong, throughput};
use psyne_cli::measure::{Contestant, Samples, floor, interleave, payload};

use crate::queues::ring;
use crate::{fan, iceoryx, kill, many, processes};

type Line = [u64; 8];
type Small = [u64; 7];
const LINE: Line = [1; 8];
const SMALL: Small = [1; 7];
const BATCH: usize = 32;

/// Every row, or those whose name has the word in it.
pub(crate) fn all(rounds: usize, only: &str) -> Vec<Row> {
    let cases: [(&str, Measure); 12] = [
        ("64 B one way in process", one_way),
        ("64 B one way across processes", across),
        ("64 B one way beside iceoryx2", beside_iceoryx),
        ("64 B batched throughput", batched),
        ("loan and send of 64 KiB untouched", untouched),
        ("64 KiB copied in and fully read", copied),
        ("4 KiB to 16 MiB copied in and read", sizes),
        ("blocking wake", wake),
        ("MPMC, 2 × 2 threads", many_ends),
        ("request-response round trip", calls),
        ("broadcast to 3 readers", fanned),
        ("kill -9 in a loop", killed),
    ];
    measure(&cases, rounds, only)
}

/// A figure for each placement that was seen: contestant `index`, against the floor (`None`) or the
/// best of the others from `Some(first)` on.
fn figures(
    samples: &Samples,
    (what, unit, index): (&str, &'static str, usize),
    against: Option<(usize, &[Contestant<'_>])>,
    goals: (Goal, Goal),
) -> Vec<Figure> {
    let places = [("near", &samples.near, goals.0), ("far", &samples.far, goals.1)];
    let seen = places.into_iter().filter(|(_, (values, _), _)| !values[index].is_empty());
    // Without a valid sample of a peer in this placement there is nothing to compare.
    let peered = |values: &[Vec<f64>]| match against {
        Some((first, names)) => values[first..names.len()].iter().any(|peer| !peer.is_empty()),
        None => true,
    };
    let seen = seen.filter(|(_, (values, _), _)| peered(values));
    seen.map(|(place, (values, floors), goal)| {
        let least = unit == "ns";
        let rank = |other: &usize| median(&values[*other]) * if least { -1.0 } else { 1.0 };
        let best = against.and_then(|(first, names)| {
            let others = (first..names.len()).filter(|other| !values[*other].is_empty());
            let best = others.max_by(|a, b| rank(a).total_cmp(&rank(b)))?;
            Some((names[best].0, values[best].clone()))
        });
        let beside = best.as_ref().map(|(name, _)| format!(", beside {name}")).unwrap_or_default();
        Figure {
            what: format!("{what}{place}{beside}"),
            unit,
            ours: values[index].clone(),
            peer: best.map(|(_, values)| values).unwrap_or_default(),
            floor: least.then(|| median(floors)),
            goal,
        }
    })
    .collect()
}

/// A figure without a goal, for the note: contestant `index` in each placement that was seen.
fn told(samples: &Samples, (what, unit, index): (&str, &str, usize)) -> String {
    let places = [("near", &samples.near), ("far", &samples.far)];
    let seen = places.into_iter().filter(|(_, (values, _))| !values[index].is_empty());
    let figures: Vec<_> = seen
        .map(|(place, (values, _))| format!("{:.1} {unit} {place}", median(&values[index])))
        .collect();
    format!("{what} {}", figures.join(", "))
}

fn row(name: &str, figures: &[Figure], samples: &Samples, note: &str) -> Row {
    if figures.is_empty() {
        return Row::missing(name, "", "the placement of the cores changed in every sample");
    }
    let note = format!("{note}; {} samples straddled a change of placement", samples.dropped);
    Row::of(name, figures, None, &note)
}

fn one_way(name: &str, rounds: usize) -> Row {
    let contestants: Vec<Contestant<'_>> = vec![
        ("64 B", Box::new(|| ping_pong(LINE, |n| ours(n, Wait::Spin, Full::Refuse)))),
        ("56 B", Box::new(|| ping_pong(SMALL, |n| ours(n, Wait::Spin, Full::Refuse)))),
        ("rtrb", Box::new(|| ping_pong(LINE, rtrb::RingBuffer::new))),
        ("disruptor", Box::new(ring::ping_pong)),
        ("floor", Box::new(floor::lines)),
    ];
    let samples = interleave(rounds * 2, &contestants);
    let goals = (Goal::AtMostTimes(1.25), Goal::AtMostTimes(1.05));
    let mut all = figures(&samples, ("64 B ", "ns", 0), None, goals);
    all.extend(figures(&samples, ("56 B ", "ns", 1), None, goals));
    all.extend(figures(
        &samples,
        ("64 B ", "ns", 0),
        Some((2, &contestants[..4])),
        (Goal::AtMostTimes(1.0), Goal::AtMostTimes(1.0)),
    ));
    row(name, &all, &samples, "floor: two lines, one for each direction")
}

fn across(name: &str, rounds: usize) -> Row {
    let contestants: Vec<Contestant<'_>> = vec![
        ("64 B", Box::new(|| processes::ours(LINE).unwrap_or(f64::NAN))),
        ("56 B", Box::new(|| processes::ours(SMALL).unwrap_or(f64::NAN))),
        ("iceoryx2", Box::new(|| iceoryx::ping_pong().unwrap_or(f64::NAN))),
        ("pipe", Box::new(|| processes::pipe().unwrap_or(f64::NAN))),
        ("Unix socket", Box::new(|| processes::unix().unwrap_or(f64::NAN))),
        ("TCP", Box::new(|| processes::tcp().unwrap_or(f64::NAN))),
    ];
    let samples = interleave(rounds, &contestants);
    let goals = (Goal::AtMostTimes(1.25), Goal::AtMostTimes(1.05));
    let mut all = figures(&samples, ("64 B ", "ns", 0), None, goals);
    all.extend(figures(&samples, ("56 B ", "ns", 1), None, goals));
    let most = (Goal::AtMost(1_000.0), Goal::AtMost(1_000.0));
    all.extend(figures(&samples, ("64 B, below a microsecond, ", "ns", 0), None, most));
    for (index, (peer, _)) in contestants.iter().enumerate().skip(2) {
        let goal = if *peer == "iceoryx2" { 0.25 } else { 1.0 };
        let goals = (Goal::AtMostTimes(goal), Goal::AtMostTimes(goal));
        let only = Some((index, &contestants[..=index]));
        all.extend(figures(&samples, ("64 B ", "ns", 0), only, goals));
    }
    let text = "floor: two lines between threads, which cross the same way; all look all the time";
    row(name, &all, &samples, &note(text))
}

fn killed(name: &str, rounds: usize) -> Row {
    let turns = if rounds > 4 { 1_000 } else { 100 };
    let figure = |(who, recovered): &(&str, usize)| Figure {
        what: format!("of {turns} {who}"),
        unit: "recovered",
        ours: vec![*recovered as f64],
        peer: Vec::new(),
        floor: None,
        goal: Goal::AtLeast(turns as f64),
    };
    match kill::turns(turns) {
        Ok(recovered) => {
            let text = "at random instants: whole, in order, told, taken over; nothing stays";
            let figures: Vec<_> = recovered.iter().map(figure).collect();
            Row::of(name, &figures, None, text)
        }
        Err(error) => Row::missing(name, "1,000 of 1,000", &format!("{error:#}")),
    }
}

fn beside_iceoryx(name: &str, rounds: usize) -> Row {
    let contestants: Vec<Contestant<'_>> = vec![
        ("64 B", Box::new(|| processes::ours(LINE).unwrap_or(f64::NAN))),
        ("iceoryx2", Box::new(|| iceoryx::ping_pong().unwrap_or(f64::NAN))),
    ];
    let samples = interleave(rounds, &contestants);
    let goals = (Goal::AtMostTimes(0.25), Goal::AtMostTimes(0.25));
    let all = figures(&samples, ("", "ns", 0), Some((1, &contestants)), goals);
    row(name, &all, &samples, &note("both between processes"))
}

fn note(text: &str) -> String {
    format!("{text}; iceoryx2 {}", iceoryx::VERSION)
}

fn batched(name: &str, rounds: usize) -> Row {
    fn fold(line: Line) -> u64 {
        line.iter().fold(0, |sum, word| sum.wrapping_add(*word))
    }
    let contestants: Vec<Contestant<'_>> = vec![
        ("64 B", Box::new(|| throughput(LINE, BATCH, fold, |n| ours(n, Wait::Spin, Full::Refuse)))),
        ("rtrb", Box::new(|| throughput(LINE, BATCH, fold, rtrb::RingBuffer::new))),
        ("disruptor", Box::new(|| ring::throughput(BATCH))),
        ("crossbeam", Box::new(|| throughput(LINE, BATCH, fold, crossbeam_channel::bounded))),
        ("kanal", Box::new(|| throughput(LINE, BATCH, fold, kanal::bounded))),
        ("flume", Box::new(|| throughput(LINE, BATCH, fold, flume::bounded))),
        ("std mpsc", Box::new(|| throughput(LINE, BATCH, fold, std::sync::mpsc::sync_channel))),
    ];
    let samples = interleave(rounds, &contestants);
    let goals = (Goal::TimesPeer(1.5), Goal::TimesPeer(1.5));
    let all = figures(&samples, ("", "M/s", 0), Some((1, &contestants)), goals);
    let text = format!("batches of {BATCH}, rings of {SLOTS}; each by its own batches");
    row(name, &all, &samples, &text)
}

fn untouched(name: &str, rounds: usize) -> Row {
    let bytes = 64 << 10;
    let contestants: Vec<Contestant<'_>> = vec![
        ("ours", Box::new(move || payload::ours(bytes, false) / 1e6)),
        ("iceoryx2", Box::new(move || iceoryx::stream(bytes, 64, false).unwrap_or(f64::NAN) / 1e6)),
    ];
    let samples = interleave(rounds, &contestants);
    let goals = (Goal::TimesPeer(10.0), Goal::TimesPeer(10.0));
    let all = figures(&samples, ("", "M/s", 0), Some((1, &contestants)), goals);
    row(name, &all, &samples, &note("8 bytes written; ours between threads"))
}

fn copied(name: &str, rounds: usize) -> Row {
    let bytes = 64 << 10;
    let gb = move |rate: f64| rate * bytes as f64 / 1e9;
    let contestants: Vec<Contestant<'_>> = vec![
        ("ours", Box::new(move || gb(payload::ours(bytes, true)))),
        ("iceoryx2", Box::new(move || gb(iceoryx::stream(bytes, 64, true).unwrap_or(f64::NAN)))),
        ("memcpy", Box::new(move || payload::memcpy(bytes))),
    ];
    let samples = interleave(rounds, &contestants);
    let goals = (Goal::TimesPeer(4.0), Goal::AtLeast(20.0));
    let all = figures(&samples, ("", "GB/s", 0), Some((1, &contestants[..2])), goals);
    let copy = told(&samples, ("a copy by one thread", "GB/s", 2));
    row(name, &all, &samples, &note(&format!("ours between threads; {copy}")))
}

fn sizes(name: &str, rounds: usize) -> Row {
    let sizes = [4 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20];
    let contestants: Vec<Contestant<'_>> = sizes
        .iter()
        .map(|bytes| -> Contestant<'_> {
            ("ours", Box::new(move || payload::ours(*bytes, true) * *bytes as f64 / 1e9))
        })
        .collect();
    let samples = interleave(rounds, &contestants);
    let goals = (Goal::AtLeast(10.0), Goal::AtLeast(10.0));
    let each = sizes.iter().enumerate().flat_map(|(index, bytes)| {
        figures(&samples, (&format!("{} KiB ", bytes >> 10), "GB/s", index), None, goals)
    });
    row(name, &each.collect::<Vec<_>>(), &samples, "ours between threads")
}

fn wake(name: &str, rounds: usize) -> Row {
    let contestants: Vec<Contestant<'_>> =
        vec![("ours", Box::new(queues::blocking)), ("raw futex", Box::new(floor::wake))];
    let samples = interleave(rounds * 2, &contestants);
    let goals = (Goal::AtMostTimes(1.05), Goal::AtMostTimes(1.05));
    let all = figures(&samples, ("", "ns", 0), Some((1, &contestants)), goals);
    row(name, &all, &samples, "both sides sleep each time; ratio to the raw futex")
}

fn many_ends(name: &str, rounds: usize) -> Row {
    use many::{cloned, dealt, ours, throughput};
    let contestants: Vec<Contestant<'_>> = vec![
        ("ours", Box::new(|| throughput(LINE, false, ours()))),
        ("crossbeam", Box::new(|| throughput(LINE, false, cloned(crossbeam_channel::bounded)))),
        ("kanal", Box::new(|| throughput(LINE, false, cloned(kanal::bounded)))),
        ("flume", Box::new(|| throughput(LINE, false, cloned(flume::bounded)))),
        ("ours in batches", Box::new(|| throughput(LINE, true, ours()))),
        ("kanal in batches", Box::new(|| throughput(LINE, true, cloned(kanal::bounded)))),
        ("ours, dealt out", Box::new(|| throughput(LINE, false, dealt()))),
    ];
    let samples = interleave(rounds, &contestants);
    let goals = (Goal::TimesPeer(1.2), Goal::TimesPeer(1.2));
    let mut all = figures(&samples, ("", "M/s", 0), Some((1, &contestants[..4])), goals);
    let batches = ("in batches ", "M/s", 4);
    all.extend(figures(&samples, batches, Some((5, &contestants[..6])), goals));
    let dealt = told(&samples, ("dealt out to receivers", "M/s", 6));
    let how = "64 B, four threads on two cores, each waits as its queue does";
    row(name, &all, &samples, &format!("{how}; {dealt}"))
}

fn calls(name: &str, rounds: usize) -> Row {
    let sends = || 2.0 * ping_pong(SMALL, |n| ours(n, Wait::Spin, Full::Refuse));
    let contestants: Vec<Contestant<'_>> = vec![
        ("ours", Box::new(|| queues::calls(SMALL))),
        ("two sends", Box::new(sends)),
        ("floor", Box::new(|| 2.0 * floor::lines())),
    ];
    let samples = interleave(rounds * 2, &contestants);
    let goals = (Goal::AtMostTimes(0.7), Goal::AtMostTimes(0.7));
    let mut all = figures(&samples, ("", "ns", 0), Some((1, &contestants[..2])), goals);
    let floor = (Goal::AtMostTimes(2.0), Goal::AtMostTimes(2.0));
    all.extend(figures(&samples, ("over the one-way floor ", "ns", 0), None, floor));
    row(name, &all, &samples, "56 B each way; beside two one-way sends of our queue")
}

fn fanned(name: &str, rounds: usize) -> Row {
    let contestants: Vec<Contestant<'_>> = vec![
        ("broadcast", Box::new(|| fan::lines(true))),
        ("three queues", Box::new(|| fan::lines(false))),
        ("broadcast of 4 KiB", Box::new(|| fan::strings(4 << 10, true))),
        ("three queues of 4 KiB", Box::new(|| fan::strings(4 << 10, false))),
    ];
    let samples = interleave(rounds, &contestants);
    let goals = (Goal::TimesPeer(2.0), Goal::TimesPeer(2.0));
    let two = Some((1, &contestants[..2]));
    let mut all = figures(&samples, ("64 B ", "M/s", 0), two, goals);
    all.extend(figures(&samples, ("4 KiB ", "M/s", 2), Some((3, &contestants)), goals));
    row(name, &all, &samples, "all readers block, and take turns on one core")
}
