//! kill -9 in a loop: senders and receivers in turn, at random instants.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use psyne::channel::{Config, Error, spsc};

use crate::kill_more;
use crate::processes::Other;

/// Longer than any thread takes to come round.
const PATIENCE: Duration = Duration::from_secs(10);

/// A number and what shows that nothing else was mixed into it.
type Note = [u64; 25];

pub(crate) fn config() -> Config {
    Config { slots: 56, ..Config::default() }
}

/// What a process does until it is killed: `send ADDRESS` or `receive ADDRESS`.
pub(crate) fn victim(job: &[&str]) -> Result<()> {
    match *job {
        ["send", address] => {
            let mut sender = spsc::Sender::<Note>::open(address, &config())?;
            for number in 0.. {
                sender.send([number; 25])?;
                *sender.loan()? = [u64::MAX; 25];
            }
            Ok(())
        }
        ["receive", address] => {
            let mut receiver = spsc::Receiver::<Note>::open(address, &config())?;
            loop {
                let note = receiver.recv_ref()?;
                ensure!(*note == [note[0]; 25], "torn");
                std::io::stdout().write_all(&note[0].to_le_bytes())?;
                std::io::stdout().flush()?;
            }
        }
        [job, address] => kill_more::victim(job, address),
        _ => bail!("no such victim"),
    }
}

/// Files and mappings of this process, names of ours, and what lies in /dev/shm.
fn held() -> Result<(usize, usize, usize, usize)> {
    let files = std::fs::read_dir("/proc/self/fd")?.count();
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let maps = maps.lines().filter(|line| line.contains("memfd:psyne")).count();
    let own = format!("/bench/kill/{}", std::process::id());
    let names = std::fs::read_to_string("/proc/net/unix")?;
    let names = names.lines().filter(|line| line.contains(&own)).count();
    Ok((files, maps, names, std::fs::read_dir("/dev/shm")?.count()))
}

/// Pauses at random.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn pause(&mut self) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_micros(self.0 % 3_000)
    }
}

/// How many of so many killed processes of each kind were recovered from, if nothing stayed.
pub(crate) fn turns(count: usize) -> Result<Vec<(&'static str, usize)>> {
    // The thread that keeps the names stays, with its files.
    let one = format!("ipc://bench/kill/{}/first", std::process::id());
    drop(spsc::Receiver::<Note>::open(&one, &config())?);
    let before = held()?;
    let mut recovered =
        vec![("senders and receivers", senders(count / 2)? + receivers(count / 2)?)];
    for case in &kill_more::CASES {
        recovered.push((case.name, case.turns(count)?));
    }
    // That thread hears of the last death a moment later than its end may.
    let deadline = Instant::now() + PATIENCE;
    while held()? != before && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    let after = held()?;
    ensure!(after == before, "something stayed: {before:?} before, {after:?} after");
    Ok(recovered)
}

fn senders(count: usize) -> Result<usize> {
    let address = format!("ipc://bench/kill/{}", std::process::id());
    let mut receiver = spsc::Receiver::<Note>::open(&address, &config())?;
    let mut dice = Dice(7);
    let mut recovered = 0;
    for _ in 0..count {
        let mut other = Other::start(&["other", "victim", "send", &address])?;
        let pid = other.0.id();
        let mut whole = receiver.recv()? == [0; 25];
        let pause = dice.pause();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(pause);
            other.0.kill()
        });
        let mut number = 0;
        let error = loop {
            number += 1;
            match receiver.recv() {
                Ok(note) => whole &= note == [number; 25],
                Err(error) => break error,
            }
        };
        killer.join().ok().context("it only sleeps and kills")??;
        recovered += usize::from(whole && error == Error::PeerDied { pid });
    }
    Ok(recovered)
}

fn receivers(count: usize) -> Result<usize> {
    let address = format!("ipc://bench/kill/{}/back", std::process::id());
    let mut sender = spsc::Sender::<Note>::open(&address, &config())?;
    let mut dice = Dice(11);
    let (mut recovered, mut expected, mut sent) = (0, 0, 0);
    for _ in 0..count {
        let mut other = Other::heard(&["other", "victim", "receive", &address])?;
        let pid = other.0.id();
        let mut output = other.0.stdout.take().context("a pipe")?;
        // The first that it received: once more, or the next.
        let first = feed(&mut sender, &mut sent, &mut output)?;
        let mut whole = first == expected || first + 1 == expected;
        expected = first + 1;
        let pause = dice.pause();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(pause);
            let killed = other.0.kill();
            let mut rest = Vec::new();
            output.read_to_end(&mut rest).and(killed).map(|()| rest)
        });
        let error = loop {
            match sender.send([sent; 25]) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        let rest = killer.join().ok().context("it only sleeps and kills")??;
        for word in rest.as_chunks::<8>().0 {
            whole &= u64::from_le_bytes(*word) == expected;
            expected += 1;
        }
        recovered += usize::from(whole && error == Error::PeerDied { pid });
    }
    Ok(recovered)
}

/// Sends until the new receiver says what it received first.
fn feed(sender: &mut spsc::Sender<Note>, sent: &mut u64, output: &mut impl Read) -> Result<u64> {
    if sender.unread()? == 0 {
        sender.send([*sent; 25])?;
        *sent += 1;
    }
    let mut word = [0; 8];
    output.read_exact(&mut word)?;
    Ok(u64::from_le_bytes(word))
}
