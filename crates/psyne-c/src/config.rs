//! How a channel is opened.

use std::time::Duration;

use psyne::channel::{self, any, broadcast};

use crate::Layout;

/// Each message goes to one receiver: a queue with one sender and one receiver.
pub const PSYNE_QUEUE: u32 = 0;
/// Each message goes to every receiver, at its own pace (`lag`).
pub const PSYNE_BROADCAST: u32 = 1;
/// Sending replaces the value; a receiver gets the newest. Not for `PSYNE_BYTES`.
pub const PSYNE_LATEST: u32 = 2;
/// A queue with many senders, each of which opens an end of its own, and one receiver. Not for
/// `PSYNE_BYTES`.
pub const PSYNE_MPSC: u32 = 3;
/// A queue with one sender, from which each of many receivers takes what is next. Not for
/// `PSYNE_BYTES`.
pub const PSYNE_SPMC: u32 = 4;
/// The same with many senders. Not for `PSYNE_BYTES`.
pub const PSYNE_MPMC: u32 = 5;

/// A broadcast's sender waits for this receiver, as `full` says.
pub const PSYNE_LAG_BLOCK: u32 = 0;
/// What this receiver is too late for is overwritten: `PSYNE_LAGGED`, and it goes on after that.
pub const PSYNE_LAG_SKIP: u32 = 1;
/// The same, and it goes on at the newest message that was marked. For `PSYNE_BYTES`.
pub const PSYNE_LAG_SKIP_TO_MARK: u32 = 2;

/// Never gives the core back while it waits.
pub const PSYNE_SPIN: u32 = 0;
/// Spins for about as long as waking takes, then sleeps.
pub const PSYNE_ADAPTIVE: u32 = 1;
/// Sleeps at once.
pub const PSYNE_PARK: u32 = 2;

/// A sender waits until there is room, for `full_ns` if that is not 0.
pub const PSYNE_BLOCK: u32 = 0;
/// A sender is refused: `PSYNE_FULL`.
pub const PSYNE_REFUSE: u32 = 1;

/// How a channel is opened. Begin with `psyne_config_default`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Who gets a message: `PSYNE_QUEUE`, `PSYNE_BROADCAST`, `PSYNE_LATEST`.
    pub pattern: u32,
    /// Messages that always fit; for bytes, lines of 64 bytes.
    pub slots: usize,
    /// How this end waits: `PSYNE_SPIN`, `PSYNE_ADAPTIVE`, `PSYNE_PARK`.
    pub wait: u32,
    /// What a sender does without room: `PSYNE_BLOCK`, `PSYNE_REFUSE`.
    pub full: u32,
    /// Nanoseconds that `PSYNE_BLOCK` waits; 0: as long as it takes.
    pub full_ns: u64,
    /// A broadcast's receiver that falls behind: `PSYNE_LAG_BLOCK`, `PSYNE_LAG_SKIP`,
    /// `PSYNE_LAG_SKIP_TO_MARK`.
    pub lag: u32,
    /// Not 0: a broadcast's receiver begins with the newest marked message. For `PSYNE_BYTES`.
    pub at_mark: u32,
    /// Most receivers of a broadcast, a latest value or a queue with many, listeners to events.
    pub receivers_max: u32,
    /// Most senders of `PSYNE_MPSC` and `PSYNE_MPMC`, clients of a server.
    pub senders_max: u32,
    /// Most calls of one client under way at a time.
    pub calls_max: u32,
}

/// What suits a queue of small messages.
#[unsafe(no_mangle)]
pub extern "C" fn psyne_config_default() -> Config {
    let default = channel::Config::default();
    Config {
        pattern: PSYNE_QUEUE,
        slots: default.slots,
        wait: PSYNE_ADAPTIVE,
        full: PSYNE_BLOCK,
        full_ns: 0,
        lag: PSYNE_LAG_BLOCK,
        at_mark: 0,
        receivers_max: default.receivers_max as u32,
        senders_max: default.senders_max as u32,
        calls_max: default.calls_max as u32,
    }
}

impl Config {
    /// The pattern and what its messages are.
    pub(crate) fn kind(&self, layout: &Layout) -> Result<any::Kind, channel::Error> {
        let lag = match self.lag {
            PSYNE_LAG_BLOCK => broadcast::Lag::Block,
            PSYNE_LAG_SKIP => broadcast::Lag::Skip,
            PSYNE_LAG_SKIP_TO_MARK => broadcast::Lag::SkipToMark,
            _ => return Err(channel::Error::Config("lag is none of PSYNE_LAG_BLOCK, …")),
        };
        match (self.pattern, layout.read()) {
            (PSYNE_QUEUE, None) => Ok(any::Kind::Bytes),
            (PSYNE_QUEUE, Some(layout)) => Ok(any::Kind::Queue(layout)),
            (PSYNE_BROADCAST, Some(layout)) => Ok(any::Kind::Broadcast { layout, lag }),
            (PSYNE_LATEST, Some(layout)) => Ok(any::Kind::Latest(layout)),
            (PSYNE_MPSC, Some(layout)) => Ok(any::Kind::Mpsc(layout)),
            (PSYNE_BROADCAST, None) => {
                Ok(any::Kind::BroadcastBytes { lag, at_mark: self.at_mark != 0 })
            }
            (PSYNE_SPMC, Some(layout)) => Ok(any::Kind::Spmc(layout)),
            (PSYNE_MPMC, Some(layout)) => Ok(any::Kind::Mpmc(layout)),
            (PSYNE_LATEST | PSYNE_MPSC | PSYNE_SPMC | PSYNE_MPMC, None) => {
                Err(channel::Error::Config("this pattern has messages of one layout"))
            }
            _ => Err(channel::Error::Config("pattern is none of PSYNE_QUEUE, …")),
        }
    }

    /// The same for Rust. Nothing is believed: any number may come from C.
    pub(crate) fn read(&self) -> Result<channel::Config, channel::Error> {
        let wait = match self.wait {
            PSYNE_SPIN => channel::Wait::Spin,
            PSYNE_ADAPTIVE => channel::Wait::Adaptive,
            PSYNE_PARK => channel::Wait::Park,
            _ => return Err(channel::Error::Config("wait is none of PSYNE_SPIN, …")),
        };
        let full = match (self.full, self.full_ns) {
            (PSYNE_BLOCK, 0) => channel::Full::Block,
            (PSYNE_BLOCK, time) => channel::Full::BlockFor(Duration::from_nanos(time)),
            (PSYNE_REFUSE, _) => channel::Full::Refuse,
            _ => {
                return Err(channel::Error::Config("full is neither PSYNE_BLOCK nor PSYNE_REFUSE"));
            }
        };
        Ok(channel::Config {
            slots: self.slots,
            wait,
            full,
            receivers_max: self.receivers_max as usize,
            senders_max: self.senders_max as usize,
            calls_max: self.calls_max as usize,
        })
    }
}
