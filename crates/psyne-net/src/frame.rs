//! The bytes of a channel where the transport has no messages of its own (docs/wire/channel.md).

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::Error;
use crate::channel::{Kind, Message, Reason};

/// Longest message that a frame's three bytes of length can tell.
pub const MESSAGE_BYTES_MAX: usize = (1 << 24) - 1;
/// Before each frame in a stream: its kind, and its length in three bytes.
pub const HEADER_BYTES: usize = 4;
/// Longest hello that is read: what later versions add has room.
pub const HELLO_BYTES_MAX: usize = 512;

/// Messages up to this are copied out of what was read, so that a short one, kept for long,
/// does not keep a whole block alive.
const COPY_BYTES_MAX: usize = 4096;
const MAGIC: &[u8; 8] = b"psyne\r\n\0";
const VERSION: u8 = 1;
const HELLO_HEADER_BYTES: usize = 12;

const BINARY: u8 = 0;
const TEXT: u8 = 1;
const PING: u8 = 2;
const PONG: u8 = 3;
const CLOSE: u8 = 4;

/// What each side says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Longest message that it takes.
    pub message_bytes_max: usize,
}

impl Hello {
    /// Writes it.
    pub fn encode(self, into: &mut BytesMut) {
        into.put_slice(MAGIC);
        into.put_slice(&[VERSION, 0, 0, 4]);
        into.put_u32(self.message_bytes_max.min(MESSAGE_BYTES_MAX) as u32);
    }

    /// Takes it from the front of what came, or says that it is not there yet.
    ///
    /// # Errors
    /// `Handshake`: the other side is no channel, or speaks another version.
    pub fn decode(from: &mut BytesMut) -> Result<Option<Self>, Error> {
        let refuse = |why: String| Err(Error::Handshake { why });
        let start = from.len().min(MAGIC.len());
        if from.get(..start) != MAGIC.get(..start) {
            return refuse("it does not speak Psyne's channels".to_owned());
        }
        let Some(&[version, _, high, low]) = from.get(MAGIC.len()..HELLO_HEADER_BYTES) else {
            return Ok(None);
        };
        if version != VERSION {
            return refuse(format!("it speaks version {version}, and we {VERSION}"));
        }
        let rest = usize::from(u16::from_be_bytes([high, low]));
        if rest < 4 || HELLO_HEADER_BYTES + rest > HELLO_BYTES_MAX {
            return refuse("its hello has a wrong length".to_owned());
        }
        if from.len() < HELLO_HEADER_BYTES + rest {
            return Ok(None);
        }
        let mut hello = from.split_to(HELLO_HEADER_BYTES + rest);
        hello.advance(HELLO_HEADER_BYTES);
        let message_bytes_max = (hello.get_u32() as usize).min(MESSAGE_BYTES_MAX);
        Ok(Some(Self { message_bytes_max }))
    }
}

/// What sides say to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A message.
    Message(Message),
    /// Asks for a [`Frame::Pong`] with the same number.
    Ping(u64),
    /// The answer.
    Pong(u64),
    /// The sender says nothing more.
    Close(Reason),
}

impl Frame {
    /// Its kind as a number, and the bytes that follow.
    fn parts(&self) -> (u8, Bytes) {
        match self {
            Self::Message(message) => (message_kind(message), message.data().clone()),
            Self::Ping(number) => (PING, Bytes::copy_from_slice(&number.to_be_bytes())),
            Self::Pong(number) => (PONG, Bytes::copy_from_slice(&number.to_be_bytes())),
            Self::Close(reason) => {
                let code = reason.code().to_be_bytes();
                (CLOSE, [&code, reason.text().as_bytes()].concat().into())
            }
        }
    }

    /// Writes it as a stream has it. A message must be no longer than [`MESSAGE_BYTES_MAX`].
    pub fn encode(&self, into: &mut BytesMut) {
        let (kind, payload) = self.parts();
        into.put_slice(&header(kind, payload.len()));
        into.put_slice(&payload);
    }

