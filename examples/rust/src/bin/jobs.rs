//! A queue of work whose worker may be killed at any instant: another takes its place, and nothing
//! is lost. The job that the dead one was about may be done again, and no other.
//!
//!     jobs give ipc://jobs 10000       # one terminal
//!     jobs work ipc://jobs 5000        # another: kills itself (-9) amid its 5000th job
//!     jobs work ipc://jobs             # the same again, without accident
//!
//! Jobs go by one queue, results by another. A job is released after its result was sent: whoever
//! dies in between leaves it to its successor.

use anyhow::{Result, ensure};
use psyne::Message;
use psyne::channel::{Config, Error, spsc};
use rustix::process::{Signal, getpid, kill_process};

/// The same in every language: its name and fields are checked when the two sides meet.
#[derive(Clone, Copy, Message)]
#[repr(C)]
struct Job {
    number: u64,
}

#[derive(Clone, Copy, Message)]
#[repr(C)]
struct Done {
    number: u64,
    square: u64,
}

/// Jobs given out and not done yet: fewer than a queue has slots, so that nobody waits for room.
const AHEAD_MAX: u64 = 500;

fn main() -> Result<()> {
    match examples::words()[..] {
        ["give", address, count] => give(address, count.parse()?),
        ["work", address] => work(address, u64::MAX),
        ["work", address, last] => work(address, last.parse()?),
        _ => examples::help(include_str!("jobs.rs")),
    }
}

fn give(address: &str, count: u64) -> Result<()> {
    let mut jobs = spsc::Sender::open(&format!("{address}/jobs"), &Config::default())?;
    let mut results = spsc::Receiver::<Done>::open(&format!("{address}/done"), &Config::default())?;
    let (mut given, mut done, mut again, mut died) = (0, 0, 0, 0);
    while done < count {
        while given < count && given - done < AHEAD_MAX {
            jobs.send(Job { number: given })?;
            given += 1;
        }
        match results.recv() {
            // Each worker does its jobs in order, and its successor goes on where it stopped.
            Ok(Done { number, square }) if number == done && square == number * number => done += 1,
            Ok(Done { number, .. }) if number + 1 == done => again += 1,
            Ok(Done { number, .. }) => ensure!(false, "{number} was done in the place of {done}"),
            Err(Error::PeerDied { .. }) => died += 1,
            Err(error) => return Err(error.into()),
        }
    }
    println!("{count} jobs done, {again} done again, {died} workers died");
    Ok(())
}

fn work(address: &str, last: u64) -> Result<()> {
    let mut jobs = spsc::Receiver::<Job>::open(&format!("{address}/jobs"), &Config::default())?;
    let mut results = spsc::Sender::open(&format!("{address}/done"), &Config::default())?;
    let mut count = 0;
    loop {
        let job = match jobs.recv_ref() {
            Ok(job) => job,
            Err(Error::Closed(_)) => break,
            Err(error) => return Err(error.into()),
        };
        results.send(Done { number: job.number, square: job.number * job.number })?;
        count += 1;
        if count == last {
            kill_process(getpid(), Signal::KILL)?;
        }
        // Here the job is released, as `job` is dropped.
    }
    println!("did {count} jobs");
    Ok(())
}
