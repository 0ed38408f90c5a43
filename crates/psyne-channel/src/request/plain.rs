//! Requests and replies whose types the compiler does not know: for other languages. The other
//! ends may have the [types](super::Client) with the same layouts.

use core::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::{is_there, terms_of};
use crate::calls::Asked;
use crate::desk::Terms;
use crate::plain::{Room, check, fits};
use crate::raw::{load_bytes, store_bytes};
use crate::{Config, Error, Layout, Stats};

pub use super::Call;

fn terms(asks: &Layout, answers: &Layout) -> Result<Terms, Error> {
    check(asks)?;
    check(answers)?;
    Ok(terms_of(*asks, *answers))
}

/// The end that asks. Dropped, its calls are forgotten.
#[derive(Debug)]
pub struct Client {
    /// Of no types: how messages are written is said for each.
    client: super::Client<(), ()>,
    asks: usize,
    reply: Room,
}

impl Client {
    /// A client of the server at an address, as [`request::Client::open`](super::Client::open),
    /// with the layouts of requests and replies.
    ///
    /// # Errors
    /// `Address`, `Config`, `Memory`, `System`; if a server is there: `Crowded`, `LayoutMismatch`,
    /// `PatternMismatch`.
    pub fn open(
        address: &str,
        (asks, answers): (&Layout, &Layout),
        config: &Config,
    ) -> Result<Self, Error> {
        let client = super::Client::open_on(address, terms(asks, answers)?, config)?;
        Ok(Self { client, asks: asks.size, reply: Room::of(answers.size) })
    }

    /// Asks and waits for the reply, as long as it takes or for `time`. A call that took too long
    /// is given up: its reply goes nowhere.
    ///
    /// # Errors
    /// `TooLong` unless the request has its layout's size; `TimedOut`; `Refused` if the server let
    /// the request go, `Closed` if it is gone, `PeerDied` if its process died; `Corrupt`.
    pub fn call(&mut self, request: &[u8], time: Option<Duration>) -> Result<&[u8], Error> {
        fits(request, self.asks)?;
        let asked = self.client.ask_by(|words| store_bytes(words, request))?;
        self.client.wait(asked, time)?;
        Ok(self.reply(asked))
    }

    /// Asks and does not wait: more calls can begin meanwhile, `Config::calls_max` at a time.
    ///
    /// # Errors
    /// `TooLong` unless the request has its layout's size; `Full`, `Closed`.
    pub fn begin(&mut self, request: &[u8]) -> Result<Call, Error> {
        fits(request, self.asks)?;
        let asked = self.client.ask_by(|words| store_bytes(words, request))?;
        Ok(Call { asked, dropped: self.client.dropped.clone() })
    }

    /// Waits for the reply of a call, as long as it takes or for `time`. One that takes longer goes
    /// on and is handed back.
    ///
    /// # Errors
    /// Those of [`call`](Self::call), but for `TimedOut`: then the call is over. Panics if another
    /// client began it.
    pub fn finish(
        &mut self,
        call: Call,
        time: Option<Duration>,
    ) -> Result<Result<&[u8], Call>, Error> {
        let limit = time.map(|time| Instant::now() + time);
        let (client, asked) = (&mut self.client, call.asked);
        match client.signal.block(&mut client.calls, limit, |calls| calls.outcome(asked)) {
            Err(Error::TimedOut) => Ok(Err(call)),
            // Dropping the call gives it up.
            Err(error) => Err(error),
            Ok(outcome) => {
                let asked = client.take(call);
                client.end(asked, outcome)?;
                Ok(Ok(self.reply(asked)))
            }
        }
    }

    /// The reply of a call that ended just now: its slot is free, and stays as it is until this
    /// client asks again.
    fn reply(&mut self, asked: Asked) -> &[u8] {
        load_bytes(self.client.calls.message(asked), &mut self.reply);
        &self.reply
    }

    /// What was done so far: slots are calls.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.client.stats()
    }
}

/// The end that answers, one request after the other.
#[derive(Debug)]
pub struct Server {
    server: super::Server<(), ()>,
    answers: usize,
    request: Room,
    /// Whether a request waits for its reply.
    asked: bool,
}

impl Server {
    /// The server at an address, as [`request::Server::open`](super::Server::open), with the
    /// layouts of requests and replies.
    ///
    /// # Errors
    /// `Crowded` if there is one; `Address`, `Config`, `Memory`, `System`.
    pub fn open(
        address: &str,
        (asks, answers): (&Layout, &Layout),
        config: &Config,
    ) -> Result<Self, Error> {
        let server = super::Server::open_on(address, terms(asks, answers)?, config)?;
        let request = Room::of(asks.size);
        Ok(Self { server, answers: answers.size, request, asked: false })
    }

    /// Waits for the next request, as long as it takes or for `time`. The one before is refused if
    /// it has no reply yet.
    ///
    /// # Errors
    /// `TimedOut`, `Corrupt`; `PeerDied`, once for each client whose process died; `Closed`, once
    /// each time that the last client has finished: who goes on waits for others.
    pub fn next(&mut self, time: Option<Duration>) -> Result<&[u8], Error> {
        self.refuse();
        let limit = time.map(|time| Instant::now() + time);
        let super::Server { lanes, signal, served, .. } = &mut self.server;
        if !lanes.find()? {
            signal.block(lanes, limit, is_there)?;
        }
        *served += 1;
        load_bytes(lanes.current_mut().message(), &mut self.request);
        self.asked = true;
        Ok(&self.request)
    }