    /// Writes it as a datagram has it: the kind, and the rest of the datagram.
    pub fn encode_datagram(&self, into: &mut BytesMut) {
        let (kind, payload) = self.parts();
        into.put_u8(kind);
        into.put_slice(&payload);
    }

    /// Takes one from the front of a stream, or says that it is not there yet.
    ///
    /// # Errors
    /// `Protocol`.
    pub fn decode(from: &mut BytesMut, message_bytes_max: usize) -> Result<Option<Self>, Error> {
        let Some(&[kind, high, middle, low]) = from.get(..HEADER_BYTES) else { return Ok(None) };
        let bytes = u32::from_be_bytes([0, high, middle, low]) as usize;
        if bytes > limit(kind, message_bytes_max)? {
            return Err(Error::Protocol("a frame is longer than was agreed"));
        }
        if from.len() < HEADER_BYTES + bytes {
            return Ok(None);
        }
        from.advance(HEADER_BYTES);
        let payload = from.split_to(bytes);
        let copies = bytes <= COPY_BYTES_MAX;
        let payload = if copies { Bytes::copy_from_slice(&payload) } else { payload.freeze() };
        Self::of(kind, payload).map(Some)
    }

    /// Reads a datagram.
    ///
    /// # Errors
    /// `Protocol`.
    pub fn decode_datagram(mut from: Bytes, message_bytes_max: usize) -> Result<Self, Error> {
        if from.is_empty() {
            return Err(Error::Protocol("a datagram is empty"));
        }
        let kind = from.get_u8();
        if from.len() > limit(kind, message_bytes_max)? {
            return Err(Error::Protocol("a frame is longer than was agreed"));
        }
        Self::of(kind, from)
    }

    fn of(kind: u8, mut payload: Bytes) -> Result<Self, Error> {
        let message = |kind, payload| {
            let text = Error::Protocol("a text is not UTF-8");
            Message::received(kind, payload).map(Self::Message).ok_or(text)
        };
        match kind {
            BINARY => message(Kind::Binary, payload),
            TEXT => message(Kind::Text, payload),
            PING | PONG if payload.len() != 8 => Err(Error::Protocol("a ping is not 8 bytes")),
            PING => Ok(Self::Ping(payload.get_u64())),
            PONG => Ok(Self::Pong(payload.get_u64())),
            _ if payload.len() < 2 => Err(Error::Protocol("a close has no code")),
            _ => {
                let code = payload.get_u16();
                let text = core::str::from_utf8(&payload);
                let text = text.map_err(|_| Error::Protocol("a reason is not UTF-8"))?;
                Ok(Self::Close(Reason::new(code, text)))
            }
        }
    }
}

/// What stands before a message in a stream.
#[must_use]
pub fn message_header(message: &Message) -> [u8; HEADER_BYTES] {
    header(message_kind(message), message.len())
}

fn message_kind(message: &Message) -> u8 {
    match message.kind() {
        Kind::Binary => BINARY,
        Kind::Text => TEXT,
    }
}

fn header(kind: u8, bytes: usize) -> [u8; HEADER_BYTES] {
    debug_assert!(bytes <= MESSAGE_BYTES_MAX, "the sender's limit is below");
    let [_, high, middle, low] = (bytes as u32).to_be_bytes();
    [kind, high, middle, low]
}

