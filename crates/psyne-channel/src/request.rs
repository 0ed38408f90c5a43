//! Requests and replies: many clients, one server, and for each call one line that goes there and
//! back.
//!
//! A slot is a state and the words of the request, which the reply overwrites where it lies, so
//! that an exchange takes two crossings between the cores where two queues take four. Both sides
//! write a client's slots, each only when the state says that they are its own:
//!
//! ```text
//!          client              server                server              client
//!   idle ──request──► asked ──takes it──► taken ──reply──► answered ──reads it──► idle
//!     ▲                 │                   └──let go──► refused ─────────────────► idle
//!     └──took it back───┘
//! ```
//!
//! Each call of a slot has a number in its state, so that a reply is only taken by the call that
//! asked. A client that gives up on a call that was taken leaves the slot alone until it is
//! answered.

use core::future::poll_fn;
use core::marker::PhantomData;
use core::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64 as Plain, Ordering as Order};
use std::time::{Duration, Instant};

use crate::calls::{Asked, Calls, Hatch, Outcome, stride};
use crate::desk::{Pattern, Terms};
use crate::ends::Stats;
use crate::ipc::{Host, Member};
use crate::lanes::{Door, Lanes, Mail, lanes_max};
use crate::raw::{Format, load, store};
use crate::sync::AtomicU64;
use crate::wait::{Signal, Sleeper};
use crate::{Config, Error, Layout, Message};

pub mod plain;

/// The first client and its server.
pub type Ends<Q, A> = (Client<Q, A>, Server<Q, A>);

/// Opens a server between threads of this process, with its first client.
///
/// # Errors
/// `Config` or `Memory`.
pub fn channel<Q: Message, A: Message>(config: &Config) -> Result<Ends<Q, A>, Error> {
    let mut signal = Signal::new(config.wait);
    let (lanes, mail) = Lanes::open(config, &mut signal)?;
    let client = Client::join(config, &mail)?;
    Ok((client, Server { lanes, signal, served: 0, _type: PhantomData }))
}

/// What a name must mean the same by at both ends.
pub(crate) const fn terms<Q: Message, A: Message>() -> Terms {
    terms_of(Q::LAYOUT, A::LAYOUT)
}

const fn terms_of(asks: Layout, answers: Layout) -> Terms {
    let size = if asks.size > answers.size { asks.size } else { answers.size };
    let align = if asks.align > answers.align { asks.align } else { answers.align };
    let hash = asks.hash.rotate_left(1) ^ answers.hash;
    let layout = Layout { hash, size, align };
    Terms { pattern: Pattern::Request, layout, stride: stride(size) }
}

/// The end that asks. Dropped, its calls are forgotten; the server ends when all clients are gone.
#[derive(Debug)]
pub struct Client<Q: Message, A: Message> {
    calls: Calls,
    signal: Signal,
    to: To,
    config: Config,
    asked: u64,
    /// Slots whose [`Call`] was dropped.
    dropped: Arc<Plain>,
    _type: PhantomData<fn(Q) -> A>,
}

/// Where the server is.
#[derive(Debug)]
enum To {
    /// In this process: new clients introduce themselves by mail.
    Here(Arc<Mail<Hatch>>),
    /// At an address, which keeps us.
    There { address: String, _member: Member },
}

/// A call that is under way. Dropped, its reply is not wanted any more.
#[derive(Debug)]
#[must_use = "the reply comes by Client::finish"]
pub struct Call {
    asked: Asked,
    dropped: Arc<Plain>,
}

impl Drop for Call {
    fn drop(&mut self) {
        self.dropped.fetch_or(self.asked.bit(), Order::Relaxed);
    }
}

impl<Q: Message, A: Message> Client<Q, A> {
    fn join(config: &Config, mail: &Arc<Mail<Hatch>>) -> Result<Self, Error> {
        mail.reserve()?;
        let bytes = size_of::<Q>().max(size_of::<A>());
        let opened = Calls::open(config, bytes, mail.link());
        let (calls, signal, hatch) = opened.inspect_err(|_| mail.forgo())?;
        mail.post(hatch);
        Ok(Self::over(calls, signal, To::Here(mail.clone()), config))
    }

