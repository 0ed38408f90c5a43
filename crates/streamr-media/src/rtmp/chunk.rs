//! Chunk streams (RTMP 1.0 §5.3): messages cut into chunks and put together again.

use bytes::{BufMut, Bytes, BytesMut};

use crate::Error;
use crate::flv;

/// Message types (RTMP 1.0 §5.4, §6.1, §7.1).
pub mod kind {
    /// Set Chunk Size, §5.4.1.
    pub const SET_CHUNK_SIZE: u8 = 1;
    /// Abort Message, §5.4.2.
    pub const ABORT: u8 = 2;
    /// Acknowledgement, §5.4.3.
    pub const ACKNOWLEDGEMENT: u8 = 3;
    /// User control, §6.2.
    pub const USER_CONTROL: u8 = 4;
    /// Window Acknowledgement Size, §5.4.4.
    pub const WINDOW_ACK_SIZE: u8 = 5;
    /// Set Peer Bandwidth, §5.4.5.
    pub const SET_PEER_BANDWIDTH: u8 = 6;
    /// Audio, §7.1.4.
    pub const AUDIO: u8 = 8;
    /// Video, §7.1.5.
    pub const VIDEO: u8 = 9;
    /// Data in AMF3, §7.1.2.
    pub const DATA_AMF3: u8 = 15;
    /// Command in AMF3, §7.1.1.
    pub const COMMAND_AMF3: u8 = 17;
    /// Data in AMF0, §7.1.2.
    pub const DATA_AMF0: u8 = 18;
    /// Command in AMF0, §7.1.1.
    pub const COMMAND_AMF0: u8 = 20;
    /// Aggregate, §7.1.6.
    pub const AGGREGATE: u8 = 22;
}

/// The chunk size before anybody has set another (RTMP 1.0 §5.4.1).
pub const CHUNK_BYTES_INITIAL: u32 = 128;

/// Timestamps from here on go into the extended field (RTMP 1.0 §5.3.1.3).
const EXTENDED: u32 = 0xff_ffff;

/// What stands before the body of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Chunk stream, 2 to 65,599. Messages of one chunk stream stay in order.
    pub chunk_stream: u32,
    /// Message type, see [`kind`].
    pub kind: u8,
    /// Message stream; 0 is the connection itself.
    pub stream: u32,
    /// Milliseconds modulo 2^32.
    pub timestamp_ms: u32,
}

impl Header {
    /// The header under which `tag` is sent on message stream `stream`. Audio, video and script
    /// have a chunk stream each (4, 6, 5), so that a long picture does not hold the sound up.
    #[must_use]
    pub const fn of(tag: &flv::Tag, stream: u32) -> Self {
        let chunk_stream = match tag.kind {
            flv::Kind::Audio => 4,
            flv::Kind::Script => 5,
            flv::Kind::Video => 6,
        };
        Self { chunk_stream, kind: tag.kind as u8, stream, timestamp_ms: tag.timestamp_ms }
    }
}

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it belongs.
    pub header: Header,
    /// Its payload: one copy of the input, shared from here on.
    pub body: Bytes,
}

/// Appends one message as a type 0 chunk and as many type 3 chunks as `chunk_bytes` makes of it.
///
/// The header is always complete, so a receiver can join at any message and the same bytes serve
/// every receiver whose chunk size is `chunk_bytes`.
///
/// # Panics
/// The body is over 2^24 − 1 bytes, the chunk stream outside 2 to 65,599, or `chunk_bytes` is 0.
pub fn write_message(out: &mut impl BufMut, chunk_bytes: u32, header: &Header, body: &[u8]) {
    assert!(body.len() <= 0xff_ffff, "RTMP message bodies are at most 2^24 - 1 bytes");
    let extended = header.timestamp_ms >= EXTENDED;
    write_basic_header(out, 0, header.chunk_stream);
    out.put_uint(header.timestamp_ms.min(EXTENDED).into(), 3);
    out.put_uint(body.len() as u64, 3);
    out.put_u8(header.kind);
    out.put_u32_le(header.stream);
    if extended {
        out.put_u32(header.timestamp_ms);
    }
    for (index, piece) in body.chunks(chunk_bytes as usize).enumerate() {
        if index > 0 {
            write_basic_header(out, 3, header.chunk_stream);
            if extended {
                out.put_u32(header.timestamp_ms);
            }
        }
        out.put_slice(piece);
    }
}

