//! What a session needs of SCTP, so that one association can take another's place.
//!
//! An association carries messages on numbered streams over packets that may be lost, doubled and
//! reordered (RFC 8831). Under it is DTLS: each packet is one record's plaintext, complete, secret
//! and authenticated, so what it reads comes from the other side, but that side may be hostile.
//! Data channels (their labels, who opens which stream) are the session's, above it.
//!
//! It is a machine: mutate, then drain [`Association::poll_output`] until it says
//! [`Output::Wait`].

use core::fmt::Debug;
use core::time::Duration;

use bytes::Bytes;
use psyne_core::Time;

use crate::Error;

/// How an association is made. Everything here bounds what the other side can make us hold.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our port, from SDP's `sctp-port`; 5000 by custom (RFC 8841 §5).
    pub local_port: u16,
    /// The other side's port.
    pub remote_port: u16,
    /// The longest SCTP packet that we send, in bytes, header included. What the path's MTU leaves
    /// under IP, UDP and DTLS.
    pub packet_bytes_max: usize,
    /// The longest message taken from the application or the other side, in bytes: SDP's
    /// `max-message-size` of ours.
    pub receive_message_bytes_max: usize,
    /// The longest message that the other side takes, in bytes: SDP's `max-message-size` of theirs.
    pub send_message_bytes_max: usize,
    /// Bytes that wait to be acknowledged or sent, over all streams.
    pub send_buffer_bytes_max: usize,
    /// Bytes that were received and wait for what is missing: the receiver window.
    pub receive_buffer_bytes_max: usize,
    /// Streams in each direction; identifiers are below it.
    pub streams_max: u16,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            local_port: 5_000,
            remote_port: 5_000,
            // 1,280 of IPv6 less 40 IP, 8 UDP, 37 DTLS 1.2 record, and some for a TURN channel.
            packet_bytes_max: 1_150,
            receive_message_bytes_max: 256 * 1024,
            send_message_bytes_max: 64 * 1024,
            send_buffer_bytes_max: 2 * 1024 * 1024,
            receive_buffer_bytes_max: 2 * 1024 * 1024,
            streams_max: 1_024,
        }
    }
}

/// How hard a message is tried (RFC 3758, RFC 8831 §6.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reliability {
    /// Until it arrives.
    #[default]
    Reliable,
    /// Sent once and at most this often again.
    Retransmits(u32),
    /// For this long after it was handed over, in whole milliseconds.
    Lifetime(Duration),
}

/// One message on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The stream's identifier.
    pub stream: u16,
    /// What the bytes are: the payload protocol identifier of RFC 8831 §8.
    pub ppid: u32,
    /// The bytes; never empty (an empty message is one byte with a PPID of its own).
    pub data: Bytes,
}

/// How a message is to be sent: by default in order, until it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// In the order in which the stream's messages were handed over.
    pub ordered: bool,
    /// How hard it is tried.
    pub reliability: Reliability,
}

impl Default for Delivery {
    fn default() -> Self {
        Self { ordered: true, reliability: Reliability::Reliable }
    }
}

/// Why an association ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Closed {
    /// It was asked to here.
    Local,
    /// The other side ended it, by SHUTDOWN or ABORT.
    Remote,
    /// The other side did not answer for as long as it is tried.
    Silent,
    /// The other side broke the protocol or a limit.
    Violation,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Messages can be exchanged. None is heard of before, even if it overtook what ends the
    /// handshake: who hears one may answer.
    Connected,
    /// A message came, whole, and in order where that was asked for.
    Message(Message),
    /// The other side reset its outgoing stream, after all that it had sent on it (RFC 6525). It
    /// wants the channel closed (RFC 8831 §6.7): answer with [`Association::reset`].
    Reset {
        /// The stream.
        stream: u16,
    },
    /// The other side has performed our [`Association::reset`].
    ResetDone {
        /// The stream.
        stream: u16,
    },
    /// It is over. The last event.
    Closed(Closed),
}

/// What an association wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this packet as one DTLS record.
    Transmit(Bytes),
    /// This happened.
    Event(Event),
    /// Nothing until this time, or until the next input.
    Wait(Option<Time>),
}

/// What an association measured and counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// The smoothed round trip, when one was measured.
    pub rtt: Option<Duration>,
    /// What the path is thought to carry, in bytes a second; 0 if not known.
    pub rate_bytes_per_s: u64,
    /// Packets sent.
    pub packets_out: u64,
    /// Packets that were taken.
    pub packets_in: u64,
    /// Bytes of data that were found lost on the way to the other side.
    pub bytes_lost: u64,
}

/// An SCTP association as data channels use it: RFC 9260 with RFC 3758, 6525 and 8831.
pub trait Association: Debug + Send {
    /// Starts the handshake. The session asks the DTLS client's side to; the other side waits, or
    /// starts at once as browsers do, so it must survive INITs that cross.
    fn connect(&mut self, now: Time);

    /// A packet from the other side. What is malformed is dropped, or ends the association with
    /// [`Closed::Violation`].
    fn handle_packet(&mut self, now: Time, packet: Bytes);

    /// The time that [`Output::Wait`] named has come, or any other.
    fn handle_timeout(&mut self, now: Time);

    /// Takes a message to be sent.
    ///
    /// # Errors
    /// [`Error::NotOpen`] before [`Event::Connected`], after the end, and while the stream is being
    /// reset; [`Error::Full`] if it does not fit into the send buffer; [`Error::TooMuch`] if it is
    /// longer than a message may be or its stream's number is too high.
    fn send(&mut self, now: Time, message: Message, delivery: Delivery) -> Result<(), Error>;

    /// Resets our outgoing stream when all that was handed over on it has been sent (RFC 6525
    /// §5.1.2). Without effect on a stream that was never used.
    fn reset(&mut self, now: Time, stream: u16);

    /// Keeps messages, and what comes after them, here (`true`) until the application can take
    /// more: the window towards the other side shuts behind them.
    fn hold_messages(&mut self, hold: bool);

    /// Ends it at once, by ABORT.
    fn abort(&mut self, now: Time);

    /// Bytes of the stream's messages that were handed over and not yet acknowledged, nor given
    /// up.
    fn buffered_bytes(&self, stream: u16) -> usize;

    /// The longest message, in bytes, that the send buffer has room for now.
    fn room_bytes(&self) -> usize;

    /// What was measured and counted so far.
    fn metrics(&self) -> Metrics;

    /// What to send, know or wait for next.
    fn poll_output(&mut self) -> Output;
}
