//! What is decided when a channel is opened.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::Error;

/// Greatest number of slots: 2^32 lines are more memory than anybody gives a channel.
const SLOTS_MAX: usize = 1 << 32;

/// How a channel is opened. The defaults suit small messages between threads.
#[derive(Clone, Debug)]
pub struct Config {
    /// Messages that always fit. The ring is the next power of two that leaves an eighth more: so
    /// much may be free without the sender knowing. For channels of bytes: lines of 64 bytes.
    /// Default 896, a ring of 1024: at one line each it stays in a second-level cache.
    pub slots: usize,
    /// What a sender does when there is no room.
    pub full: Full,
    /// How both sides wait.
    pub wait: Wait,
    /// Most receivers of a broadcast: its sender looks at one line for each after each message.
    /// Default 64, about a microsecond of that. Also those of a queue: 64 at most.
    pub receivers_max: usize,
    /// Most senders of a queue that may have several, clients of a server: each has a ring of its
    /// own, which the receiver looks at in turn. Default 64, which is also the most.
    pub senders_max: usize,
    /// Most calls of one client under way at a time: its server looks at a line for each. Default
    /// 8, most 64.
    pub calls_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            slots: 896,
            full: Full::Block,
            wait: Wait::Adaptive,
            receivers_max: 64,
            senders_max: 64,
            calls_max: 8,
        }
    }
}

impl Config {
    /// The slots of a ring whose sender always knows what is free.
    pub(crate) fn exact_slots(&self) -> Result<usize, Error> {
        if self.slots == 0 || self.slots > SLOTS_MAX {
            return Err(Error::Config("slots is not between 1 and 2^32"));
        }
        Ok(self.slots.next_power_of_two().max(2))
    }

    /// The slots of its ring: the receiver tells the sender at each eighth of what is free.
    pub(crate) fn ring_slots(&self) -> Result<usize, Error> {
        let mut ring = self.exact_slots()?;
        if ring - (ring / 8).saturating_sub(1) < self.slots {
            ring *= 2;
        }
        Ok(ring)
    }
}

/// How a side waits for the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// Never gives the core back: the least delay, and one core for each side that waits.
    Spin,
    /// Spins for about as long as waking takes, then sleeps.
    #[default]
    Adaptive,
    /// Sleeps at once: 10 to 20 µs to wake, no core burnt.
    Park,
}

/// What a sender does when the channel is full.
#[derive(Clone, Debug, Default)]
pub enum Full {
    /// Waits until there is room.
    #[default]
    Block,
    /// Waits so long, then `TimedOut`.
    BlockFor(Duration),
    /// The new message is not sent: `Full`, counted in `Stats::refused`.
    Refuse,
    /// Looks again after a pause that doubles each time, then `Full`.
    Retry {
        /// How often it looks again.
        times: u32,
        /// The first pause.
        pause: Duration,
    },
    /// Asks what to do, each time that there is no room.
    Ask(Ask),
    /// Waits four times as long as it took lately until there was room, then `Full`. While the
    /// receiver keeps pace that is as good as blocking; if it stops, each message loses half as
    /// much time to it as the one before, down to a few microseconds.
    Adaptive {
        /// The longest wait, and the first.
        longest: Duration,
    },
}

/// What a callback decides about a full channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Look again at once.
    Again,
    /// Wait so long for room, then ask again.
    WaitFor(Duration),
    /// Give up: `Full`.
    Refuse,
}

/// A callback for a full channel: is told how often it was asked for this message, from 1.
#[derive(Clone)]
pub struct Ask(Arc<dyn Fn(u32) -> Verdict + Send + Sync>);

impl Ask {
    /// Decides by `decide`.
    pub fn new(decide: impl Fn(u32) -> Verdict + Send + Sync + 'static) -> Self {
        Self(Arc::new(decide))
    }

    pub(crate) fn decide(&self, times: u32) -> Verdict {
        (self.0)(times)
    }
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ask")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slots_asked_for_always_fit() {
        for (slots, ring) in [(1, 2), (3, 4), (8, 8), (15, 16), (16, 32), (896, 1024), (898, 2048)]
        {
            assert_eq!(Config { slots, ..Config::default() }.ring_slots(), Ok(ring), "{slots}");
        }
        for slots in [0, SLOTS_MAX + 1] {
            assert!(Config { slots, ..Config::default() }.ring_slots().is_err());
        }
    }
}
