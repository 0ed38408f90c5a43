//! Frames in a stream (RFC 8656 §3.1, §12.5).

use bytes::{Buf, Bytes, BytesMut};

use crate::Error;

/// Finds STUN messages and ChannelData in what a TCP or TLS connection brings.
///
/// It holds no more than one frame that has begun, and what [`Framer::push`] was given: drain it
/// after each push.
#[derive(Debug)]
pub struct Framer {
    frame_bytes_max: usize,
    buffer: BytesMut,
    broken: bool,
}

impl Framer {
    /// The longest that a frame can say it is: 64 KiB of data and its padding.
    pub const FRAME_BYTES_MAX: usize = crate::stun::MESSAGE_BYTES_MAX;

    /// Frames no longer than this are taken.
    #[must_use]
    pub fn new(frame_bytes_max: usize) -> Self {
        Self { frame_bytes_max, buffer: BytesMut::new(), broken: false }
    }

    /// Bytes came.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.broken {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next whole frame, with its padding, if there is one.
    ///
    /// # Errors
    /// What comes is no frame, or one that is too long. Nothing after it can be read: close the
    /// connection.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, Error> {
        if self.broken {
            return Err(Error::Malformed { what: "a stream of TURN frames" });
        }
        let Some(length) = frame_bytes(&self.buffer).inspect_err(|_| self.broken = true)? else {
            return Ok(None);
        };
        if length > self.frame_bytes_max {
            self.broken = true;
            return Err(Error::TooMuch { what: "frame_bytes_max", max: self.frame_bytes_max });
        }
        if self.buffer.len() < length {
            return Ok(None);
        }
        let frame = self.buffer.copy_to_bytes(length);
        Ok(Some(frame))
    }
}

/// How long the frame is that begins here, once that can be told.
fn frame_bytes(bytes: &[u8]) -> Result<Option<usize>, Error> {
    let Some(head) = bytes.first_chunk::<4>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    match head[0] {
        0x00..=0x3F if length % 4 == 0 => Ok(Some(crate::stun::HEADER_BYTES + length)),
        0x40..=0x7F => Ok(Some((super::CHANNEL_HEADER_BYTES + length).next_multiple_of(4))),
        _ => Err(Error::Malformed { what: "a stream of TURN frames" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stun::binding_request;

    fn frames() -> [Vec<u8>; 3] {
        [binding_request([1; 12]), vec![0x40, 0, 0, 3, 1, 2, 3, 0], binding_request([2; 12])]
    }

    #[test]
    fn frames_are_found_however_the_stream_is_cut() {
        let stream = frames().concat();
        for piece in 1..=stream.len() {
            let mut framer = Framer::new(100);
            let mut found = vec![];
            for bytes in stream.chunks(piece) {
                framer.push(bytes);
                while let Some(frame) = framer.next_frame().expect("well formed") {
                    found.push(frame.to_vec());
                }
            }
            assert_eq!(found, frames(), "cut every {piece} bytes");
        }
    }

    #[test]
    fn a_frame_over_the_limit_ends_the_stream() {
        let mut framer = Framer::new(100);
        framer.push(&[0x40, 0, 0, 97]);
        assert_eq!(framer.next_frame().unwrap_err().code(), "rtc.too_much");
        framer.push(&binding_request([1; 12]));
        assert!(framer.next_frame().is_err(), "it stays over");
        assert!(framer.buffer.len() <= 4, "and keeps nothing more");
    }

    #[test]
    fn what_is_no_frame_ends_the_stream() {
        for bad in [[0x80, 0, 0, 0], [0xFF; 4], [0, 1, 0, 3]] {
            let mut framer = Framer::new(100);
            framer.push(&bad);
            assert_eq!(framer.next_frame().unwrap_err().code(), "rtc.malformed", "{bad:?}");
        }
    }
}