/// How many bytes [`write_message`] appends for a body of `body_bytes`.
#[must_use]
pub const fn written_bytes(chunk_bytes: u32, header: &Header, body_bytes: usize) -> usize {
    let basic = match header.chunk_stream {
        ..64 => 1,
        64..320 => 2,
        _ => 3,
    };
    let extended = if header.timestamp_ms >= EXTENDED { 4 } else { 0 };
    let chunks = body_bytes.div_ceil(chunk_bytes as usize);
    let continued = chunks.saturating_sub(1);
    basic + 11 + extended + body_bytes + continued * (basic + extended)
}

/// RTMP 1.0 §5.3.1.1.
fn write_basic_header(out: &mut impl BufMut, format: u8, chunk_stream: u32) {
    match chunk_stream {
        2..64 => out.put_u8(format << 6 | chunk_stream as u8),
        64..320 => out.put_slice(&[format << 6, (chunk_stream - 64) as u8]),
        320..65_600 => {
            out.put_u8(format << 6 | 1);
            out.put_u16_le((chunk_stream - 64) as u16);
        }
        _ => panic!("RTMP chunk streams are 2 to 65,599"),
    }
}

/// What a peer may make a [`Reader`] keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one message. A peer can grow each chunk stream's unfinished message up to it.
    pub message_bytes_max: u32,
    /// Bytes of all unfinished messages together.
    pub partial_bytes_max: u32,
    /// Chunk streams in use at once.
    pub chunk_streams_max: u16,
}

/// Puts messages together from chunks cut anywhere. Bytes are copied once, from the input into the
/// message; between messages it holds about 50 bytes for each chunk stream.
#[derive(Debug)]
pub struct Reader {
    limits: Limits,
    chunk_bytes: u32,
    chunk_streams: Vec<ChunkStream>,
    /// A chunk header that the input cut in two.
    head: [u8; HEAD_BYTES_MAX],
    head_bytes: u8,
    /// What the rest of the current chunk is.
    payload: Option<Payload>,
    partial_bytes: u32,
}

/// Basic header 3, message header 11, extended timestamp 4.
const HEAD_BYTES_MAX: usize = 18;

/// Reserved at once for a message that comes in several chunks; more grows as bytes arrive. Pages
/// that no byte arrived for are not resident.
const RESERVE_BYTES_MAX: u32 = 256 << 10;

#[derive(Debug)]
struct ChunkStream {
    id: u32,
    timestamp_ms: u32,
    /// The timestamp field of the last full header: absolute or a difference.
    field: u32,
    extended: bool,
    length: u32,
    kind: u8,
    stream: u32,
    body: BytesMut,
    /// A message has begun and is not complete.
    open: bool,
}

/// What a chunk still has to bring.
#[derive(Clone, Copy, Debug)]
struct Payload {
    /// Index of the chunk stream.
    index: usize,
    bytes: u32,
}

/// A chunk's basic header.
struct Head {
    bytes: usize,
    format: u8,
    id: u32,
}

