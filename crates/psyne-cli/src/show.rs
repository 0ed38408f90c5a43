//! `psyne show NAME`: all that is known of one channel.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::channels::{self, Channel, Role};
use crate::table::{self, number, word};
use crate::term;

/// Flags of `psyne show`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which channel: `ipc://ticks`, or just `ticks`.
    name: String,
    /// Print one line of JSON for each channel of that name.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let snapshot = channels::look(true)?;
    // Who shares a path is part of its address, but not of its name.
    let name = args.name.split('?').next().unwrap_or_default();
    let is_meant = |channel: &&Channel| {
        let bare = channel.name.split_once("://").map(|(_, bare)| bare);
        channel.name == name || bare == Some(name)
    };
    let found: Vec<&Channel> = snapshot.channels.iter().filter(is_meant).collect();
    if found.is_empty() {
        snapshot.gaps().iter().for_each(|gap| term::complain(gap));
        bail!("nobody has {} open: `psyne ls --all` lists what there is", args.name);
    }
    for channel in found {
        let text = if args.json { serde_json::to_string(channel)? + "\n" } else { page(channel) };
        term::print(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn page(channel: &Channel) -> String {
    let mut out = String::new();
    let size = table::bytes(channel.message_bytes as f64);
    let what = if channel.pattern == "bytes" {
        format!("strings of bytes, in lines of {size}")
    } else {
        format!("messages of {size}, layout {:016x}", channel.layout_hash)
    };
    let some = |count: Option<u64>| count.map_or("-".into(), |count| count.to_string());
    let lines = [
        ("pattern", format!("{}: {what}", channel.pattern)),
        (
            "memory",
            format!("{} slots, {}", channel.slots, table::bytes(channel.memory_bytes as f64)),
        ),
        ("sent", channel.sent.to_string()),
        ("depth", some(channel.depth)),
        ("lag", some(channel.lag)),
        ("owner", format!("user {}", channel.uid)),
    ];
    let _ = writeln!(out, "{}", term::ink(term::Ink::Strong, &channel.name, term::colours()));
    for (what, value) in lines {
        let _ = writeln!(out, "  {what:<8} {value}");
    }
    let heads = ["  PROCESS", "ROLE", "STATE", "MESSAGES", "WAITS", "SLEEPS", "WAKES", "LOST"];
    let rows = channel.ends.iter().map(|seat| {
        let role = match seat.role {
            Role::Sends => "sends",
            Role::Receives => "receives",
        };
        let host = if seat.hosts { ", owns the name" } else { "" };
        let count = |value: u64| number(value.to_string());
        vec![
            word(format!("  {}", seat.pid)),
            word(format!("{role}{host}")),
            word(seat.state),
            count(seat.messages),
            count(seat.waits),
            count(seat.sleeps),
            count(seat.wakes),
            count(seat.lost),
        ]
    });
    let rows: Vec<_> = rows.collect();
    out.push_str(&table::render(&heads, &rows, term::colours()));
    out
}