    fn over(calls: Calls, signal: Signal, to: To, config: &Config) -> Self {
        let (config, dropped) = (config.clone(), Arc::default());
        Self { calls, signal, to, config, asked: 0, dropped, _type: PhantomData }
    }

    /// A client of the server at `ipc://name`, for processes of this user, or at `memory://name`,
    /// within this process: one of `senders_max`, of the server's configuration. The server may
    /// come later, and another may take its place: it answers what was not taken by the one
    /// before. A call that a server had taken when it died ends with `PeerDied`, and so does the
    /// first that waits after that.
    ///
    /// # Errors
    /// `Address`, `Config`, `Memory`, `System`; if a server is there: `Crowded`, `LayoutMismatch`,
    /// `PatternMismatch`.
    pub fn open(address: &str, config: &Config) -> Result<Self, Error> {
        Self::open_on(address, terms::<Q, A>(), config)
    }

    fn open_on(address: &str, terms: Terms, config: &Config) -> Result<Self, Error> {
        let (calls, signal, member) = Calls::named(address, config, terms)?;
        let to = To::There { address: address.into(), _member: member };
        Ok(Self::over(calls, signal, to, config))
    }

    /// Another client of the same server.
    ///
    /// # Errors
    /// `Crowded`: there are `Config::senders_max`. `Closed`, `Memory`, `System`.
    pub fn try_clone(&mut self) -> Result<Self, Error> {
        let mail = match &self.to {
            To::Here(mail) => mail,
            To::There { address, .. } => return Self::open(address, &self.config),
        };
        let client = Self::join(&self.config, mail)?;
        // A server that sleeps does not hear a client that it does not know.
        self.signal.rouse(&self.calls);
        Ok(client)
    }

    /// Asks and waits for the reply.
    ///
    /// # Errors
    /// `Refused` if the server let the request go, `Closed` if it is gone, `PeerDied` if its
    /// process died, `Full` if `Config::calls_max` calls are under way, `Corrupt`.
    #[inline]
    pub fn call(&mut self, request: Q) -> Result<A, Error> {
        let asked = self.ask(&request)?;
        self.wait(asked, None)
    }

    /// Asks and waits for the reply for so long. A call that took too long is given up: its reply
    /// goes nowhere.
    ///
    /// # Errors
    /// `TimedOut`, and those of [`call`](Self::call).
    pub fn call_timeout(&mut self, request: Q, time: Duration) -> Result<A, Error> {
        let asked = self.ask(&request)?;
        self.wait(asked, Some(time))
    }

    /// Asks and waits for the reply as a task.
    ///
    /// # Errors
    /// Those of [`call`](Self::call).
    pub async fn call_async(&mut self, request: Q) -> Result<A, Error> {
        let call = self.begin(request)?;
        self.finish_async(call).await
    }

    /// Asks and does not wait: more calls can begin meanwhile.
    ///
    /// # Errors
    /// `Full`, `Closed`.
    pub fn begin(&mut self, request: Q) -> Result<Call, Error> {
        let asked = self.ask(&request)?;
        Ok(Call { asked, dropped: self.dropped.clone() })
    }

    /// Waits for the reply of a call.
    ///
    /// # Errors
    /// Those of [`call`](Self::call). Panics if another client began it.
    pub fn finish(&mut self, call: Call) -> Result<A, Error> {
        let asked = self.take(call);
        self.wait(asked, None)
    }

    /// Waits for the reply of a call, as a task.
    ///
    /// # Errors
    /// Those of [`call`](Self::call). Panics if another client began it.
    pub async fn finish_async(&mut self, call: Call) -> Result<A, Error> {
        assert!(Arc::ptr_eq(&call.dropped, &self.dropped), "a client finishes its own calls");
        let asked = call.asked;
        // The call is dropped with this future, if that ends early.
        let outcome = poll_fn(|context| {
            self.signal.poll(&mut self.calls, context, |calls| calls.outcome(asked))
        });
        let outcome = outcome.await?;
        let asked = self.take(call);
        self.end(asked, outcome)
    }

