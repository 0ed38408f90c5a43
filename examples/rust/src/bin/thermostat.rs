//! A latest value between processes: a setting whose newest state everybody sees. The writer never
//! waits; a reader sees the newest temperature, and may miss those before.
//!
//!     thermostat watch ipc://thermostat      # one terminal
//!     thermostat set ipc://thermostat        # another: type a temperature a line, end by Ctrl-D

use anyhow::Result;
use psyne::Message;
use psyne::channel::latest::{Reader, Writer};
use psyne::channel::{Config, Error};

/// The same in every language: its name and fields are checked when the two sides meet.
#[derive(Clone, Copy, Message)]
#[repr(C)]
struct Target {
    celsius: f64,
}

fn main() -> Result<()> {
    match examples::words()[..] {
        ["watch", address] => watch(address),
        ["set", address] => set(address),
        _ => examples::help(include_str!("thermostat.rs")),
    }
}

fn watch(address: &str) -> Result<()> {
    let mut target = Reader::<Target>::open(address, &Config::default())?;
    loop {
        match target.changed() {
            Ok(Target { celsius }) => println!("heating to {celsius:.1}"),
            Err(Error::PeerDied { pid }) => println!("process {pid} died: waiting for another"),
            Err(Error::Closed(_)) => break,
            Err(error) => return Err(error.into()),
        }
    }
    // Not only its changes: the newest value can be looked at whenever it is needed.
    if let Some(Target { celsius }) = target.get() {
        println!("stays at {celsius:.1}");
    }
    Ok(())
}

fn set(address: &str) -> Result<()> {
    let mut target = Writer::open(address, &Config::default())?;
    for line in std::io::stdin().lines() {
        target.set(Target { celsius: line?.trim().parse()? });
    }
    Ok(())
}
