//! A hub's other side: joins, comes back when the connection is lost, notices a hub that is gone. A
//! machine without I/O.

use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};

use psyne_rtc::Time;

use super::{FromHub, Ice, Join, Name, Refusal, Signal, ToHub, VERSION, Welcome};

/// What a member is told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Which group to join.
    pub group: Name,
    /// What to be called; the hub finds a name if there is none.
    pub peer: Option<Name>,
    /// A sealed [`super::Ticket`]; hubs without a secret want none.
    pub token: Option<String>,
    /// 16 characters or more, from the operating system's randomness: what takes our place back.
    pub instance: Name,
    /// How long to wait before trying again.
    pub backoff: Backoff,
    /// How long a connection and its welcome may take.
    pub connect: Duration,
    /// Signals that wait while there is no connection. A session's candidates are some dozens.
    pub held_max: usize,
    /// Members of a group that are believed: a hub that names more is at fault.
    pub members_max: usize,
}

/// Waits between attempts: doubling, capped, spread by a quarter to both sides so that a hub that
/// was restarted does not meet everybody at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Before the first.
    pub first: Duration,
    /// At most.
    pub max: Duration,
}

impl Config {
    /// For this group, with `instance` from the operating system's randomness.
    #[must_use]
    pub const fn new(group: Name, instance: Name) -> Self {
        let backoff = Backoff { first: Duration::from_millis(250), max: Duration::from_secs(10) };
        let connect = Duration::from_secs(10);
        let (peer, token, held_max, members_max) = (None, None, 256, 4_096);
        Self { group, peer, token, instance, backoff, connect, held_max, members_max }
    }
}

/// What a member wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// Connect to the hub: then [`Member::handle_connected`] or [`Member::handle_closed`].
    Connect,
    /// Send this text.
    Send(String),
    /// Close the connection, or stop trying, without a word about it.
    Disconnect,
    /// This happened.
    Event(Event),
    /// Nothing more until then, or until the next input.
    Wait(Option<Time>),
}

/// What happened to a member.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// We are in the group: the first time, and each time after [`Event::Down`].
    Up(Welcome),
    /// The hub is not reached at the moment. Sessions are none of its business and stay up.
    Down {
        /// Why: a [`Refusal::code`], or what the driver said.
        reason: String,
        /// How long until it is tried again.
        retry: Duration,
    },
    /// Somebody is in the group who was not.
    Joined(Name),
    /// Somebody is not in the group any more, by what the hub knows.
    Left {
        /// Who.
        peer: Name,
        /// Why: `left`, `closed`, a [`Refusal::code`], or `missed` while we were away.
        reason: String,
    },
    /// Somebody sent us something.
    Signal {
        /// Who.
        from: Name,
        /// Which session between us it is about.
        session: Name,
        /// What.
        signal: Signal,
    },
    /// The hub did not do something. [`Refusal::Crossed`]: drop the session, answer theirs.
    Refused {
        /// A [`Refusal::code`].
        code: String,
        /// For people.
        message: String,
        /// Whom it was for.
        to: Option<Name>,
        /// Which session it was about.
        session: Option<Name>,
    },
    /// Servers with fresh credentials.
    Renewed(Vec<Ice>),
    /// It is over, and trying again would not help. The last event.
    Ended {
        /// A [`Refusal::code`]; `left` if we wanted it.
        reason: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Until then.
    Resting(Time),
    /// Connecting, or waiting for the welcome, at most until then.
    Joining(Time),
    Up,
    Ended,
}

/// See the module.
#[derive(Debug)]
pub struct Member {
    config: Config,
    seed: u64,
    state: State,
    attempt: u32,
    welcomed: bool,
    /// What we were called; asked for again, so that others know us.
    peer: Option<Name>,
    others: BTreeSet<Name>,
    heard: Time,
    silence: Duration,
    held: VecDeque<ToHub>,
    outputs: VecDeque<Output>,
}

impl Member {
    /// A member that begins to connect at once. The seed spreads its attempts.
    #[must_use]
    pub fn new(config: Config, now: Time, seed: u64) -> Self {
        let state = State::Joining(now + config.connect);
        let peer = config.peer.clone();
        Self {
            config,
            seed,
            state,
            attempt: 0,
            welcomed: false,
            peer,
            others: BTreeSet::new(),
            heard: now,
            silence: Duration::MAX,
            held: VecDeque::new(),
            outputs: [Output::Connect].into(),
        }
    }

    /// The connection is there.
    pub fn handle_connected(&mut self, now: Time) {
        if !matches!(self.state, State::Joining(_)) {
            return;
        }
        self.heard = now;
        let Config { group, instance, token, .. } = self.config.clone();
        let peer = self.peer.clone();
        let join = Join { version: VERSION, group, peer, instance, token };
        self.outputs.push_back(Output::Send(ToHub::Join(join).write()));
    }

    /// The connection is gone, or could not be made. The reason is the close reason, or the
    /// driver's words.
    pub fn handle_closed(&mut self, now: Time, reason: &str) {
        match (self.state, Refusal::of(reason)) {
            (State::Ended | State::Resting(_), _) => {}
            (State::Joining(_) | State::Up, Some(refusal)) if self.is_final(refusal) => {
                self.end(reason);
            }
            (State::Joining(_) | State::Up, _) => self.rest(now, reason),
        }
    }