    /// The reply of a call, if it is there: else the call goes on.
    ///
    /// # Errors
    /// Those of [`call`](Self::call). Panics if another client began it.
    pub fn try_finish(&mut self, call: Call) -> Result<Result<A, Call>, Error> {
        let outcome = self.calls.outcome(call.asked)?;
        match outcome {
            Some(outcome) => {
                let asked = self.take(call);
                self.end(asked, outcome).map(Ok)
            }
            None => {
                if self.calls.is_alone() {
                    self.signal.succeed(&mut self.calls)?;
                }
                Ok(Err(call))
            }
        }
    }

    /// What was done so far: slots are calls.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (waits, sleeps) = self.signal.counts();
        Stats { slots: self.asked, refused: 0, waits, sleeps }
    }

    #[inline]
    fn ask(&mut self, request: &Q) -> Result<Asked, Error> {
        self.ask_by(|words| store(words, request))
    }

    #[inline]
    fn ask_by(&mut self, write: impl FnOnce(&[AtomicU64])) -> Result<Asked, Error> {
        if self.dropped.load(Order::Relaxed) != 0 {
            self.calls.give_up_these(self.dropped.swap(0, Order::Relaxed));
        }
        let asked = self.calls.ask(write)?;
        self.asked += 1;
        let told = self.signal.hand_over(&mut self.calls);
        told.inspect_err(|_| self.calls.give_up(asked))?;
        Ok(asked)
    }

    #[inline]
    fn wait(&mut self, asked: Asked, time: Option<Duration>) -> Result<A, Error> {
        if self.signal.glance(&mut self.calls, |calls| calls.is_answered(asked)) {
            return Ok(self.calls.read(asked));
        }
        self.wait_on(asked, time)
    }

    #[inline(never)]
    fn wait_on(&mut self, asked: Asked, time: Option<Duration>) -> Result<A, Error> {
        let limit = time.map(|time| Instant::now() + time);
        let outcome = self.signal.block(&mut self.calls, limit, |calls| calls.outcome(asked));
        match outcome {
            Ok(outcome) => self.end(asked, outcome),
            Err(error) => {
                self.calls.give_up(asked);
                Err(error)
            }
        }
    }

    #[inline]
    fn end(&mut self, asked: Asked, outcome: Outcome) -> Result<A, Error> {
        match outcome {
            Outcome::Answered => Ok(self.calls.read(asked)),
            Outcome::Refused => {
                self.calls.free(asked);
                Err(Error::Refused)
            }
            Outcome::Lost => {
                self.calls.free(asked);
                if self.calls.is_alone() {
                    self.signal.mourned();
                }
                Err(Error::PeerDied { pid: self.calls.who_died() })
            }
        }
    }

    fn take(&self, call: Call) -> Asked {
        assert!(Arc::ptr_eq(&call.dropped, &self.dropped), "a client finishes its own calls");
        let asked = call.asked;
        drop(call);
        // Dropping it said that nobody waits: here somebody does.
        self.dropped.fetch_and(!asked.bit(), Order::Relaxed);
        asked
    }
}

impl<Q: Message, A: Message> Drop for Client<Q, A> {
    fn drop(&mut self) {
        self.signal.close(&self.calls);
    }
}

/// The end that answers.
#[derive(Debug)]
pub struct Server<Q: Message, A: Message> {
    lanes: Lanes<Hatch>,
    signal: Signal,
    served: u64,
    _type: PhantomData<fn(Q) -> A>,
}

impl<Q: Message, A: Message> Server<Q, A> {
    /// The server at an address, for at most `config.senders_max` clients, which come by
    /// [`Client::open`] at any time, before it or after.
    ///
    /// # Errors
    /// `Crowded` if there is one; `Address`, `Config`, `Memory`, `System`.
    pub fn open(address: &str, config: &Config) -> Result<Self, Error> {
        Self::open_on(address, terms::<Q, A>(), config)
    }

