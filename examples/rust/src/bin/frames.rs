//! Byte strings of 64 KiB between two processes, by the fast door: a frame is written where it is
//! read, and nothing is copied.
//!
//!     frames recv ipc://frames             # one terminal
//!     frames send ipc://frames 10000       # another

use std::time::Duration;

use anyhow::Result;
use psyne::channel::{Config, Error, bytes};

const FRAME_BYTES: usize = 64 << 10;
/// Lines of 64 bytes: 4 MiB.
const SLOTS: usize = 1 << 16;

fn main() -> Result<()> {
    match examples::words()[..] {
        ["recv", address] => recv(address),
        ["send", address, count] => send(address, count.parse()?),
        _ => examples::help(include_str!("frames.rs")),
    }
}

fn recv(address: &str) -> Result<()> {
    let mut frames = bytes::Receiver::open(address, &Config::default())?;
    let (mut count, mut sum) = (0_u64, 0_u64);
    loop {
        match frames.recv() {
            Ok(frame) => sum += frame.iter().map(|byte| u64::from(*byte)).sum::<u64>(),
            Err(Error::Closed(_)) => break,
            Err(error) => return Err(error.into()),
        }
        count += 1;
    }
    println!("received {count} frames, sum {sum}");
    Ok(())
}

fn send(address: &str, count: u64) -> Result<()> {
    let mut frames = bytes::Sender::open(address, &Config { slots: SLOTS, ..Config::default() })?;
    for number in 0..count {
        let mut frame = frames.loan(FRAME_BYTES)?;
        frame.fill(number as u8);
        frame.commit()?;
    }
    // Frames lie in this process's ring: wait until all of them were read.
    while frames.unread()? > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("sent {count} frames");
    Ok(())
}