impl Reader {
    /// A reader at the start of a connection, right behind the handshake.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            chunk_bytes: CHUNK_BYTES_INITIAL,
            chunk_streams: Vec::new(),
            head: [0; HEAD_BYTES_MAX],
            head_bytes: 0,
            payload: None,
            partial_bytes: 0,
        }
    }

    /// Takes what `input` holds up to the end of the next message, and returns that message.
    /// `None` when `input` is used up.
    ///
    /// # Errors
    /// A header that no state explains, or a limit.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Message>, Error> {
        loop {
            if self.payload.is_none() {
                if input.is_empty() && self.head_bytes == 0 {
                    return Ok(None);
                }
                self.payload = self.header(input)?;
            }
            let Some(Payload { index, bytes: left }) = self.payload else { return Ok(None) };
            if left > 0 && input.is_empty() && self.head_bytes == 0 {
                return Ok(None);
            }
            let message = self.piece(index, left, input);
            if self.partial_bytes > self.limits.partial_bytes_max {
                let max = self.limits.partial_bytes_max;
                return Err(limit("partial_bytes_max", self.partial_bytes, max));
            }
            if message.is_some() {
                return Ok(message);
            }
        }
    }

    /// Moves payload into its message: first what a header that was cut in two left over.
    fn piece(&mut self, index: usize, left: u32, input: &mut &[u8]) -> Option<Message> {
        let stream = &mut self.chunk_streams[index];
        let kept = usize::from(self.head_bytes);
        let taken = if kept > 0 {
            let taken = kept.min(left as usize);
            let message = stream.payload(&self.head[..taken], &mut self.partial_bytes);
            self.head.copy_within(taken..kept, 0);
            self.head_bytes -= taken as u8;
            (taken, message)
        } else {
            let (piece, rest) = input.split_at(input.len().min(left as usize));
            *input = rest;
            (piece.len(), stream.payload(piece, &mut self.partial_bytes))
        };
        let left = left - taken.0 as u32;
        self.payload = (left > 0).then_some(Payload { index, bytes: left });
        taken.1
    }

    /// The peer's Set Chunk Size.
    ///
    /// # Errors
    /// It is zero or has its top bit set (RTMP 1.0 §5.4.1).
    pub const fn resize_chunks(&mut self, chunk_bytes: u32) -> Result<(), Error> {
        if chunk_bytes == 0 || chunk_bytes >> 31 != 0 {
            return Err(malformed("chunk size is zero or over 31 bits"));
        }
        self.chunk_bytes = chunk_bytes;
        Ok(())
    }

    /// The peer's Abort Message: forgets the unfinished message of a chunk stream.
    pub fn abort(&mut self, chunk_stream: u32) {
        if let Some(stream) = self.chunk_streams.iter_mut().find(|s| s.id == chunk_stream) {
            stream.discard(&mut self.partial_bytes);
        }
    }

    /// Bytes of messages that are not complete yet.
    #[must_use]
    pub const fn partial_bytes(&self) -> u32 {
        self.partial_bytes
    }

    /// Replaces the limits, for a connection whose role became known.
    pub const fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Reads a chunk header from the input, across calls if it was cut in two.
    fn header(&mut self, input: &mut &[u8]) -> Result<Option<Payload>, Error> {
        if self.head_bytes == 0
            && let Some((used, payload)) = self.parse(input)?
        {
            *input = &input[used..];
            return Ok(Some(payload));
        }
        let kept = usize::from(self.head_bytes);
        let added = input.len().min(HEAD_BYTES_MAX - kept);
        self.head[kept..kept + added].copy_from_slice(&input[..added]);
        let head = self.head;
        let Some((used, payload)) = self.parse(&head[..kept + added])? else {
            self.head_bytes = (kept + added) as u8;
            *input = &input[added..];
            return Ok(None);
        };
        // Bytes that were kept for an extended timestamp may turn out to be payload.
        self.head.copy_within(used.min(kept)..kept, 0);
        self.head_bytes = kept.saturating_sub(used) as u8;
        *input = &input[used.saturating_sub(kept)..];
        Ok(Some(payload))
    }

    /// A whole chunk header at the start of `bytes`: its size and the payload behind it. `None`
    /// if it is cut short.
    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(usize, Payload)>, Error> {
        let Some(head) = basic_header(bytes) else { return Ok(None) };
        let index = self.chunk_streams.iter().position(|stream| stream.id == head.id);
        let fields = [11, 7, 3, 0][usize::from(head.format)];
        let Some(fields) = bytes.get(head.bytes..head.bytes + fields) else { return Ok(None) };
        let mut used = head.bytes + fields.len();
        let known = index.map(|index| &self.chunk_streams[index]);
        let extended = match fields {
            [a, b, c, ..] => [*a, *b, *c] == [0xff; 3],
            _ => known.is_some_and(|stream| stream.extended),
        };
        let mut field = match fields {
            [a, b, c, ..] => u32::from_be_bytes([0, *a, *b, *c]),
            _ => known.map_or(0, |stream| stream.field),
        };
        if extended {
            let Some(four) = bytes.get(used..used + 4) else { return Ok(None) };
            let value = u32::from_be_bytes([four[0], four[1], four[2], four[3]]);
            // Some peers leave it out of type 3 chunks: then these four bytes are payload.
            let repeated = head.format < 3
                || known.is_some_and(|s| value == s.field || value == s.timestamp_ms);
            if repeated {
                used += 4;
                field = if head.format < 3 { value } else { field };
            }
        }
        let index = match index {
            Some(index) => index,
            None => self.open(&head)?,
        };
        let stream = &mut self.chunk_streams[index];
        stream.header(&head, fields, (field, extended), &mut self.partial_bytes);
        if stream.length > self.limits.message_bytes_max {
            return Err(limit("message_bytes_max", stream.length, self.limits.message_bytes_max));
        }
        let missing = stream.length - stream.body.len() as u32;
        let payload = Payload { index, bytes: missing.min(self.chunk_bytes) };
        Ok(Some((used, payload)))
    }

    fn open(&mut self, head: &Head) -> Result<usize, Error> {
        // librtmp opens chunk stream 2 with a type 1 header; the rest has nothing to build on.
        if head.format > 1 {
            return Err(malformed("chunk stream starts without a full header"));
        }
        let count = self.chunk_streams.len() as u32 + 1;
        let max = self.limits.chunk_streams_max.into();
        if count > max {
            return Err(limit("chunk_streams_max", count, max));
        }
        self.chunk_streams.reserve_exact(1);
        self.chunk_streams.push(ChunkStream {
            id: head.id,
            timestamp_ms: 0,
            field: 0,
            extended: false,
            length: 0,
            kind: 0,
            stream: 0,
            body: BytesMut::new(),
            open: false,
        });
        Ok(self.chunk_streams.len() - 1)
    }
}

