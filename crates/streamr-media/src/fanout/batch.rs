//! An immutable run of whole messages, framed for whoever asks.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};
use psyne::Time;

use crate::flv::{Kind, Tag};
use crate::rtmp::chunk;

/// The RTMP message stream that every player's messages are addressed to. A server that uses the
/// fan-out must give a player this stream, which is the first that `createStream` returns.
pub const MESSAGE_STREAM_ID: u32 = 1;

/// Around each FLV tag: header (11) and previous tag size (4). FLV 10.1, E.3 and E.4.1.
const FLV_EXTRA_BYTES: usize = 15;
const EXTENDED_TIMESTAMP: u32 = 0x00ff_ffff;

/// How messages are laid out on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// RTMP chunks; each message starts with a full header (type 0), so that a player can start at
    /// any message. RTMP 1.0, 5.3.1.
    Rtmp,
    /// FLV tags, each followed by its size. FLV 10.1, E.3.
    Flv,
}

/// Where a message lies in the RTMP framing, and what the FLV framing needs to know of it.
#[derive(Clone, Copy, Debug)]
struct Mark {
    start: u32,
    body_bytes: u32,
    timestamp_ms: u32,
    kind: Kind,
}

/// Messages in the RTMP framing.
#[derive(Debug)]
struct Framed {
    bytes: Bytes,
    marks: Box<[Mark]>,
}

/// Some whole messages. The first of them is a key frame if there is a prelude.
#[derive(Debug)]
pub struct Batch {
    seq: u64,
    opened: Time,
    rtmp_bytes: usize,
    /// The messages until somebody wants them framed: most streams have no such reader, and
    /// nothing is copied for those.
    tags: Mutex<Vec<Tag>>,
    rtmp: OnceLock<Framed>,
    flv: OnceLock<Bytes>,
    chunk_bytes: u32,
    prelude: Option<Arc<Self>>,
}

impl Batch {
    /// Bytes that are the same in both framings and are sent whole: what a player is told before
    /// its first message.
    #[must_use]
    pub fn greeting(bytes: Bytes) -> Arc<Self> {
        Arc::new(Self {
            seq: 0,
            opened: Time::ZERO,
            rtmp_bytes: bytes.len(),
            tags: Mutex::default(),
            flv: OnceLock::from(bytes.clone()),
            rtmp: OnceLock::from(Framed { bytes, marks: Box::default() }),
            chunk_bytes: 1,
            prelude: None,
        })
    }

    /// Its number within the stream, counted from 0 without holes.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// When its first message came.
    #[must_use]
    pub fn opened(&self) -> Time {
        self.opened
    }

    /// Metadata and sequence headers to send before this batch to somebody who starts with it;
    /// `None` if nobody can.
    #[must_use]
    pub fn prelude(&self) -> Option<&Arc<Self>> {
        self.prelude.as_ref()
    }

    /// How many bytes it is in the RTMP framing, framed or not.
    #[must_use]
    pub fn rtmp_bytes(&self) -> usize {
        self.rtmp_bytes
    }

    /// The bytes as they go out; the first who asks frames them for all.
    #[must_use]
    pub fn bytes(&self, framing: Framing) -> &Bytes {
        match framing {
            Framing::Rtmp => &self.framed().bytes,
            Framing::Flv => self.flv.get_or_init(|| self.reframe()),
        }
    }

    /// The end of the message that byte `offset` belongs to; `offset` itself if a message begins
    /// or the batch ends there.
    #[must_use]
    pub fn message_end(&self, framing: Framing, offset: usize) -> usize {
        let whole = self.bytes(framing).len();
        let mut flv_start = 0;
        for mark in &self.framed().marks {
            let start = match framing {
                Framing::Rtmp => mark.start as usize,
                Framing::Flv => flv_start,
            };
            if start >= offset {
                return start;
            }
            flv_start += mark.body_bytes as usize + FLV_EXTRA_BYTES;
        }
        whole
    }

