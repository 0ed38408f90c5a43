//! kill -9 in a loop of the patterns with many ends at a side.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use psyne::channel::broadcast::{Lag, bytes as cast};
use psyne::channel::{Error, event, mpmc, mpsc, request};

use crate::kill::{Dice, config};
use crate::processes::Other;

/// How long a call waits for a server that may be dead.
const CALL: Duration = Duration::from_millis(50);

/// A number and what shows that nothing else was mixed into it.
type Note = [u64; 25];

/// What a pattern's victim is, and who outlives it.
pub(crate) struct Case {
    /// Its victim.
    pub(crate) job: &'static str,
    /// For people.
    pub(crate) name: &'static str,
    outlive: fn(&str, usize) -> Result<usize>,
}

/// All of them.
pub(crate) const CASES: [Case; 5] = [
    Case { job: "mpsc", name: "senders of many to one", outlive: many_to_one },
    Case { job: "mpmc", name: "receivers of many to many", outlive: many_to_many },
    Case { job: "serve", name: "servers", outlive: servers },
    Case { job: "cast", name: "senders of a broadcast of bytes", outlive: broadcasts },
    Case { job: "notify", name: "notifiers of events", outlive: notifiers },
];

impl Case {
    /// How many of so many killed were recovered from.
    pub(crate) fn turns(&self, count: usize) -> Result<usize> {
        (self.outlive)(&format!("ipc://bench/kill/{}/{}", std::process::id(), self.job), count)
    }
}

/// What a process does until it is killed, if it is such a victim.
pub(crate) fn victim(job: &str, address: &str) -> Result<()> {
    match job {
        "mpsc" => {
            let mut sender = mpsc::Sender::<Note>::open(address, &config())?;
            (0..).try_for_each(|number| Ok(sender.send([number; 25])?))
        }
        "mpmc" => take(address),
        "serve" => {
            let mut server = request::Server::<u64, Note>::open(address, &config())?;
            Ok(server.serve(|number| [number + 1; 25])?)
        }
        "cast" => {
            let mut sender = cast::Sender::open(address, &config())?;
            (0_u64..).try_for_each(|number| {
                Ok(sender.send(&number.to_le_bytes().repeat(1 + number as usize % 9))?)
            })
        }
        "notify" => {
            let mut notifier = event::Notifier::open(address, &config())?;
            (0_u64..).try_for_each(|number| {
                notifier.notify((number % 64) as u8);
                Ok(())
            })
        }
        _ => bail!("no such victim"),
    }
}

/// Says what it takes, before it asks for the next.
fn take(address: &str) -> Result<()> {
    let mut receiver = mpmc::Receiver::<Note>::open(address, &config())?;
    loop {
        let note = receiver.recv()?;
        ensure!(note == [note[0]; 25], "torn");
        std::io::stdout().write_all(&note[0].to_le_bytes())?;
        std::io::stdout().flush()?;
    }
}

/// Kills it after a while.
fn kill(mut other: Other, dice: &mut Dice) -> JoinHandle<std::io::Result<()>> {
    let pause = dice.pause();
    std::thread::spawn(move || {
        std::thread::sleep(pause);
        other.0.kill()
    })
}

/// Kills one after the other, each after something was heard of it: whether that was whole, until
/// its death is.
fn outlive(
    (job, address): (&str, &str),
    count: usize,
    mut hear: impl FnMut(u64) -> Result<bool, Error>,
) -> Result<usize> {
    let (mut dice, mut recovered) = (Dice(7), 0);
    for _ in 0..count {
        let other = Other::start(&["other", "victim", job, address])?;
        let pid = other.0.id();
        let mut whole = hear(0)?;
        let killer = kill(other, &mut dice);
        let mut number = 0;
        let said = loop {
            number += 1;
            match hear(number) {
                Ok(good) => whole &= good,
                Err(error) => break error,
            }
        };
        killer.join().ok().context("it only sleeps and kills")??;
        recovered += usize::from(whole && said == Error::PeerDied { pid });
    }
    Ok(recovered)
}

fn many_to_one(address: &str, count: usize) -> Result<usize> {
    let mut receiver = mpsc::Receiver::<Note>::open(address, &config())?;
    outlive(("mpsc", address), count, |number| Ok(receiver.recv()? == [number; 25]))
}

