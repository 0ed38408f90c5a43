//! What both roles and players share: protocol control, pings, acknowledgements, sending.

use bytes::{Bytes, BytesMut};

use super::chunk::{self, CHUNK_BYTES_INITIAL, Header, Message, Reader, kind};
use super::{Config, command, limit, malformed};
use crate::Error;
use crate::amf::Value;

/// User control events (RTMP 1.0 §7.1.7).
pub(super) mod user {
    pub(crate) const STREAM_BEGIN: u16 = 0;
    pub(crate) const STREAM_EOF: u16 = 1;
    pub(crate) const SET_BUFFER_LENGTH: u16 = 3;
    pub(crate) const PING_REQUEST: u16 = 6;
    pub(crate) const PING_RESPONSE: u16 = 7;
}

/// Chunk stream of protocol control (RTMP 1.0 §5.4), and ours for commands.
const CONTROL: u32 = 2;
const COMMAND: u32 = 3;

#[derive(Debug)]
pub(super) struct Link {
    pub(super) reader: Reader,
    pub(super) out: BytesMut,
    /// The chunk size that we have announced.
    pub(super) chunk_bytes: u32,
    output_bytes_max: u32,
    /// Bytes received modulo 2^32, how many of them we have acknowledged, and how many the peer
    /// lets us leave open.
    received: u32,
    acknowledged: u32,
    window: u32,
    /// What the peer has acknowledged of our bytes.
    pub(super) peer_acknowledged: u32,
}

impl Link {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            reader: Reader::new(config.chunk_limits()),
            out: BytesMut::new(),
            chunk_bytes: CHUNK_BYTES_INITIAL,
            output_bytes_max: config.output_bytes_max,
            received: 0,
            acknowledged: 0,
            window: config.window_bytes,
            peer_acknowledged: 0,
        }
    }

    /// The next message that is not protocol control. `None` when `input` is used up.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Result<Option<Message>, Error> {
        loop {
            if self.out.len() > self.output_bytes_max as usize {
                let max = self.output_bytes_max.into();
                return Err(limit("output_bytes_max", self.out.len(), max));
            }
            let before = input.len();
            let message = self.reader.next(input)?;
            self.received = self.received.wrapping_add((before - input.len()) as u32);
            let Some(message) = message else {
                self.acknowledge();
                return Ok(None);
            };
            if !self.control(&message)? {
                return Ok(Some(message));
            }
        }
    }

    /// Deals with protocol control messages; false if it is not one.
    fn control(&mut self, message: &Message) -> Result<bool, Error> {
        match message.header.kind {
            kind::SET_CHUNK_SIZE => self.reader.resize_chunks(number(&message.body)?)?,
            kind::ABORT => self.reader.abort(number(&message.body)?),
            kind::ACKNOWLEDGEMENT => self.peer_acknowledged = number(&message.body)?,
            kind::WINDOW_ACK_SIZE => self.window = number(&message.body)?.max(1),
            // Our window is what it is: the answer repeats it.
            kind::SET_PEER_BANDWIDTH => {
                let window = number(&message.body)?;
                self.send_control(kind::WINDOW_ACK_SIZE, &window.to_be_bytes());
            }
            kind::USER_CONTROL => {
                let event = message.body.first_chunk::<2>();
                let event = event.ok_or(malformed("user control message without its event"))?;
                if u16::from_be_bytes(*event) == user::PING_REQUEST {
                    let sent_at = number(&message.body[2..])?;
                    self.send_user_control(user::PING_RESPONSE, &[sent_at]);
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// At most one acknowledgement an input, however small a window the peer asks for.
    fn acknowledge(&mut self) {
        if self.received.wrapping_sub(self.acknowledged) >= self.window {
            self.acknowledged = self.received;
            self.send_control(kind::ACKNOWLEDGEMENT, &self.received.to_be_bytes());
        }
    }

    pub(super) fn send(&mut self, header: &Header, body: &[u8]) {
        self.out.reserve(chunk::written_bytes(self.chunk_bytes, header, body.len()));
        chunk::write_message(&mut self.out, self.chunk_bytes, header, body);
    }

    pub(super) fn send_control(&mut self, kind: u8, body: &[u8]) {
        let header = Header { chunk_stream: CONTROL, kind, stream: 0, timestamp_ms: 0 };
        self.send(&header, body);
    }

    pub(super) fn send_user_control(&mut self, event: u16, numbers: &[u32]) {
        let mut body = event.to_be_bytes().to_vec();
        numbers.iter().for_each(|number| body.extend(number.to_be_bytes()));
        self.send_control(kind::USER_CONTROL, &body);
    }

    /// Announces our chunk size and uses it from the next message on.
    pub(super) fn announce_chunk_bytes(&mut self, chunk_bytes: u32) {
        self.send_control(kind::SET_CHUNK_SIZE, &chunk_bytes.to_be_bytes());
        self.chunk_bytes = chunk_bytes;
    }

    pub(super) fn send_command(
        &mut self,
        stream: u32,
        name: &str,
        transaction: f64,
        values: &[Value],
    ) {
        let body = command::body(name, transaction, values);
        let kind = kind::COMMAND_AMF0;
        self.send(&Header { chunk_stream: COMMAND, kind, stream, timestamp_ms: 0 }, &body);
    }

    pub(super) fn send_status(&mut self, stream: u32, level: &str, code: &str, description: &str) {
        let info = command::status(level, code, description);
        self.send_command(stream, "onStatus", 0.0, &[Value::Null, info]);
    }

    /// Everything that waits to be sent.
    pub(super) fn take_output(&mut self) -> Option<Bytes> {
        (!self.out.is_empty()).then(|| core::mem::take(&mut self.out).freeze())
    }
}

fn number(body: &[u8]) -> Result<u32, Error> {
    let four = body.first_chunk().ok_or(malformed("control message is cut short"))?;
    Ok(u32::from_be_bytes(*four))
}
