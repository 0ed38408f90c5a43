//! What a stream is, from its first key to its archive: six states and the moves between them.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;
use std::collections::VecDeque;

use psyne::Time;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::id::BroadcastId;

/// What a stream is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Has a key and waits for its publisher; there is nothing to watch yet.
    Ready,
    /// Somebody publishes and only the creator should look.
    Testing,
    /// A broadcast is on. It stays so while a lost publisher is within its grace period.
    Live,
    /// The last broadcast ended.
    Offline,
    /// Offline for so long that what lingers is let go: open pages stop asking, memory is freed.
    Stale,
    /// Over for good. The name stays taken and nobody can publish.
    Archived,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Ready, Self::Testing, Self::Live, Self::Offline, Self::Stale, Self::Archived];

    /// Its name in the API and in storage: `ready`, `testing` …
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Testing => "testing",
            Self::Live => "live",
            Self::Offline => "offline",
            Self::Stale => "stale",
            Self::Archived => "archived",
        }
    }

    /// Where `reason` leads from here, or `None` if the table has no such move.
    #[must_use]
    pub fn after(self, reason: Reason) -> Option<Self> {
        MOVES.iter().find(|m| m.0 == self && m.1 == reason).map(|m| m.2)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for State {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(())
    }
}

/// Why a stream moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A publisher came.
    Published,
    /// A publisher came, and `Config::test_first` is set.
    Tested,
    /// The creator said that the test is over.
    WentLive,
    /// The publisher did not return within its grace period, or the creator ended it.
    Ended,
    /// Nobody published for `Config::stale_after`.
    Lingered,
    /// The creator gave the stream up.
    Archived,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Published,
        Self::Tested,
        Self::WentLive,
        Self::Ended,
        Self::Lingered,
        Self::Archived,
    ];
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Published => "published",
            Self::Tested => "tested",
            Self::WentLive => "went live",
            Self::Ended => "ended",
            Self::Lingered => "lingered",
            Self::Archived => "archived",
        })
    }
}

/// Every move that exists; what is not here is refused. README.md shows the same table.
pub const MOVES: [(State, Reason, State); 17] = [
    (State::Ready, Reason::Published, State::Live),
    (State::Ready, Reason::Tested, State::Testing),
    (State::Ready, Reason::Archived, State::Archived),
    (State::Testing, Reason::WentLive, State::Live),
    (State::Testing, Reason::Ended, State::Ready),
    (State::Testing, Reason::Archived, State::Archived),
    (State::Live, Reason::Ended, State::Offline),
    (State::Live, Reason::Archived, State::Archived),
    (State::Offline, Reason::Published, State::Live),
    (State::Offline, Reason::Tested, State::Testing),
    (State::Offline, Reason::Lingered, State::Stale),
    (State::Offline, Reason::Archived, State::Archived),
    (State::Stale, Reason::Published, State::Live),
    (State::Stale, Reason::Tested, State::Testing),
    (State::Stale, Reason::Archived, State::Archived),
    // Archiving twice and ending what has ended are no faults: two people may press one button.
    (State::Archived, Reason::Archived, State::Archived),
    (State::Offline, Reason::Ended, State::Offline),
];

/// How patient a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long a broadcast waits for a publisher whose connection broke. 30 s: OBS retries after
    /// 10 s, a router restarts in less than 30, and viewers give up later.
    pub grace: Duration,
    /// The same for a publisher that said goodbye. 3 s: enough for an encoder that restarts to
    /// apply a setting, short enough that the end is seen as the end.
    pub goodbye_grace: Duration,
    /// How long a stream is offline before it is stale. An hour.
    pub stale_after: Duration,
    /// A publisher's coming starts a test, and the creator says when it goes live. Off.
    pub test_first: bool,
}

impl Config {
    /// How long a broadcast waits for a publisher that left in this way.
    #[must_use]
    pub const fn grace_after(&self, leave: Leave) -> Duration {
        match leave {
            Leave::Goodbye => self.goodbye_grace,
            Leave::Lost => self.grace,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(30),
            goodbye_grace: Duration::from_secs(3),
            stale_after: Duration::from_secs(3_600),
            test_first: false,
        }
    }
}

/// How a publisher left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// It said that it is done.
    Goodbye,
    /// Its connection broke.
    Lost,
}

/// What storage remembers of a stream; a new stream is `Saved::default()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The state it was in.
    pub state: State,
    /// The broadcast that had not ended, if the server stopped in the middle of it.
    pub broadcast: Option<BroadcastId>,
}

impl Default for Saved {
    fn default() -> Self {
        Self { state: State::Ready, broadcast: None }
    }
}

/// What happened to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It changed its state; storage and pages want to know.
    Moved {
        /// Where it was.
        from: State,
        /// Where it is.
        to: State,
        /// Why.
        reason: Reason,
    },
    /// A broadcast (or a test) began.
    Started(BroadcastId),
    /// Its publisher is gone and may return.
    Interrupted(BroadcastId),
    /// Its publisher returned in time.
    Resumed(BroadcastId),
    /// It is over. If its publisher is still connected, disconnect it.
    Ended(BroadcastId),
}

/// What the driver does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Tell whom it concerns.
    Event(Event),
    /// Nothing until then (`handle_timeout`), or until the next input.
    Wait(Option<Time>),
}

/// Events that one input can cause; more are waiting only if the driver did not drain.
const EVENTS_MAX: usize = 8;

/// One stream's life. A machine: mutate, then drain `poll_output` until it says `Wait`.
#[derive(Debug)]
pub struct Lifecycle {
    config: Config,
    state: State,
    broadcast: Option<BroadcastId>,
    publisher: bool,
    deadline: Option<Time>,
    seed: u64,
    ids_made: u64,
    events: VecDeque<Event>,
}

