//! `psyne top`: channels as they work.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde::Serialize;

use crate::channels::{self, Channel, Role, Seat, Snapshot};
use crate::ls;
use crate::table::{self, Cell, number, word};
use crate::term::{self, Ink};

/// Flags of `psyne top`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only channels with this in their name.
    #[arg(value_name = "WORD")]
    only: Option<String>,
    /// Also channels within one process (`memory://`).
    #[arg(long, short)]
    all: bool,
    /// Seconds between two looks.
    #[arg(long, short, default_value_t = 1.0, value_parser = seconds)]
    interval: f64,
    /// End after so many looks.
    #[arg(long, short = 'n', value_name = "TIMES")]
    count: Option<u64>,
    /// Print one line of JSON for each look.
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    let fits = |seconds: &f64| (0.05..=3600.0).contains(seconds);
    let seconds = text.parse().ok().filter(fits);
    seconds.ok_or_else(|| "it is a number of seconds between 0.05 and 3600".into())
}

/// What one look shows, as JSON.
#[derive(Serialize)]
struct Frame<'a> {
    /// Since 1970.
    time_ms: u64,
    channels: Vec<Line<'a>>,
    silent: &'a [u32],
}

/// A channel and what it did a second since the last look.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    channel: &'a Channel,
    messages_per_s: f64,
    bytes_per_s: f64,
    waits_per_s: f64,
    sleeps_per_s: f64,
    lost_per_s: f64,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let interval = Duration::from_secs_f64(args.interval);
    let (mut before, mut at) = (look(args)?, Instant::now());
    for frame in 0_u64.. {
        if args.count.is_some_and(|count| frame >= count) {
            break;
        }
        std::thread::sleep(interval.saturating_sub(at.elapsed()));
        let (now, time) = (look(args)?, Instant::now());
        let lines = lines(&before, &now, (time - at).as_secs_f64());
        if args.json {
            term::print(&(json(lines, &now)? + "\n"))?;
        } else {
            term::print(&page(&lines, &now, term::is_terminal().then(term::rows)))?;
        }
        (before, at) = (now, time);
    }
    Ok(ExitCode::SUCCESS)
}

fn look(args: &Args) -> Result<Snapshot> {
    let mut snapshot = channels::look(args.all)?;
    if let Some(only) = &args.only {
        snapshot.channels.retain(|channel| channel.name.contains(only.as_str()));
    }
    Ok(snapshot)
}

fn json(channels: Vec<Line<'_>>, now: &Snapshot) -> Result<String> {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let frame = Frame { time_ms: time.as_millis() as u64, channels, silent: &now.silent };
    Ok(serde_json::to_string(&frame)?)
}

/// What each channel did since, the busiest first.
fn lines<'a>(before: &Snapshot, now: &'a Snapshot, seconds: f64) -> Vec<Line<'a>> {
    let old: BTreeMap<_, &Seat> = before.channels.iter().flat_map(seats).collect();
    let rate = |channel: &Channel, what: fn(&Seat) -> u64| {
        // Who was not there at the last look has not been counted from any moment.
        let new = seats(channel).filter_map(|(key, seat)| Some((old.get(&key)?, seat)));
        let grown = new.map(|(old, seat)| what(seat).saturating_sub(what(old)) as f64);
        grown.sum::<f64>() / seconds
    };
    let sent = |seat: &Seat| if seat.role == Role::Sends { seat.messages } else { 0 };
    let mut lines: Vec<_> = now
        .channels
        .iter()
        .map(|channel| {
            let messages_per_s = rate(channel, sent);
            Line {
                channel,
                messages_per_s,
                bytes_per_s: messages_per_s * channel.message_bytes as f64,
                waits_per_s: rate(channel, |seat| seat.waits),
                sleeps_per_s: rate(channel, |seat| seat.sleeps),
                lost_per_s: rate(channel, |seat| seat.lost),
            }
        })
        .collect();
    lines.sort_by(|a, b| b.messages_per_s.total_cmp(&a.messages_per_s));
    lines
}

/// The ends of a channel, and what tells them from others.
fn seats(channel: &Channel) -> impl Iterator<Item = ((&str, u32, u32, Role), &Seat)> {
    let key = |seat: &Seat| (channel.name.as_str(), channel.uid, seat.pid, seat.role);
    channel.ends.iter().map(move |seat| (key(seat), seat))
}

const HEADS: [&str; 10] =
    ["NAME", "PATTERN", "MSG/S", "BYTES/S", "DEPTH", "LAG", "WAITS/S", "SLEEPS/S", "LOST", "ENDS"];

/// A screen of so many rows that is drawn over the last, or a table below it.
fn page(lines: &[Line<'_>], now: &Snapshot, screen: Option<usize>) -> String {
    let mut notes = now.gaps();
    let room = screen.map_or(usize::MAX, |rows| rows.saturating_sub(3 + notes.len()));
    if lines.len() > room {
        notes.push(format!("{} more: `psyne top WORD` shows fewer", lines.len() - room));
    }
    let shown: Vec<Vec<Cell>> = lines.iter().take(room).map(row).collect();
    let mut text = table::render(&HEADS, &shown, term::colours());
    for note in notes {
        text.push_str(&term::ink(Ink::Warning, &note, term::colours()));
        text.push('\n');
    }
    if screen.is_none() {
        return text + "\n";
    }
    // Each line over the old one, and nothing below: clearing first would flicker.
    format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"))
}

fn row(line: &Line<'_>) -> Vec<Cell> {
    let channel = line.channel;
    let rate = |value: f64| number(table::short(value));
    let lost = channel.sum(|seat| seat.lost);
    let lost = number(table::short(lost as f64)).ink(match line.lost_per_s {
        rate if rate > 0.0 => Ink::Bad,
        _ if lost > 0 => Ink::Warning,
        _ => Ink::Plain,
    });
    let busy = if line.messages_per_s > 0.0 { Ink::Good } else { Ink::Faint };
    let count = |role| channel.side(role).count();
    vec![
        word(&channel.name).ink(Ink::Strong),
        word(&channel.pattern),
        rate(line.messages_per_s).ink(busy),
        number(table::bytes(line.bytes_per_s)),
        ls::depth(channel),
        number(channel.lag.map_or("-".into(), |lag| table::short(lag as f64))),
        rate(line.waits_per_s),
        rate(line.sleeps_per_s),
        lost,
        word(format!("{} → {}", count(Role::Sends), count(Role::Receives))),
    ]
}