    /// The hub said something.
    pub fn handle_text(&mut self, now: Time, text: &str) {
        if !matches!(self.state, State::Joining(_) | State::Up) {
            return;
        }
        self.heard = now;
        match (FromHub::read(text), self.state) {
            (Ok(FromHub::Welcome(welcome)), State::Joining(_)) => self.welcome(now, welcome),
            (Ok(FromHub::Ping), _) => self.outputs.push_back(Output::Send(ToHub::Pong.write())),
            (Ok(FromHub::Refused { code, message, to, session }), _) => {
                self.event(Event::Refused { code, message, to, session });
            }
            (Ok(FromHub::Joined { peer }), State::Up) => self.joined(now, peer),
            (Ok(FromHub::Left { peer, reason }), State::Up) => {
                if self.others.remove(&peer) {
                    self.event(Event::Left { peer, reason });
                }
            }
            (Ok(FromHub::Signal { from, session, signal }), State::Up) => {
                self.event(Event::Signal { from, session, signal });
            }
            (Ok(FromHub::Renewed { ice }), State::Up) => self.event(Event::Renewed(ice)),
            (Ok(_) | Err(_), _) => {
                self.outputs.push_back(Output::Disconnect);
                self.rest(now, Refusal::Malformed.code());
            }
        }
    }

    /// The time of the last [`Output::Wait`] has come.
    pub fn handle_timeout(&mut self, now: Time) {
        match self.state {
            State::Resting(until) if until <= now => {
                self.state = State::Joining(now + self.config.connect);
                self.outputs.push_back(Output::Connect);
            }
            State::Joining(until) if until <= now => {
                self.outputs.push_back(Output::Disconnect);
                self.rest(now, Refusal::Late.code());
            }
            State::Up if now.since(self.heard) >= self.silence => {
                self.outputs.push_back(Output::Disconnect);
                self.rest(now, Refusal::Silent.code());
            }
            _ => {}
        }
    }

    /// Sends something to another member, or holds it until the hub is reached again.
    ///
    /// # Errors
    /// [`Refusal::Busy`] if as much waits already as may wait, or it is over.
    pub fn send(&mut self, to: Name, session: Name, signal: Signal) -> Result<(), Refusal> {
        self.say(ToHub::Send { to, session, signal })
    }

    /// Uses this token from now on.
    ///
    /// # Errors
    /// As [`Member::send`].
    pub fn renew(&mut self, token: String) -> Result<(), Refusal> {
        self.config.token = Some(token.clone());
        if self.state == State::Up { self.say(ToHub::Renew { token }) } else { Ok(()) }
    }

    /// Leaves the group and ends.
    pub fn leave(&mut self) {
        if self.state == State::Up {
            self.outputs.push_back(Output::Send(ToHub::Leave.write()));
        }
        if self.state != State::Ended {
            self.end("left");
        }
    }

    /// What to do next. Ask until it says [`Output::Wait`].
    pub fn poll_output(&mut self) -> Output {
        let wait = match self.state {
            State::Resting(until) | State::Joining(until) => Some(until),
            State::Up => Some(self.heard + self.silence),
            State::Ended => None,
        };
        self.outputs.pop_front().unwrap_or(Output::Wait(wait))
    }

    fn welcome(&mut self, now: Time, welcome: Welcome) {
        if welcome.version != VERSION || welcome.members.len() > self.config.members_max {
            self.outputs.push_back(Output::Disconnect);
            return self.end(Refusal::Version.code());
        }
        self.state = State::Up;
        self.attempt = 0;
        self.welcomed = true;
        self.heard = now;
        self.peer = Some(welcome.peer.clone());
        // A hub that asks for answers within no time would be left at once.
        self.silence = Duration::from_secs(welcome.silence_s.max(1).into());
        let members: BTreeSet<Name> = welcome.members.iter().cloned().collect();
        let before = core::mem::replace(&mut self.others, members.clone());
        self.event(Event::Up(welcome));
        for peer in members.difference(&before) {
            self.event(Event::Joined(peer.clone()));
        }
        for peer in before.difference(&members) {
            self.event(Event::Left { peer: peer.clone(), reason: "missed".to_owned() });
        }
        for held in core::mem::take(&mut self.held) {
            self.outputs.push_back(Output::Send(held.write()));
        }
    }

    fn joined(&mut self, now: Time, peer: Name) {
        if self.others.len() >= self.config.members_max {
            self.outputs.push_back(Output::Disconnect);
            return self.rest(now, Refusal::Malformed.code());
        }
        if self.others.insert(peer.clone()) {
            self.event(Event::Joined(peer));
        }
    }

    /// Whether there is no use in trying again. Who took our name while the hub was away may leave.
    const fn is_final(&self, refusal: Refusal) -> bool {
        refusal.is_final() && !(matches!(refusal, Refusal::Taken) && self.welcomed)
    }

    fn say(&mut self, message: ToHub) -> Result<(), Refusal> {
        match self.state {
            State::Up => self.outputs.push_back(Output::Send(message.write())),
            State::Ended => return Err(Refusal::Busy),
            _ if self.held.len() >= self.config.held_max => return Err(Refusal::Busy),
            _ => self.held.push_back(message),
        }
        Ok(())
    }

    fn rest(&mut self, now: Time, reason: &str) {
        let Backoff { first, max } = self.config.backoff;
        let doubled = first.saturating_mul(1_u32 << self.attempt.min(16)).min(max);
        // SplitMix64's constants: a number that differs for each member and attempt.
        let mixed = (self.seed ^ u64::from(self.attempt)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let spread = 0.75 + f64::from(u32::try_from(mixed >> 32).unwrap_or(0)) / 2.0_f64.powi(33);
        let retry = doubled.mul_f64(spread);
        self.attempt = self.attempt.saturating_add(1);
        self.state = State::Resting(now + retry);
        self.event(Event::Down { reason: reason.to_owned(), retry });
    }

    fn end(&mut self, reason: &str) {
        self.state = State::Ended;
        self.held.clear();
        self.outputs.push_back(Output::Disconnect);
        self.event(Event::Ended { reason: reason.to_owned() });
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}
