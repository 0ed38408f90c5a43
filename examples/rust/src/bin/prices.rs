//! A broadcast from one process to several, each at its own pace: one that keeps up, which the
//! sender waits for, and one that naps and is told how much it missed.
//!
//!     prices recv ipc://prices               # one terminal: reads everything
//!     prices nap ipc://prices                # another: reads once you press Enter
//!     prices send ipc://prices 100000 2      # a third: to these 2 receivers

use std::time::Duration;

use anyhow::Result;
use psyne::Message;
use psyne::channel::broadcast::{Lag, Receiver, Sender};
use psyne::channel::{Config, Error};

/// The same in every language: its name and fields are checked when the two sides meet.
#[derive(Clone, Copy, Message)]
#[repr(C)]
struct Price {
    instrument: u64,
    price: f64,
}

/// A ring of 128, the next power of two that leaves an eighth more; who naps finds the last 112.
const SLOTS: usize = 100;

fn main() -> Result<()> {
    match examples::words()[..] {
        ["recv", address] => recv(open(address, Lag::Block)?),
        ["nap", address] => nap(open(address, Lag::Skip)?),
        ["send", address, count, readers] => send(address, count.parse()?, readers.parse()?),
        _ => examples::help(include_str!("prices.rs")),
    }
}

fn open(address: &str, lag: Lag) -> Result<Receiver<Price>, Error> {
    Receiver::open(address, lag, &Config::default())
}

fn nap(prices: Receiver<Price>) -> Result<()> {
    println!("napping until you press Enter");
    std::io::stdin().read_line(&mut String::new())?;
    recv(prices)
}

fn recv(mut prices: Receiver<Price>) -> Result<()> {
    let (mut received, mut missed, mut sum) = (0_u64, 0, 0.0);
    loop {
        match prices.recv() {
            Ok(price) => sum += price.price,
            Err(Error::Lagged(count)) => {
                missed += count;
                continue;
            }
            Err(Error::Closed(_)) => break,
            Err(error) => return Err(error.into()),
        }
        received += 1;
    }
    println!("received {received} prices, missed {missed}, sum {sum:.1}");
    Ok(())
}

fn send(address: &str, count: u64, readers: usize) -> Result<()> {
    let mut prices = Sender::open(address, &Config { slots: SLOTS, ..Config::default() })?;
    // Who comes later hears only what is sent from then on.
    while prices.receivers() < readers {
        std::thread::sleep(Duration::from_millis(1));
    }
    for instrument in 0..count {
        prices.send(Price { instrument, price: instrument as f64 / 2.0 })?;
    }
    println!("sent {count} prices");
    Ok(())
}
