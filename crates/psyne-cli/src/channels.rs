//! What processes say of their ends, put together to channels.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use psyne::channel::observe::{self, End, Process, State, Words};
use serde::Serialize;

/// Bytes of the words of one region.
const WORDS_BYTES: u64 = 4096;

/// One channel.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Channel {
    /// With its scheme.
    pub(crate) name: String,
    /// Whose it is.
    pub(crate) uid: u32,
    /// `queue`, `bytes`, …
    pub(crate) pattern: String,
    /// Of a message; a line of 64 for a channel of bytes.
    pub(crate) message_bytes: u64,
    /// A number that both ends' types must agree on.
    pub(crate) layout_hash: u64,
    /// Of all rings together.
    pub(crate) slots: u64,
    /// Of all regions together.
    pub(crate) memory_bytes: u64,
    /// Slots sent by those who are there: messages, or lines.
    pub(crate) sent: u64,
    /// Slots that wait to be read: of the receiver that is furthest behind, at most a ring.
    pub(crate) depth: Option<u64>,
    /// How far that receiver is behind, overwritten messages among them.
    pub(crate) lag: Option<u64>,
    /// Who is there.
    pub(crate) ends: Vec<Seat>,
}

/// One end of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Seat {
    pub(crate) pid: u32,
    pub(crate) role: Role,
    /// `awake`, `drowsy`, `asleep`, `gone`; `alone` if nobody is at the other side.
    pub(crate) state: &'static str,
    /// Whether it owns the name.
    pub(crate) hosts: bool,
    /// Slots sent or received.
    pub(crate) messages: u64,
    /// See `observe::Words`.
    pub(crate) waits: u64,
    pub(crate) sleeps: u64,
    pub(crate) wakes: u64,
    pub(crate) lost: u64,
}

/// Which way an end goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Sends,
    Receives,
}

/// All that can be seen now.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Snapshot {
    pub(crate) channels: Vec<Channel>,
    /// Processes that have channels and do not say which.
    pub(crate) silent: Vec<u32>,
    /// Ends that did not fit into what a process tells.
    pub(crate) ends_left_out: u64,
}

/// Looks; `private` channels, within one process, only if they are wanted.
pub(crate) fn look(private: bool) -> Result<Snapshot> {
    let processes = observe::processes().context("the channels of this machine can't be listed")?;
    let silent = processes.iter().filter(|process| !process.answered);
    let silent = silent.map(|process| process.pid).collect();
    let left_out = processes.iter().map(|process| process.ends_left_out);
    let ends_left_out = left_out.fold(0, u64::saturating_add);
    Ok(Snapshot { channels: join(&processes, private), silent, ends_left_out })
}

/// The ends of one name: with each, the process that it is in.
type Group<'a> = Vec<(&'a Process, &'a End)>;

fn join(processes: &[Process], private: bool) -> Vec<Channel> {
    let mut groups: BTreeMap<(&str, u32, Option<u32>), Group<'_>> = BTreeMap::new();
    for process in processes {
        for end in process.ends.iter().filter(|end| private || !end.private) {
            let within = end.private.then_some(process.pid);
            groups.entry((&end.name, process.uid, within)).or_default().push((process, end));
        }
    }
    groups.into_values().map(|group| channel(&group)).collect()
}

fn channel(group: &Group<'_>) -> Channel {
    // Several may mean different things by a name; its owner decides.
    let (process, first) = group.iter().find(|(_, end)| end.hosts).unwrap_or(&group[0]);
    let rings = || group.iter().filter_map(|(_, end)| Some((end.ring_slots?, end.stride_bytes)));
    let slots = rings().map(|(slots, _)| slots).fold(0, u64::saturating_add);
    let ring_bytes =
        rings().map(|(slots, stride)| slots.saturating_mul(stride).saturating_add(WORDS_BYTES));
    let words: u64 = group.iter().map(|(_, end)| words_bytes(end)).sum();
    let ends = seats(group);
    let sent = ends.iter().filter(|seat| seat.role == Role::Sends).map(|seat| seat.messages);
    let lag = if first.pattern == "latest" { None } else { lag(group) };
    let bytes = first.pattern == "bytes";
    Channel {
        name: format!("{}://{}", if first.private { "memory" } else { "ipc" }, first.name),
        uid: process.uid,
        pattern: first.pattern.clone(),
        message_bytes: if bytes { first.stride_bytes } else { first.layout.size as u64 },
        layout_hash: first.layout.hash,
        slots,
        memory_bytes: ring_bytes.fold(words, u64::saturating_add),
        sent: sent.fold(0, u64::saturating_add),
        depth: lag.map(|lag| lag.min(slots)),
        lag,
        ends,
    }
}