    fn framed(&self) -> &Framed {
        self.rtmp.get_or_init(|| {
            let mut tags = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
            frame(&core::mem::take(&mut *tags), self.chunk_bytes, self.rtmp_bytes)
        })
    }

    fn reframe(&self) -> Bytes {
        let Framed { marks, .. } = self.framed();
        let bodies: usize = marks.iter().map(|m| m.body_bytes as usize).sum();
        let mut out = BytesMut::with_capacity(bodies + marks.len() * FLV_EXTRA_BYTES);
        for mark in marks {
            put_flv_header(&mut out, mark);
            self.put_body(&mut out, mark);
            out.put_u32(mark.body_bytes + 11);
        }
        out.freeze()
    }

    /// Copies a body without the chunk headers between its pieces.
    fn put_body(&self, out: &mut BytesMut, mark: &Mark) {
        let extended = if mark.timestamp_ms >= EXTENDED_TIMESTAMP { 4 } else { 0 };
        let mut at = mark.start as usize + 12 + extended;
        let mut left = mark.body_bytes as usize;
        while left > 0 {
            let piece = left.min(self.chunk_bytes as usize);
            out.put_slice(&self.framed().bytes[at..at + piece]);
            left -= piece;
            at += piece + 1 + extended;
        }
    }
}

fn put_flv_header(out: &mut BytesMut, mark: &Mark) {
    out.put_u8(mark.kind as u8);
    out.put_uint(u64::from(mark.body_bytes), 3);
    out.put_uint(u64::from(mark.timestamp_ms & 0x00ff_ffff), 3);
    out.put_u8((mark.timestamp_ms >> 24) as u8);
    out.put_uint(0, 3);
}

fn frame(tags: &[Tag], chunk_bytes: u32, rtmp_bytes: usize) -> Framed {
    let mut bytes = BytesMut::with_capacity(rtmp_bytes);
    let mut marks = Vec::with_capacity(tags.len());
    for tag in tags {
        marks.push(Mark {
            start: bytes.len() as u32,
            body_bytes: tag.body.len() as u32,
            timestamp_ms: tag.timestamp_ms,
            kind: tag.kind,
        });
        let header = chunk::Header::of(tag, MESSAGE_STREAM_ID);
        chunk::write_message(&mut bytes, chunk_bytes, &header, &tag.body);
    }
    Framed { bytes: bytes.freeze(), marks: marks.into() }
}

/// A batch that is still growing.
#[derive(Debug)]
pub(super) struct Builder {
    chunk_bytes: u32,
    rtmp_bytes: usize,
    tags: Vec<Tag>,
    opened: Time,
}

impl Builder {
    pub(super) fn new(chunk_bytes: u32) -> Self {
        Self { chunk_bytes, rtmp_bytes: 0, tags: Vec::new(), opened: Time::ZERO }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.rtmp_bytes
    }

    /// Appends a tag; its body is shorter than 2²⁴ bytes.
    pub(super) fn push(&mut self, now: Time, tag: &Tag) {
        if self.tags.is_empty() {
            self.opened = now;
        }
        let header = chunk::Header::of(tag, MESSAGE_STREAM_ID);
        self.rtmp_bytes += chunk::written_bytes(self.chunk_bytes, &header, tag.body.len());
        self.tags.push(tag.clone());
    }

    /// Takes what was appended as a finished batch and starts the next.
    pub(super) fn seal(&mut self, seq: u64, prelude: Option<Arc<Batch>>) -> Arc<Batch> {
        let mut tags = core::mem::take(&mut self.tags);
        tags.shrink_to_fit();
        Arc::new(Batch {
            seq,
            opened: self.opened,
            rtmp_bytes: core::mem::take(&mut self.rtmp_bytes),
            tags: Mutex::new(tags),
            rtmp: OnceLock::new(),
            flv: OnceLock::new(),
            chunk_bytes: self.chunk_bytes,
            prelude,
        })
    }
}