/// RTMP 1.0 §5.3.1.1.
fn basic_header(bytes: &[u8]) -> Option<Head> {
    let format = bytes.first()? >> 6;
    Some(match (bytes[0] & 0x3f, bytes) {
        (0, [_, low, ..]) => Head { bytes: 2, format, id: 64 + u32::from(*low) },
        (1, [_, low, high, ..]) => {
            Head { bytes: 3, format, id: 64 + u32::from(*low) + 256 * u32::from(*high) }
        }
        (0 | 1, _) => return None,
        (id, _) => Head { bytes: 1, format, id: id.into() },
    })
}

impl ChunkStream {
    /// Applies a chunk header. `timing` is the timestamp field and whether it is extended.
    fn header(&mut self, head: &Head, fields: &[u8], timing: (u32, bool), partial: &mut u32) {
        if head.format < 3 && self.open {
            // A new message where the rest of one should be: the peer has given that one up.
            self.discard(partial);
        }
        if let [_, _, _, a, b, c, kind, ..] = fields {
            self.length = u32::from_be_bytes([0, *a, *b, *c]);
            self.kind = *kind;
        }
        if let [.., a, b, c, d] = fields
            && head.format == 0
        {
            self.stream = u32::from_le_bytes([*a, *b, *c, *d]);
        }
        if self.open {
            return;
        }
        (self.field, self.extended) = timing;
        self.timestamp_ms = match head.format {
            0 => self.field,
            _ => self.timestamp_ms.wrapping_add(self.field),
        };
        self.open = true;
    }

    fn payload(&mut self, piece: &[u8], partial: &mut u32) -> Option<Message> {
        let header = Header {
            chunk_stream: self.id,
            kind: self.kind,
            stream: self.stream,
            timestamp_ms: self.timestamp_ms,
        };
        if self.body.is_empty() && piece.len() as u32 == self.length {
            self.open = false;
            return Some(Message { header, body: Bytes::copy_from_slice(piece) });
        }
        if self.body.capacity() == 0 && !piece.is_empty() {
            self.body.reserve(self.length.min(RESERVE_BYTES_MAX) as usize);
        }
        self.body.extend_from_slice(piece);
        *partial += piece.len() as u32;
        if self.body.len() as u32 != self.length {
            return None;
        }
        self.open = false;
        *partial -= self.length;
        Some(Message { header, body: core::mem::take(&mut self.body).freeze() })
    }

    fn discard(&mut self, partial: &mut u32) {
        *partial -= self.body.len() as u32;
        self.body = BytesMut::new();
        self.open = false;
    }
}

const fn malformed(reason: &'static str) -> Error {
    Error::malformed("RTMP", reason)
}