/// Most bytes that may follow.
fn limit(kind: u8, message_bytes_max: usize) -> Result<usize, Error> {
    match kind {
        BINARY | TEXT => Ok(message_bytes_max),
        PING | PONG => Ok(8),
        CLOSE => Ok(2 + Reason::TEXT_BYTES_MAX),
        _ => Err(Error::Protocol("a frame is of no kind that we know")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames() -> impl Strategy<Value = Frame> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..6_000)
                .prop_map(|bytes| Frame::Message(Message::from(bytes))),
            any::<String>().prop_map(|text| Frame::Message(Message::from(text))),
            any::<u64>().prop_map(Frame::Ping),
            any::<u64>().prop_map(Frame::Pong),
            (any::<u16>(), any::<String>())
                .prop_map(|(code, text)| Frame::Close(Reason::new(code, &text))),
        ]
    }

    proptest! {
        #[test]
        fn frames_are_read_as_they_were_written_however_they_are_cut(
            frames in proptest::collection::vec(frames(), 0..8),
            cut in 1_usize..999,
        ) {
            let mut written = BytesMut::new();
            for frame in &frames {
                frame.encode(&mut written);
                let mut datagram = BytesMut::new();
                frame.encode_datagram(&mut datagram);
                prop_assert_eq!(&Frame::decode_datagram(datagram.freeze(), 1 << 20)?, frame);
            }
            let (mut read, mut came) = (Vec::new(), BytesMut::new());
            for piece in written.chunks(cut) {
                came.put_slice(piece);
                while let Some(frame) = Frame::decode(&mut came, 1 << 20)? {
                    read.push(frame);
                }
            }
            prop_assert_eq!(read, frames);
            prop_assert!(came.is_empty());
        }

        #[test]
        fn any_bytes_are_frames_or_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..99),
        ) {
            let mut from = BytesMut::from(&bytes[..]);
            while let Ok(Some(frame)) = Frame::decode(&mut from, 64) {
                if let Frame::Message(message) = frame {
                    prop_assert!(message.len() <= 64);
                }
            }
            let _ = Hello::decode(&mut BytesMut::from(&bytes[..]));
            let _ = Frame::decode_datagram(bytes.into(), 64);
        }
    }

    #[test]
    fn what_no_side_writes_is_refused_before_it_is_waited_for() {
        for (bytes, why) in [
            (&[9, 0, 0, 0][..], "of no kind"),
            (&[0, 0, 0, 65], "longer than was agreed"),
            (&[0, 0xff, 0xff, 0xff], "longer than was agreed"),
            (&[2, 0, 0, 9], "longer than was agreed"),
            (&[2, 0, 0, 1, 0], "8 bytes"),
            (&[4, 0, 0, 0], "no code"),
            (&[4, 0, 0, 126], "longer than was agreed"),
            (&[4, 0, 0, 3, 3, 0xe8, 0xff], "not UTF-8"),
            (&[1, 0, 0, 1, 0xff], "not UTF-8"),
        ] {
            let error = Frame::decode(&mut BytesMut::from(bytes), 64).unwrap_err();
            assert!(error.to_string().contains(why), "{bytes:?}: {error}");
            assert_eq!(error.code(), "protocol");
        }
        assert!(Frame::decode_datagram(Bytes::new(), 64).is_err());
    }

    #[test]
    fn a_hello_is_known_by_its_first_bytes_and_may_grow() {
        let mut bytes = BytesMut::new();
        let hello = Hello { message_bytes_max: 70_000 };
        hello.encode(&mut bytes);
        let whole = bytes.clone();
        assert_eq!(Hello::decode(&mut bytes), Ok(Some(hello)));
        assert!(bytes.is_empty());
        for end in 0..whole.len() {
            assert_eq!(Hello::decode(&mut BytesMut::from(&whole[..end])), Ok(None), "{end}");
        }
        let mut longer = BytesMut::from(&whole[..]);
        (longer[11], longer[9]) = (6, 77);
        longer.put_slice(&[1, 2, 3]);
        assert_eq!(Hello::decode(&mut longer), Ok(Some(hello)), "unknown things are ignored");
        assert_eq!(&longer[..], [3]);
        for (at, byte, why) in
            [(0, b'G', "does not speak"), (8, 2, "version 2"), (10, 2, "length"), (11, 3, "length")]
        {
            let mut wrong = BytesMut::from(&whole[..]);
            wrong[at] = byte;
            let error = Hello::decode(&mut wrong).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
