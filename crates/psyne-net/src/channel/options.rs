//! What is decided when a channel is opened.

use std::time::Duration;

use crate::Error;
use crate::frame::MESSAGE_BYTES_MAX;
use crate::tls::Tls;

/// How a channel is opened. Each side decides for what it sends, and what it takes.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is promised about the messages that this side sends. A transport may do more than was
    /// asked, and refuses to be opened where it can't do as much.
    pub delivery: Delivery,
    /// What a sender does when the queue to the driver is full.
    pub back_pressure: BackPressure,
    /// Longest message that this side takes; the other side is told. Default 1 MiB: as long as
    /// anything that should not be a stream of messages.
    pub message_bytes_max: usize,
    /// Messages that wait in either direction. Default 1,024.
    pub queue_messages_max: usize,
    /// Bytes that wait in either direction before no further message is taken. Default 1 MiB: what
    /// a path of 160 Mbit/s and 50 ms holds.
    pub queue_bytes_max: usize,
    /// How a dead peer is found.
    pub keepalive: Keepalive,
    /// How long opening may take, and saying goodbye. Default 10 s.
    pub handshake_timeout: Duration,
    /// Peers of a listener that are shaking hands at a time; others wait in the system's queue.
    /// Default 256.
    pub handshakes_max: usize,
    /// Who this side is and whom it trusts, for the transports that ask.
    pub tls: Tls,
    /// Channels of a listener that nobody has accepted yet. Default 128, as Linux's backlog was.
    pub backlog_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            delivery: Delivery::default(),
            back_pressure: BackPressure::default(),
            message_bytes_max: 1 << 20,
            queue_messages_max: 1024,
            queue_bytes_max: 1 << 20,
            keepalive: Keepalive::default(),
            handshake_timeout: Duration::from_secs(10),
            handshakes_max: 256,
            backlog_max: 128,
            tls: Tls::default(),
        }
    }
}

impl Options {
    /// Says what contradicts itself.
    ///
    /// # Errors
    /// `Options`.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong = if self.message_bytes_max > MESSAGE_BYTES_MAX {
            "message_bytes_max is beyond 16 MiB: send a longer thing as several messages"
        } else if self.queue_messages_max == 0 {
            "queue_messages_max is 0: nothing could ever be sent"
        } else if self.handshakes_max == 0 || self.backlog_max == 0 {
            "handshakes_max or backlog_max is 0: nobody could ever connect"
        } else if self.keepalive.every.is_zero() || self.handshake_timeout.is_zero() {
            "keepalive.every or handshake_timeout is 0"
        } else if self.keepalive.dead_after <= self.keepalive.every {
            "keepalive.dead_after is not longer than keepalive.every: each pause would be a death"
        } else {
            return Ok(());
        };
        Err(Error::Options(wrong))
    }
}

/// What is promised about messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// They arrive in the order in which they were sent.
    pub ordered: bool,
    /// Whether they arrive.
    pub reliability: Reliability,
}

impl Delivery {
    /// Each message once, in order. The default.
    pub const RELIABLE: Self = Self { ordered: true, reliability: Reliability::Reliable };
    /// Each message at most once, whenever it comes.
    pub const UNRELIABLE: Self = Self { ordered: false, reliability: Reliability::Retransmits(0) };
}

impl Default for Delivery {
    fn default() -> Self {
        Self::RELIABLE
    }
}

/// Whether a message arrives (RFC 8831, 6.1 has the same three).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reliability {
    /// It does, or the channel ends.
    Reliable,
    /// It is sent again at most so often; 0 is never.
    Retransmits(u16),
    /// It is sent again for so long.
    Lifetime(Duration),
}

/// What a sender does when its queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackPressure {
    /// Waits for room, for so long or for ever, then `TimedOut`.
    Block {
        /// None: for ever.
        timeout: Option<Duration>,
    },
    /// The new message is not sent, and counted in `Metrics::dropped_sent`.
    DropNewest,
    /// The oldest that waits is not sent, and counted: the newest is worth more.
    DropOldest,
    /// `Full`, at once.
    Refuse,
}

impl Default for BackPressure {
    fn default() -> Self {
        Self::Block { timeout: None }
    }
}

/// How a peer that vanished is found: it is asked regularly, which also measures the round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// How often it is asked. Default 5 s: below the 30 s after which careless NATs forget UDP.
    pub every: Duration,
    /// Silence after which it is dead: `Lost`. Default 15 s, three questions.
    pub dead_after: Duration,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self { every: Duration::from_secs(5), dead_after: Duration::from_secs(15) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_contradicts_itself_is_refused_and_says_where() {
        assert_eq!(Options::default().check(), Ok(()));
        let second = Duration::from_secs(1);
        for (wrong, why) in [
            (Options { message_bytes_max: 1 << 24, ..Options::default() }, "16 MiB"),
            (Options { queue_messages_max: 0, ..Options::default() }, "queue_messages_max"),
            (Options { handshakes_max: 0, ..Options::default() }, "handshakes_max"),
            (Options { handshake_timeout: Duration::ZERO, ..Options::default() }, "timeout"),
            (
                Options {
                    keepalive: Keepalive { every: second, dead_after: second },
                    ..Options::default()
                },
                "dead_after",
            ),
        ] {
            let error = wrong.check().unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
            assert_eq!(error.code(), "options");
        }
    }
}