fn limit(limit: &'static str, value: u32, max: u32) -> Error {
    Error::Limit { limit, value: value.into(), max: max.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { message_bytes_max: 100_000, partial_bytes_max: 150_000, chunk_streams_max: 8 };

    fn header(chunk_stream: u32, timestamp_ms: u32) -> Header {
        Header { chunk_stream, kind: kind::VIDEO, stream: 1, timestamp_ms }
    }

    /// Everything that `bytes` hold when they arrive in pieces of `step`.
    fn read(bytes: &[u8], step: usize) -> Result<Vec<Message>, Error> {
        let mut reader = Reader::new(LIMITS);
        let mut messages = Vec::new();
        for mut piece in bytes.chunks(step) {
            while let Some(message) = reader.next(&mut piece)? {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    #[test]
    fn messages_survive_chunking_at_any_size_and_cut() {
        let bodies = [0, 1, 127, 128, 129, 1_000, 70_000];
        for chunk_stream in [2, 63, 64, 319, 320, 65_599] {
            for timestamp_ms in [0, 0xff_fffe, 0xff_ffff, 0x0100_0000, u32::MAX] {
                let (mut bytes, mut sent) = (Vec::new(), Vec::new());
                for body in bodies {
                    let body: Vec<u8> = (0..body).map(|i| (i % 251) as u8).collect();
                    let header = header(chunk_stream, timestamp_ms);
                    let before = bytes.len();
                    write_message(&mut bytes, 128, &header, &body);
                    assert_eq!(bytes.len() - before, written_bytes(128, &header, body.len()));
                    sent.push(Message { header, body: body.into() });
                }
                for step in [1, 2, 3, 5, 7, 1_000, usize::MAX] {
                    assert_eq!(read(&bytes, step).as_ref(), Ok(&sent), "{chunk_stream} {step}");
                }
            }
        }
    }

    #[test]
    fn short_headers_take_over_what_they_leave_out() {
        let mut bytes = vec![];
        write_message(&mut bytes, 128, &header(6, 1_000), b"abc");
        bytes.extend(b"\x46\0\0\x14\0\0\x02\x08de"); // type 1: +20 ms, 2 bytes, audio
        bytes.extend(b"\x86\0\0\x0afg"); // type 2: +10 ms
        bytes.extend(b"\xc6hi"); // type 3: +10 ms
        let expected = [(1_000, 9, "abc"), (1_020, 8, "de"), (1_030, 8, "fg"), (1_040, 8, "hi")];
        for step in 1..10 {
            let got = read(&bytes, step).unwrap();
            let got: Vec<_> = got
                .iter()
                .map(|m| (m.header.timestamp_ms, m.header.kind, str::from_utf8(&m.body).unwrap()))
                .collect();
            assert_eq!(got, expected);
        }
    }

    #[test]
    fn extended_timestamps_may_be_missing_from_type_3_chunks() {
        let body: Vec<u8> = (0..=255).cycle().take(300).collect();
        let header = header(6, 0x0100_0000);
        let mut bytes = vec![];
        write_message(&mut bytes, 1_000, &header, &body);
        let head = bytes.len() - body.len();
        let mut without = bytes[..head].to_vec();
        for (index, piece) in body.chunks(128).enumerate() {
            if index > 0 {
                without.push(0xc6);
            }
            without.extend(piece);
        }
        for step in [1, 2, 3, 4, 5, 129, 1_000] {
            let message = Message { header, body: body.clone().into() };
            assert_eq!(read(&without, step), Ok(vec![message]), "{step}");
        }
    }

    #[test]
    fn interleaved_and_given_up_messages_are_told_apart() {
        let mut long = vec![];
        write_message(&mut long, 128, &header(6, 0), &[1; 200]);
        let mut short = vec![];
        write_message(&mut short, 128, &header(4, 5), b"audio");
        let (first, second) = long.split_at(12 + 128);
        let interleaved = [first, &short, second].concat();
        let bodies = |bytes: &[u8]| -> Vec<usize> {
            read(bytes, 11).unwrap().iter().map(|m| m.body.len()).collect()
        };
        assert_eq!(bodies(&interleaved), [5, 200]);
        assert_eq!(bodies(&[first, &long].concat()), [200]);
        let mut reader = Reader::new(LIMITS);
        assert_eq!(reader.next(&mut &*first), Ok(None));
        assert_eq!(reader.partial_bytes(), 128);
        reader.abort(6);
        assert_eq!(reader.partial_bytes(), 0);
    }

    #[test]
    fn hostile_headers_and_sizes_are_refused() {
        let full = |length: [u8; 3]| [&[6, 0, 0, 0], &length[..], &[9, 1, 0, 0, 0]].concat();
        assert!(matches!(read(b"\xc6", 1), Err(Error::Malformed { .. })));
        assert!(matches!(read(b"\x86\0\0\0", 1), Err(Error::Malformed { .. })));
        let code = |bytes: &[u8]| match read(bytes, usize::MAX) {
            Err(Error::Limit { limit, .. }) => limit,
            other => panic!("{other:?}"),
        };
        assert_eq!(code(&full([0xff; 3])), "message_bytes_max");
        let streams: Vec<u8> =
            (3..20).flat_map(|id| [id, 0, 0, 0, 0, 0, 0, 9, 1, 0, 0, 0]).collect();
        assert_eq!(code(&streams), "chunk_streams_max");
        let mut partial = vec![];
        for id in [4, 5] {
            let mut message = vec![];
            write_message(&mut message, 128, &header(id, 0), &[0; 90_000]);
            partial.extend(&message[..12 + 128 + 600 * 129]);
        }
        assert_eq!(code(&partial), "partial_bytes_max");
        assert!(Reader::new(LIMITS).resize_chunks(0).is_err());
        assert!(Reader::new(LIMITS).resize_chunks(1 << 31).is_err());
    }
}
