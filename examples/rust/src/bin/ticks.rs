//! A queue of structs between two processes, by the simple door: send and receive.
//!
//!     ticks recv ipc://ticks             # one terminal
//!     ticks send ipc://ticks 1000000     # another

use std::time::Duration;

use anyhow::{Result, bail};
use psyne::Message;
use psyne::channel::{Config, Error, spsc};

/// The same in every language: its name and fields are checked when the two sides meet.
#[derive(Clone, Copy, Message)]
#[repr(C)]
struct Tick {
    instrument: u64,
    price: f64,
}

fn main() -> Result<()> {
    match examples::words()[..] {
        ["recv", address] => recv(address),
        ["send", address, count] => send(address, count.parse()?),
        _ => examples::help(include_str!("ticks.rs")),
    }
}

fn recv(address: &str) -> Result<()> {
    let mut ticks = spsc::Receiver::<Tick>::open(address, &Config::default())?;
    let (mut count, mut sum) = (0_u64, 0.0);
    loop {
        match ticks.recv() {
            Ok(tick) if tick.instrument == count => sum += tick.price,
            Ok(tick) => bail!("tick {} came in the place of {count}", tick.instrument),
            Err(Error::Closed(_)) => break,
            Err(error) => return Err(error.into()),
        }
        count += 1;
    }
    println!("received {count} ticks, sum {sum:.1}");
    Ok(())
}

fn send(address: &str, count: u64) -> Result<()> {
    let mut ticks = spsc::Sender::<Tick>::open(address, &Config::default())?;
    for instrument in 0..count {
        ticks.send(Tick { instrument, price: instrument as f64 / 2.0 })?;
    }
    // Messages lie in this process's ring: wait until all of them were read.
    while ticks.unread()? > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("sent {count} ticks");
    Ok(())
}
