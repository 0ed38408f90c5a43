//! `psyne ls`: what channels there are.

use std::process::ExitCode;

use anyhow::Result;

use crate::channels::{self, Channel, Role, Seat};
use crate::table::{self, Cell, number, word};
use crate::term::{self, Ink};

/// Ends that are named in a column; of more only the number.
const NAMED: usize = 2;

/// Flags of `psyne ls`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also channels within one process (`memory://`).
    #[arg(long, short)]
    all: bool,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let snapshot = channels::look(args.all)?;
    if args.json {
        term::print(&(serde_json::to_string(&snapshot)? + "\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    snapshot.gaps().iter().for_each(|gap| term::complain(gap));
    if snapshot.channels.is_empty() {
        term::complain("nobody has a channel open: a program opens one at ipc://NAME");
        return Ok(ExitCode::SUCCESS);
    }
    let heads = ["NAME", "PATTERN", "MESSAGE", "SLOTS", "MEMORY", "SENDS", "RECEIVES", "DEPTH"];
    let rows: Vec<Vec<Cell>> = snapshot.channels.iter().map(row).collect();
    term::print(&table::render(&heads, &rows, term::colours()))?;
    Ok(ExitCode::SUCCESS)
}

fn row(channel: &Channel) -> Vec<Cell> {
    let (sends, receives) = (side(channel, Role::Sends), side(channel, Role::Receives));
    vec![
        word(&channel.name).ink(Ink::Strong),
        word(&channel.pattern),
        number(table::bytes(channel.message_bytes as f64)),
        number(table::short(channel.slots as f64)),
        number(table::bytes(channel.memory_bytes as f64)),
        sends,
        receives,
        depth(channel),
    ]
}

/// The ends that go one way: processes and how attentive they are.
fn side(channel: &Channel, role: Role) -> Cell {
    let seats: Vec<&Seat> = channel.side(role).collect();
    let named = seats.iter().take(NAMED).map(|seat| format!("{} {}", seat.pid, seat.state));
    let mut text = named.collect::<Vec<_>>().join(", ");
    if seats.len() > NAMED {
        text.push_str(&format!(" +{}", seats.len() - NAMED));
    }
    match seats.iter().map(|seat| seat.state).find(|state| ["gone", "alone"].contains(state)) {
        _ if seats.is_empty() => word("nobody").ink(Ink::Warning),
        Some("gone") => word(text).ink(Ink::Bad),
        Some(_) => word(text).ink(Ink::Warning),
        None => word(text).ink(Ink::Good),
    }
}

/// What waits to be read, and how near that is to a full ring.
pub(crate) fn depth(channel: &Channel) -> Cell {
    let Some(depth) = channel.depth else { return number("-") };
    let ink = match depth.saturating_mul(8) {
        eighths if eighths >= channel.slots.saturating_mul(7) && depth > 0 => Ink::Bad,
        eighths if eighths >= channel.slots.saturating_mul(4) && depth > 0 => Ink::Warning,
        _ => Ink::Plain,
    };
    number(table::short(depth as f64)).ink(ink)
}
