//! What an association is told before it begins, and every limit it keeps.

use std::time::Duration;

use crate::association;

/// Settings of one association of ours: what every association has, and what only this one has.
/// Both ends choose their own; what they must agree on is negotiated.
#[derive(Debug, Clone)]
pub struct Config {
    /// Ports, sizes of packets and messages, buffers, streams.
    pub common: association::Config,
    /// Holes in what arrived. A packet that would make one more is dropped as if it were lost. The
    /// 7,300 packets of 8 MiB at 10 % of loss have 730.
    pub holes_max: usize,
    /// Pieces of messages that wait for their neighbours; twice as many end the association.
    pub pieces_max: usize,
    /// Answers (to heartbeats, resets, errors) that wait for room in a packet. More are not made.
    pub answers_max: usize,
    /// Repetitions without an answer before the peer counts as gone (RFC 9260, 16: 10).
    pub repeats_max: u32,
    /// Repetitions of INIT and COOKIE ECHO (RFC 9260, 16: 8).
    pub init_repeats_max: u32,
    /// Least retransmission timeout. RFC 9260 says a second; probes (RFC 8985, 7) find most losses
    /// at the tail before it, so it only has to be longer than a peer's delayed acknowledgement
    /// (200 ms).
    pub rto_min: Duration,
    /// Timeout before the first measurement (RFC 9260, 16: one second).
    pub rto_initial: Duration,
    /// Greatest timeout: a path that comes back is found within it.
    pub rto_max: Duration,
    /// How long an acknowledgement may wait for a second packet (RFC 9260, 6.2: at most 500 ms).
    pub ack_delay: Duration,
    /// Silence after which a heartbeat asks whether the peer lives (RFC 9260, 8.3: 30 s).
    pub heartbeat: Duration,
    /// How long a cookie is good for (RFC 9260, 16: 60 s).
    pub cookie_life: Duration,
    /// Offer RFC 8260's I-DATA, so that a long message does not hold up others.
    pub interleaving: bool,
    /// Offer RFC 9653: no checksum, since DTLS below detects every change. **Only over DTLS.**
    pub zero_checksum: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            common: association::Config::default(),
            holes_max: 1_024,
            pieces_max: 4_096,
            answers_max: 32,
            repeats_max: 10,
            init_repeats_max: 8,
            rto_min: Duration::from_millis(300),
            rto_initial: Duration::from_secs(1),
            rto_max: Duration::from_secs(10),
            ack_delay: Duration::from_millis(20),
            heartbeat: Duration::from_secs(30),
            cookie_life: Duration::from_secs(60),
            interleaving: true,
            zero_checksum: true,
        }
    }
}
