//! Requests and replies between processes: a calculator, and whoever asks it.
//!
//!     calculator serve ipc://calculator            # one terminal: until Ctrl-C
//!     calculator ask ipc://calculator 6 x 7        # another: + - x /

use anyhow::Result;
use psyne::Message;
use psyne::channel::request::{Client, Server};
use psyne::channel::{Config, Error};

/// The same in every language: their names and fields are checked when the two sides meet.
#[derive(Clone, Copy, Message)]
#[repr(C)]
struct Question {
    left: f64,
    right: f64,
    /// A letter: + - x /
    operation: u64,
}

#[derive(Clone, Copy, Message)]
#[repr(C)]
struct Answer {
    value: f64,
}

fn main() -> Result<()> {
    match examples::words()[..] {
        ["serve", address] => serve(address),
        ["ask", address, left, operation, right] => {
            let operation = u64::from(operation.bytes().next().unwrap_or_default());
            ask(address, Question { left: left.parse()?, right: right.parse()?, operation })
        }
        _ => examples::help(include_str!("calculator.rs")),
    }
}

fn serve(address: &str) -> Result<()> {
    let mut server = Server::<Question, Answer>::open(address, &Config::default())?;
    loop {
        let request = match server.next() {
            Ok(request) => request,
            // A client died, or the last one finished: others will come.
            Err(Error::PeerDied { .. } | Error::Closed(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        let Question { left, right, operation } = *request;
        let value = match operation as u8 {
            b'+' => left + right,
            b'-' => left - right,
            b'x' => left * right,
            b'/' => left / right,
            // Dropped without a reply, it is refused.
            _ => continue,
        };
        request.reply(Answer { value });
    }
}

fn ask(address: &str, question: Question) -> Result<()> {
    let mut client = Client::<Question, Answer>::open(address, &Config::default())?;
    match client.call(question) {
        Ok(Answer { value }) => println!("{value:.3}"),
        Err(Error::Refused) => println!("the calculator can't do that"),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