impl Lifecycle {
    /// Takes a stream up from what storage remembers. A broadcast that had not ended counts as
    /// interrupted now. Ids of broadcasts come from `seed`, which must be random.
    #[must_use]
    pub fn new(config: Config, now: Time, seed: u64, saved: Saved) -> Self {
        let mut this = Self {
            config,
            state: saved.state,
            broadcast: saved.broadcast,
            publisher: false,
            deadline: None,
            seed,
            ids_made: 0,
            events: VecDeque::new(),
        };
        match saved.state {
            State::Live | State::Testing if saved.broadcast.is_some() => {
                this.deadline = Some(now + config.grace);
            }
            State::Live | State::Testing => this.finish(now, Reason::Ended),
            State::Offline => this.deadline = Some(now + config.stale_after),
            State::Ready | State::Stale | State::Archived => {}
        }
        this
    }

    /// What the stream is now.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// The broadcast that is on, interrupted or not.
    #[must_use]
    pub const fn broadcast(&self) -> Option<BroadcastId> {
        self.broadcast
    }

    /// Whether a publisher is connected.
    #[must_use]
    pub const fn has_publisher(&self) -> bool {
        self.publisher
    }

    /// A publisher with the right key came: starts a broadcast, or continues an interrupted one.
    ///
    /// # Errors
    /// `Error::Busy` if there is one already, `Error::Move` if the stream is archived.
    pub fn publish(&mut self, now: Time) -> Result<(), Error> {
        self.handle_timeout(now);
        if self.publisher {
            return Err(Error::Busy);
        }
        if let Some(broadcast) = self.broadcast {
            self.tell(Event::Resumed(broadcast));
        } else {
            let first = if self.config.test_first { Reason::Tested } else { Reason::Published };
            self.step(first)?;
            let broadcast = self.fresh_id();
            self.broadcast = Some(broadcast);
            self.tell(Event::Started(broadcast));
        }
        self.publisher = true;
        self.deadline = None;
        Ok(())
    }

    /// The publisher left. Nothing if it was dismissed before (`end`, `archive`).
    pub fn unpublish(&mut self, now: Time, leave: Leave) {
        let (true, Some(broadcast)) = (self.publisher, self.broadcast) else { return };
        self.publisher = false;
        self.deadline = Some(now + self.config.grace_after(leave));
        self.tell(Event::Interrupted(broadcast));
    }

    /// The creator is content with the test.
    ///
    /// # Errors
    /// `Error::Move` unless the stream is being tested.
    pub fn go_live(&mut self, now: Time) -> Result<(), Error> {
        self.handle_timeout(now);
        self.step(Reason::WentLive)
    }

    /// The creator ends the broadcast without waiting for the publisher.
    ///
    /// # Errors
    /// `Error::Move` if there is nothing to end.
    pub fn end(&mut self, now: Time) -> Result<(), Error> {
        self.handle_timeout(now);
        self.state.after(Reason::Ended).ok_or_else(|| self.refusal(Reason::Ended))?;
        self.finish(now, Reason::Ended);
        Ok(())
    }

    /// The creator gives the stream up: a broadcast ends, and no other follows.
    pub fn archive(&mut self, now: Time) {
        self.finish(now, Reason::Archived);
    }

    /// Time passed: a grace period may be over, an offline stream may have become stale.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(deadline) = self.deadline.filter(|&deadline| deadline <= now) {
            match self.state {
                State::Offline => self.finish(deadline, Reason::Lingered),
                _ => self.finish(deadline, Reason::Ended),
            }
        }
    }

    /// What to do next; drain until `Wait`.
    pub fn poll_output(&mut self) -> Output {
        match self.events.pop_front() {
            Some(event) => Output::Event(event),
            None => Output::Wait(self.deadline),
        }
    }

    /// Ends what is on and moves for `reason`.
    fn finish(&mut self, at: Time, reason: Reason) {
        self.publisher = false;
        if let Some(broadcast) = self.broadcast.take() {
            self.tell(Event::Ended(broadcast));
        }
        // The callers asked the table first; what it lacks would be a fault of this file.
        self.step(reason).unwrap_or_else(|error| panic!("lifecycle::MOVES lacks a move: {error}"));
        self.deadline = (self.state == State::Offline).then(|| at + self.config.stale_after);
    }

    fn step(&mut self, reason: Reason) -> Result<(), Error> {
        let from = self.state;
        let to = from.after(reason).ok_or_else(|| self.refusal(reason))?;
        self.state = to;
        if from != to {
            self.tell(Event::Moved { from, to, reason });
        }
        Ok(())
    }

    const fn refusal(&self, reason: Reason) -> Error {
        Error::Move { from: self.state, reason }
    }

    fn fresh_id(&mut self) -> BroadcastId {
        let mut material = [0; 16];
        material[..8].copy_from_slice(&self.seed.to_le_bytes());
        material[8..].copy_from_slice(&self.ids_made.to_le_bytes());
        self.ids_made += 1;
        let hash = blake3::derive_key("psyne/streamr 2026 broadcast id v1", &material);
        BroadcastId::from_u64(hash.iter().take(8).fold(0, |sum, &b| sum << 8 | u64::from(b)))
    }

    fn tell(&mut self, event: Event) {
        assert!(self.events.len() < EVENTS_MAX, "drain poll_output after each input");
        self.events.push_back(event);
    }
}

#[cfg(test)]
#[path = "lifecycle_tests.rs"]
mod tests;