fn broadcasts(address: &str, count: usize) -> Result<usize> {
    let mut receiver = cast::Receiver::open(address, Lag::Block, &config())?;
    let mut next = 0;
    outlive(("cast", address), count, |number| {
        let string = loop {
            match receiver.recv() {
                // It came while the sender went around its ring.
                Err(Error::Lagged(_)) if number == 0 => {}
                string => break string?,
            }
        };
        let (words, []) = string.as_chunks::<8>() else { return Ok(false) };
        let first = words.first().map_or(u64::MAX, |word| u64::from_le_bytes(*word));
        // It hears what is sent after it came.
        let due = if number == 0 { first } else { next };
        next = first.wrapping_add(1);
        let whole = words.iter().all(|word| u64::from_le_bytes(*word) == first);
        Ok(whole && first == due && words.len() as u64 == 1 + first % 9)
    })
}

fn notifiers(address: &str, count: usize) -> Result<usize> {
    let mut listener = event::Listener::open(address, &config())?;
    outlive(("notify", address), count, |_| Ok(listener.wait()?.ids() != 0))
}

/// Each call is answered, or said to be lost with its server, or answered by the next.
fn servers(address: &str, count: usize) -> Result<usize> {
    let mut client = request::Client::<u64, Note>::open(address, &config())?;
    let start = || Other::start(&["other", "victim", "serve", address]);
    let (mut dice, mut recovered, mut number) = (Dice(9), 0, 0);
    let mut dead = None;
    for _ in 0..count {
        let server = start()?;
        let pid = server.0.id();
        let mut whole = true;
        // What the one before had taken is said to be lost now, if it was not yet.
        let reply = loop {
            match client.call(number) {
                Err(Error::PeerDied { pid }) if Some(pid) == dead => {}
                reply => break reply?,
            }
        };
        whole &= reply == [number + 1; 25];
        let killer = kill(server, &mut dice);
        while !killer.is_finished() {
            number += 1;
            match client.call_timeout(number, CALL) {
                Ok(reply) => whole &= reply == [number + 1; 25],
                // Nobody had taken it.
                Err(Error::TimedOut) => {}
                Err(error) => whole &= error == Error::PeerDied { pid },
            }
        }
        killer.join().ok().context("it only sleeps and kills")??;
        dead = Some(pid);
        recovered += usize::from(whole);
    }
    Ok(recovered)
}

/// A receiver that takes, and what it says of that until it is killed.
fn taker(address: &str) -> Result<(Other, JoinHandle<std::io::Result<Vec<u8>>>)> {
    let mut other = Other::heard(&["other", "victim", "mpmc", address])?;
    let mut output = other.0.stdout.take().context("a pipe")?;
    let said = std::thread::spawn(move || {
        let mut text = Vec::new();
        output.read_to_end(&mut text).map(|_| text)
    });
    Ok((other, said))
}

/// Nothing comes twice, and no more is missing than was counted.
fn many_to_many(address: &str, count: usize) -> Result<usize> {
    let mut sender = mpmc::Sender::<Note>::open(address, &config())?;
    let (mut dice, mut recovered, mut sent, mut heard) = (Dice(11), 0, 0, HashSet::new());
    let (mut other, mut said) = taker(address)?;
    for _ in 0..count {
        while sender.receivers() == 0 {
            std::thread::yield_now();
        }
        let (pid, next) = (other.0.id(), taker(address)?);
        let killer = kill(other, &mut dice);
        let error = loop {
            match sender.send([sent; 25]) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        killer.join().ok().context("it only sleeps and kills")??;
        let words = said.join().ok().context("it only reads")??;
        let once = words.as_chunks::<8>().0.iter().all(|word| heard.insert(*word));
        recovered += usize::from(once && error == Error::PeerDied { pid });
        (other, said) = next;
    }
    // The last one takes the rest.
    while sender.unread() > 0 {
        std::thread::yield_now();
    }
    let pid = other.0.id();
    other.0.kill()?;
    while sender.send([sent; 25]) != Err(Error::PeerDied { pid }) {
        sent += 1;
    }
    sent -= sender.unread();
    let words = said.join().ok().context("it only reads")??;
    ensure!(words.as_chunks::<8>().0.iter().all(|word| heard.insert(*word)), "twice");
    let missing = sent - heard.len() as u64;
    ensure!(missing <= sender.lost(), "{missing} are missing, {} were counted", sender.lost());
    Ok(recovered)
}