    fn open_on(address: &str, terms: Terms, config: &Config) -> Result<Self, Error> {
        let (mut signal, lanes_max) = (Signal::new(config.wait), lanes_max(config)?);
        let host = Host::gather(address, terms, config.senders_max, &signal)?;
        let enter = |arrival, _| Hatch::of(arrival);
        let door = Door { host, shape: (Format::Wide, terms.stride), enter };
        let lanes = Lanes::behind(door, lanes_max, &mut signal);
        Ok(Self { lanes, signal, served: 0, _type: PhantomData })
    }

    /// Answers requests until all clients are gone. That the process of one died is no reason to
    /// end.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn serve(&mut self, mut answer: impl FnMut(&Q) -> A) -> Result<(), Error> {
        loop {
            match self.next() {
                Ok(request) => {
                    let reply = answer(&request);
                    request.reply(reply);
                }
                Err(Error::Closed(_)) => return Ok(()),
                Err(Error::PeerDied { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for a request.
    ///
    /// # Errors
    /// `Closed` when all clients are gone; `Corrupt`. At an address also `PeerDied`, once for each
    /// client whose process died; there, `Closed` is said once each time that the last client has
    /// finished, and who goes on waits for others.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "a request borrows its server")]
    pub fn next(&mut self) -> Result<Request<'_, Q, A>, Error> {
        if !self.lanes.find()? && !self.signal.glance(&mut self.lanes, Lanes::is_here) {
            self.signal.block(&mut self.lanes, None, is_there)?;
        }
        Ok(self.request())
    }

    /// Waits for a request for so long.
    ///
    /// # Errors
    /// `TimedOut`, `Closed`, `Corrupt`.
    pub fn next_timeout(&mut self, time: Duration) -> Result<Request<'_, Q, A>, Error> {
        let limit = Some(Instant::now() + time);
        self.signal.block(&mut self.lanes, limit, is_there)?;
        Ok(self.request())
    }

    /// The next request, if one is there.
    ///
    /// # Errors
    /// `Closed`, `Corrupt`.
    pub fn try_next(&mut self) -> Result<Option<Request<'_, Q, A>>, Error> {
        if self.lanes.find()? {
            return Ok(Some(self.request()));
        }
        self.lanes.check().map(|()| None)
    }

    /// Waits for a request, as a task.
    ///
    /// # Errors
    /// `Closed`, `Corrupt`.
    pub async fn next_async(&mut self) -> Result<Request<'_, Q, A>, Error> {
        poll_fn(|context| self.signal.poll(&mut self.lanes, context, is_there)).await?;
        Ok(self.request())
    }

    /// What was done so far: slots are requests.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (waits, sleeps) = self.signal.counts();
        Stats { slots: self.served, refused: 0, waits, sleeps }
    }

    #[inline]
    fn request(&mut self) -> Request<'_, Q, A> {
        self.served += 1;
        let hatch = self.lanes.current_mut();
        let message = load(hatch.message());
        Request { hatch, message, _type: PhantomData }
    }
}

fn is_there(lanes: &mut Lanes<Hatch>) -> Result<Option<()>, Error> {
    Ok(lanes.find()?.then_some(()))
}

/// A request that waits for its reply. Dropped without one it is refused, which its client hears.
#[derive(Debug)]
pub struct Request<'a, Q: Message, A: Message> {
    hatch: &'a mut Hatch,
    message: Q,
    _type: PhantomData<fn() -> A>,
}

impl<Q: Message, A: Message> Request<'_, Q, A> {
    /// Answers it. Whether its client still waits is that one's affair.
    #[inline]
    pub fn reply(self, reply: A) {
        self.hatch.answer_by(|words| store(words, &reply));
    }
}

impl<Q: Message, A: Message> Deref for Request<'_, Q, A> {
    type Target = Q;

    #[inline]
    fn deref(&self) -> &Q {
        &self.message
    }
}

impl<Q: Message, A: Message> Drop for Request<'_, Q, A> {
    #[inline]
    fn drop(&mut self) {
        self.hatch.refuse();
    }
}
