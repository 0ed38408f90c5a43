//! Counts the messages in what a server sends to a player, without keeping any of it.
//!
//! The project's own client assembles each message; with thousands of players that would make the
//! loader, not the server, the limit. RTMP 1.0, 5.3.

use std::collections::HashMap;

/// S0, S1 and S2, which come before the first chunk.
const HANDSHAKE_BYTES: usize = 1 + 2 * 1_536;
const SET_CHUNK_SIZE: u8 = 1;
const EXTENDED: u32 = 0x00ff_ffff;
/// Basic header, message header, extended timestamp, and the body of "set chunk size".
const HEAD_BYTES_MAX: usize = 3 + 11 + 4 + 4;

/// Audio, video, data.
const MEDIA: [u8; 4] = [8, 9, 15, 18];

#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    length: usize,
    left: usize,
    kind: u8,
    extended: bool,
}

/// Reads chunks as they come, cut anywhere.
#[derive(Debug)]
pub(crate) struct Counter {
    chunk_bytes: usize,
    skip: usize,
    head: [u8; HEAD_BYTES_MAX],
    have: usize,
    streams: HashMap<u32, Stream>,
    /// Whole audio, video and data messages so far.
    pub(crate) messages: u64,
    /// Their bytes, headers aside.
    pub(crate) bytes: u64,
}

impl Counter {
    /// Before the first byte from the server.
    pub(crate) fn new() -> Self {
        Self {
            chunk_bytes: 128,
            skip: HANDSHAKE_BYTES,
            head: [0; HEAD_BYTES_MAX],
            have: 0,
            streams: HashMap::new(),
            messages: 0,
            bytes: 0,
        }
    }

    /// Takes the next bytes.
    pub(crate) fn push(&mut self, mut input: &[u8]) {
        while !input.is_empty() {
            if self.skip > 0 {
                let step = self.skip.min(input.len());
                self.skip -= step;
                input = &input[step..];
                continue;
            }
            self.head[self.have] = input[0];
            self.have += 1;
            input = &input[1..];
            if self.chunk() {
                self.have = 0;
            }
        }
    }

    /// Acts on the chunk header once it is whole.
    fn chunk(&mut self) -> bool {
        let (format, short) = (self.head[0] >> 6, self.head[0] & 63);
        let basic = [2, 3].get(usize::from(short)).copied().unwrap_or(1);
        let after = [11, 7, 3, 0][usize::from(format)];
        if self.have < basic + after {
            return false;
        }
        let id = match basic {
            1 => u32::from(short),
            2 => 64 + u32::from(self.head[1]),
            _ => 64 + u32::from(self.head[1]) + 256 * u32::from(self.head[2]),
        };
        let mut stream = self.streams.get(&id).copied().unwrap_or_default();
        let field = &self.head[basic..];
        let be24 = |at: usize| {
            field[at..at + 3].iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte))
        };
        if format < 3 {
            stream.extended = be24(0) == EXTENDED;
        }
        if format < 2 {
            stream.length = be24(3) as usize;
            stream.kind = field[6];
        }
        let size = basic + after + if stream.extended { 4 } else { 0 };
        let resize = stream.kind == SET_CHUNK_SIZE && stream.length == 4;
        if self.have < size + if resize { 4 } else { 0 } {
            return false;
        }
        if resize {
            let value: [u8; 4] = self.head[size..size + 4].try_into().expect("four bytes");
            self.chunk_bytes = u32::from_be_bytes(value) as usize;
        } else {
            self.body(&mut stream, format);
        }
        self.streams.insert(id, stream);
        true
    }

    fn body(&mut self, stream: &mut Stream, format: u8) {
        if format < 3 || stream.left == 0 {
            stream.left = stream.length;
        }
        self.skip = stream.left.min(self.chunk_bytes);
        stream.left -= self.skip;
        if stream.left == 0 && MEDIA.contains(&stream.kind) {
            self.messages += 1;
            self.bytes += stream.length as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_however_it_is_cut() {
        let mut wire = vec![0; HANDSHAKE_BYTES];
        wire.extend([2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 10]); // chunks of 10 bytes
        wire.extend([4, 0, 0, 0, 0, 0, 25, 9, 1, 0, 0, 0]); // 25 bytes of video
        for part in [10, 10, 5] {
            wire.extend(std::iter::repeat_n(7, part));
            wire.push(0xc4);
        }
        wire.pop();
        wire.extend([0x44, 0xff, 0xff, 0xff, 0, 0, 3, 8, 1, 0, 0, 0, 1, 2, 3]); // extended time
        wire.extend([3, 0, 0, 0, 0, 0, 2, 20, 0, 0, 0, 0, 9, 9]); // a command does not count
        for step in [1, 7, wire.len()] {
            let mut counter = Counter::new();
            wire.chunks(step).for_each(|bytes| counter.push(bytes));
            assert_eq!((counter.messages, counter.bytes), (2, 28), "in steps of {step}");
        }
    }
}