    /// Ready when [`next`](Self::next) is worth it; else the task is woken then.
    ///
    /// # Errors
    /// `Closed`, `PeerDied`, `Corrupt`.
    pub fn poll_ready(&mut self, context: &Context<'_>) -> Poll<Result<(), Error>> {
        self.server.signal.poll(&mut self.server.lanes, context, is_there)
    }

    /// Answers the request that came last. Whether its client still waits is that one's affair.
    ///
    /// # Errors
    /// `TooLong` unless the reply has its layout's size; `Config` if there is no request.
    pub fn reply(&mut self, reply: &[u8]) -> Result<(), Error> {
        fits(reply, self.answers)?;
        if !std::mem::take(&mut self.asked) {
            return Err(Error::Config("there is a reply for each request"));
        }
        self.server.lanes.current_mut().answer_by(|words| store_bytes(words, reply));
        Ok(())
    }

    /// Lets the request that came last go without a reply: its client hears `Refused`.
    pub fn refuse(&mut self) {
        if std::mem::take(&mut self.asked) {
            self.server.lanes.current_mut().refuse();
        }
    }

    /// What was done so far: slots are requests.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.server.stats()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.refuse();
    }
}

#[cfg(all(test, not(any(loom, miri))))]
mod tests {
    use super::*;
    use crate::{Message, request};

    #[test]
    fn typed_ends_understand_untyped_ones() {
        let config = Config::default();
        let address = format!("memory://request-plain-{}", std::process::id());
        let layouts = (&<[u32; 2]>::LAYOUT, &u32::LAYOUT);
        let mut server = Server::open(&address, layouts, &config).unwrap();
        let asks = address.clone();
        let typed = std::thread::spawn(move || {
            let config = Config::default();
            let mut client = request::Client::<[u32; 2], u32>::open(&asks, &config).unwrap();
            [client.call([6, 7]), client.call([1, 2])]
        });
        assert_eq!(server.next(None).unwrap(), [6, 0, 0, 0, 7, 0, 0, 0]);
        assert_eq!(server.reply(&[1]).unwrap_err().code(), "too_long");
        server.reply(&42_u32.to_ne_bytes()).unwrap();
        assert_eq!(server.reply(&[0; 4]).unwrap_err().code(), "config");
        assert_eq!(server.next(None).unwrap()[0], 1);
        server.refuse();
        assert_eq!(typed.join().unwrap(), [Ok(42), Err(Error::Refused)]);
        assert_eq!(server.stats().slots, 2);
    }

    #[test]
    fn calls_end_in_any_order() {
        let config = Config { calls_max: 2, ..Config::default() };
        let address = format!("memory://request-calls-{}", std::process::id());
        let layouts = (&u8::LAYOUT, &u8::LAYOUT);
        let mut server = Server::open(&address, layouts, &config).unwrap();
        let mut client = Client::open(&address, layouts, &config).unwrap();
        let [first, second] = [[1], [2]].map(|request| client.begin(&request).unwrap());
        assert_eq!(client.begin(&[3]).unwrap_err(), Error::Full);
        assert_eq!(client.begin(&[3; 2]).unwrap_err().code(), "too_long");
        let first = client.finish(first, Some(Duration::ZERO)).unwrap().unwrap_err();
        for _ in 0..2 {
            let reply = server.next(None).unwrap()[0] * 10;
            server.reply(&[reply]).unwrap();
        }
        assert_eq!(client.finish(second, None).unwrap().unwrap(), [20]);
        assert_eq!(client.finish(first, None).unwrap().unwrap(), [10]);
        let refused = client.begin(&[4]).unwrap();
        assert_eq!(server.next(None).unwrap(), [4]);
        server.refuse();
        assert_eq!(client.finish(refused, None).unwrap_err(), Error::Refused);
        drop(client.begin(&[5]).unwrap());
        drop(server);
        assert_eq!(client.begin(&[6]).unwrap_err().code(), "closed");
    }

    #[test]
    fn untyped_ends_understand_typed_ones() {
        let config = Config::default();
        let address = format!("memory://request-typed-{}", std::process::id());
        let mut server = request::Server::<[u32; 2], u32>::open(&address, &config).unwrap();
        let serves = std::thread::spawn(move || server.serve(|[a, b]| a * b));
        let layouts = (&<[u32; 2]>::LAYOUT, &u32::LAYOUT);
        let mut client = Client::open(&address, layouts, &config).unwrap();
        for number in 1..100_u8 {
            let reply = client.call(&[number, 0, 0, 0, 2, 0, 0, 0], None).unwrap();
            assert_eq!(reply, [2 * number, 0, 0, 0]);
        }
        assert_eq!(client.call(&[0; 3], None).unwrap_err().code(), "too_long");
        assert_eq!(client.stats().slots, 99);
        drop(client);
        assert_eq!(serves.join().unwrap(), Ok(()));
    }
}