/// An end that reads has a region of words for each other side.
fn words_bytes(end: &End) -> u64 {
    if end.ring_slots.is_some() { 0 } else { end.others.len() as u64 * WORDS_BYTES }
}

/// Who is there: those who say so themselves, and those of whom only others know.
fn seats(group: &Group<'_>) -> Vec<Seat> {
    let mut seats: Vec<Seat> = group.iter().map(|(process, end)| seat(process.pid, end)).collect();
    for (_, end) in group {
        let role = if end.ring_slots.is_some() { Role::Receives } else { Role::Sends };
        for other in &end.others {
            if !seats.iter().any(|seat| seat.pid == other.pid && seat.role == role) {
                seats.push(of_words(other.pid, role, &[other.theirs]));
            }
        }
    }
    seats.sort_by_key(|seat| (seat.role, seat.pid));
    seats
}

fn seat(pid: u32, end: &End) -> Seat {
    let mut seat = match end.ring_slots {
        Some(_) => of_words(pid, Role::Sends, &[end.words]),
        None => {
            let words: Vec<Words> = end.others.iter().map(|other| other.ours).collect();
            of_words(pid, Role::Receives, &words)
        }
    };
    seat.hosts = end.hosts;
    if end.others.is_empty() {
        seat.state = "alone";
    }
    seat
}

/// An end by its words; one that reads has some for each other side.
fn of_words(pid: u32, role: Role, words: &[Words]) -> Seat {
    let sum = |what: fn(&Words) -> u64| words.iter().map(what).fold(0, u64::saturating_add);
    Seat {
        pid,
        role,
        state: words.first().map_or("alone", |words| state(words.state())),
        hosts: false,
        messages: sum(Words::messages),
        // Each has the same of these.
        waits: words.iter().map(|words| words.waits).max().unwrap_or_default(),
        sleeps: words.iter().map(|words| words.sleeps).max().unwrap_or_default(),
        wakes: sum(|words| words.wakes),
        lost: sum(|words| words.lost),
    }
}

fn state(state: State) -> &'static str {
    match state {
        State::Awake => "awake",
        State::Drowsy => "drowsy",
        State::Asleep => "asleep",
        State::Gone => "gone",
    }
}

/// How far the last receiver is behind its sender, if there is one of each.
fn lag(group: &Group<'_>) -> Option<u64> {
    let pairs = group.iter().flat_map(|(_, end)| {
        let shared = end.pattern == "mpmc";
        end.others.iter().map(move |other| match end.ring_slots {
            // Each has a part of them.
            Some(_) if shared => end.words.waiting(),
            Some(_) => end.words.messages().saturating_sub(other.theirs.messages()),
            None => other.theirs.messages().saturating_sub(other.ours.messages()),
        })
    });
    pairs.max()
}

impl Channel {
    /// Sum of a counter over all ends.
    pub(crate) fn sum(&self, what: fn(&Seat) -> u64) -> u64 {
        self.ends.iter().map(what).fold(0, u64::saturating_add)
    }

    /// Those that send, or those that receive.
    pub(crate) fn side(&self, role: Role) -> impl Iterator<Item = &Seat> {
        self.ends.iter().filter(move |seat| seat.role == role)
    }
}

impl Snapshot {
    /// What could not be seen, in a sentence each.
    pub(crate) fn gaps(&self) -> Vec<String> {
        let mut gaps = Vec::new();
        for pid in &self.silent {
            gaps.push(format!(
                "process {pid} does not answer, its channels may be missing: is it stopped? \
                 `kill -CONT {pid}` lets it go on"
            ));
        }
        if self.ends_left_out > 0 {
            gaps.push(format!(
                "{} ends are not shown: a process tells of some 300",
                self.ends_left_out
            ));
        }
        gaps
    }
}
