//! Packets and chunks as bytes (RFC 9260, 3; RFC 8260, 2; RFC 6525, 4; RFC 3758, 3).
//! Nothing here keeps state, and nothing foreign is indexed.

use bytes::{BufMut, BytesMut};

/// Bytes of the common header.
pub(super) const HEADER_BYTES: usize = 12;
/// Bytes of a DATA chunk before its payload.
pub(super) const DATA_BYTES: usize = 16;
/// Bytes of an I-DATA chunk before its payload.
pub(super) const I_DATA_BYTES: usize = 20;

/// Types of chunks.
pub(super) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const INIT: u8 = 1;
    pub(crate) const INIT_ACK: u8 = 2;
    pub(crate) const SACK: u8 = 3;
    pub(crate) const HEARTBEAT: u8 = 4;
    pub(crate) const HEARTBEAT_ACK: u8 = 5;
    pub(crate) const ABORT: u8 = 6;
    pub(crate) const SHUTDOWN: u8 = 7;
    pub(crate) const SHUTDOWN_ACK: u8 = 8;
    pub(crate) const ERROR: u8 = 9;
    pub(crate) const COOKIE_ECHO: u8 = 10;
    pub(crate) const COOKIE_ACK: u8 = 11;
    pub(crate) const SHUTDOWN_COMPLETE: u8 = 14;
    pub(crate) const I_DATA: u8 = 64;
    pub(crate) const RE_CONFIG: u8 = 130;
    pub(crate) const PAD: u8 = 132;
    pub(crate) const FORWARD_TSN: u8 = 192;
    pub(crate) const I_FORWARD_TSN: u8 = 194;
}

/// Types of parameters.
pub(super) mod parameter {
    pub(crate) const STATE_COOKIE: u16 = 7;
    pub(crate) const UNRECOGNIZED: u16 = 8;
    pub(crate) const OUTGOING_RESET: u16 = 13;
    pub(crate) const INCOMING_RESET: u16 = 14;
    pub(crate) const TSN_RESET: u16 = 15;
    pub(crate) const RESPONSE: u16 = 16;
    pub(crate) const ADD_OUTGOING: u16 = 17;
    pub(crate) const ADD_INCOMING: u16 = 18;
    pub(crate) const ZERO_CHECKSUM: u16 = 0x8001;
    pub(crate) const SUPPORTED_EXTENSIONS: u16 = 0x8008;
    pub(crate) const FORWARD_TSN_SUPPORTED: u16 = 0xC000;
}

/// Causes of errors (RFC 9260, 3.3.10).
pub(super) mod cause {
    pub(crate) const INVALID_STREAM: u16 = 1;
    pub(crate) const STALE_COOKIE: u16 = 3;
    pub(crate) const OUT_OF_RESOURCE: u16 = 4;
    pub(crate) const UNRECOGNIZED_CHUNK: u16 = 6;
    pub(crate) const NO_USER_DATA: u16 = 9;
    pub(crate) const USER_ABORT: u16 = 12;
    pub(crate) const PROTOCOL_VIOLATION: u16 = 13;
}

/// Flags of DATA and I-DATA.
pub(super) mod flag {
    pub(crate) const END: u8 = 1;
    pub(crate) const BEGIN: u8 = 2;
    pub(crate) const UNORDERED: u8 = 4;
    pub(crate) const IMMEDIATE: u8 = 8;
}

/// The zero checksum's error detection method: DTLS (RFC 9653, 8).
pub(super) const DETECTED_BY_DTLS: u32 = 1;

/// Takes `N` bytes off the front.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

pub(super) fn take_u16(bytes: &mut &[u8]) -> Option<u16> {
    take(bytes).map(u16::from_be_bytes)
}

pub(super) fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    take(bytes).map(u32::from_be_bytes)
}

pub(super) fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes).map(u64::from_be_bytes)
}

/// The common header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) source: u16,
    pub(super) destination: u16,
    pub(super) tag: u32,
}

/// How a packet proved that it is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sum {
    Right,
    /// Zero, and not by chance.
    Absent,
    Wrong,
}

/// The header, what the checksum says, and the chunks. `None`: shorter than a header and a chunk.
pub(super) fn parse(packet: &[u8]) -> Option<(Header, Sum, &[u8])> {
    let mut rest = packet;
    let (source, destination) = (take_u16(&mut rest)?, take_u16(&mut rest)?);
    let tag = take_u32(&mut rest)?;
    let sum: [u8; 4] = take(&mut rest)?;
    if rest.len() < 4 {
        return None;
    }
    let sum = match u32::from_le_bytes(sum) {
        // Who may leave it out mostly does; who may not is told apart by the caller.
        0 => Sum::Absent,
        sum if sum == checksum(packet) => Sum::Right,
        _ => Sum::Wrong,
    };
    Some((Header { source, destination, tag }, sum, rest))
}

/// CRC32c over the packet with its checksum as zero (RFC 9260, appendix A).
pub(super) fn checksum(packet: &[u8]) -> u32 {
    let (head, rest) = packet.split_at(8.min(packet.len()));
    let state = crc32c::crc32c_append(crc32c::crc32c(head), &[0; 4]);
    crc32c::crc32c_append(state, rest.get(4..).unwrap_or_default())
}

/// Begins a packet; its checksum is zero until [`seal`].
pub(super) fn begin(packet: &mut BytesMut, header: Header) {
    debug_assert!(packet.is_empty(), "a packet begins where nothing is");
    packet.put_u16(header.source);
    packet.put_u16(header.destination);
    packet.put_u32(header.tag);
    packet.put_u32(0);
}

/// Writes the checksum of a finished packet.
pub(super) fn seal(packet: &mut [u8]) {
    let sum = crc32c::crc32c(packet);
    if let Some(place) = packet.get_mut(8..HEADER_BYTES) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
}

/// One chunk, or one parameter or cause when `kind` does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk<'a> {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) value: &'a [u8],
}

/// Takes the next chunk; `None`: its length is impossible.
pub(super) fn take_chunk<'a>(rest: &mut &'a [u8]) -> Option<Chunk<'a>> {
    let (&[kind, flags, high, low], _) = rest.split_first_chunk::<4>()?;
    let value = take_padded(rest, usize::from(u16::from_be_bytes([high, low])))?;
    Some(Chunk { kind, flags, value })
}

/// Takes the next parameter; `None`: its length is impossible.
pub(super) fn take_parameter<'a>(rest: &mut &'a [u8]) -> Option<(u16, &'a [u8])> {
    let (&[first, second, high, low], _) = rest.split_first_chunk::<4>()?;
    let value = take_padded(rest, usize::from(u16::from_be_bytes([high, low])))?;
    Some((u16::from_be_bytes([first, second]), value))
}

/// What stands in `length` bytes after their first four, and off with it and its padding. The
/// padding of the last one may be missing, as RFC 9260, 3.2 lets a receiver accept.
fn take_padded<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let value = rest.get(4..length)?;
    *rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some(value)
}

/// Writes a chunk whose value `write` writes, and pads it.
pub(super) fn chunk(out: &mut BytesMut, kind: u8, flags: u8, write: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.extend_from_slice(&[kind, flags, 0, 0]);
    write(out);
    close(out, start);
}

/// Writes a parameter or a cause whose value `write` writes, and pads it.
pub(super) fn tlv(out: &mut BytesMut, name: u16, write: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u16(name);
    out.put_u16(0);
    write(out);
    close(out, start);
}

fn close(out: &mut BytesMut, start: usize) {
    let length = u16::try_from(out.len() - start).expect("chunks are made to fit a packet");
    out[start + 2..start + 4].copy_from_slice(&length.to_be_bytes());
    pad(out, start);
}

fn pad(out: &mut BytesMut, start: usize) {
    let padding = (out.len() - start).next_multiple_of(4) - (out.len() - start);
    out.extend_from_slice(&[0; 3][..padding]);
}

/// A DATA or I-DATA chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Data<'a> {
    pub(super) interleaved: bool,
    pub(super) flags: u8,
    pub(super) tsn: u32,
    pub(super) stream: u16,
    /// SSN of DATA, MID of I-DATA.
    pub(super) number: u32,
    /// Payload protocol; of I-DATA only in the first fragment.
    pub(super) protocol: u32,
    /// Fragment's number; of I-DATA only.
    pub(super) fragment: u32,
    pub(super) payload: &'a [u8],
}

impl<'a> Data<'a> {
    pub(super) fn parse(chunk: Chunk<'a>) -> Option<Self> {
        let mut rest = chunk.value;
        let interleaved = chunk.kind == kind::I_DATA;
        let (tsn, stream) = (take_u32(&mut rest)?, take_u16(&mut rest)?);
        let short = take_u16(&mut rest)?;
        let number = if interleaved { take_u32(&mut rest)? } else { short.into() };
        let last = take_u32(&mut rest)?;
        let begins = chunk.flags & flag::BEGIN != 0;
        Some(Self {
            interleaved,
            flags: chunk.flags,
            tsn,
            stream,
            number,
            protocol: if begins || !interleaved { last } else { 0 },
            fragment: if begins || !interleaved { 0 } else { last },
            payload: rest,
        })
    }

    pub(super) fn write(&self, out: &mut BytesMut) {
        let start = out.len();
        let head = if self.interleaved { I_DATA_BYTES } else { DATA_BYTES };
        let kind = if self.interleaved { kind::I_DATA } else { kind::DATA };
        let length = u16::try_from(head + self.payload.len()).expect("a fragment fits a packet");
        out.put_u8(kind);
        out.put_u8(self.flags);
        out.put_u16(length);
        out.put_u32(self.tsn);
        out.put_u16(self.stream);
        if self.interleaved {
            out.put_u16(0);
            out.put_u32(self.number);
            let begins = self.flags & flag::BEGIN != 0;
            out.put_u32(if begins { self.protocol } else { self.fragment });
        } else {
            out.put_u16(self.number as u16);
            out.put_u32(self.protocol);
        }
        out.extend_from_slice(self.payload);
        pad(out, start);
    }
}

/// A SACK chunk as it came, its lists still bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sack<'a> {
    pub(super) cumulative: u32,
    pub(super) window: u32,
    gaps: &'a [u8],
    duplicates: &'a [u8],
}

impl<'a> Sack<'a> {
    pub(super) fn parse(value: &'a [u8]) -> Option<Self> {
        let mut rest = value;
        let (cumulative, window) = (take_u32(&mut rest)?, take_u32(&mut rest)?);
        let gaps = 4 * usize::from(take_u16(&mut rest)?);
        let duplicates = 4 * usize::from(take_u16(&mut rest)?);
        let (gaps, rest) = rest.split_at_checked(gaps)?;
        Some(Self { cumulative, window, gaps, duplicates: rest.get(..duplicates)? })
    }

    /// One without lists, as SHUTDOWN has it.
    pub(super) fn of(cumulative: u32, window: u32) -> Self {
        Self { cumulative, window, gaps: &[], duplicates: &[] }
    }

    /// First and last of each block, counted from the cumulative TSN.
    pub(super) fn gaps(&self) -> impl Iterator<Item = (u16, u16)> + 'a {
        self.gaps
            .as_chunks::<4>()
            .0
            .iter()
            .map(|&[a, b, c, d]| (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
    }

    pub(super) fn duplicates(&self) -> usize {
        self.duplicates.len() / 4
    }
}

/// INIT and INIT ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Init<'a> {
    pub(super) tag: u32,
    pub(super) window: u32,
    pub(super) streams_out: u16,
    pub(super) streams_in: u16,
    pub(super) tsn: u32,
    pub(super) offers: Offers,
    pub(super) cookie: &'a [u8],
}

/// Extensions that an end offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Offers {
    pub(super) forward: bool,
    pub(super) interleaving: bool,
    pub(super) reset: bool,
    pub(super) zero_checksum: bool,
}

impl Offers {
    /// In one byte, for the cookie.
    pub(super) fn bits(self) -> u8 {
        u8::from(self.forward)
            | u8::from(self.interleaving) << 1
            | u8::from(self.reset) << 2
            | u8::from(self.zero_checksum) << 3
    }

    pub(super) fn from_bits(bits: u8) -> Self {
        Self {
            forward: bits & 1 != 0,
            interleaving: bits & 2 != 0,
            reset: bits & 4 != 0,
            zero_checksum: bits & 8 != 0,
        }
    }

    fn learn(&mut self, name: u16, value: &[u8]) {
        match name {
            parameter::FORWARD_TSN_SUPPORTED => self.forward = true,
            parameter::ZERO_CHECKSUM => {
                self.zero_checksum |= take_u32(&mut &*value) == Some(DETECTED_BY_DTLS);
            }
            parameter::SUPPORTED_EXTENSIONS => {
                self.reset |= value.contains(&kind::RE_CONFIG);
                self.interleaving |=
                    value.contains(&kind::I_DATA) && value.contains(&kind::I_FORWARD_TSN);
                self.forward |= value.contains(&kind::FORWARD_TSN);
            }
            _ => {}
        }
    }
}

impl<'a> Init<'a> {
    /// Reads it, and hands each parameter that must be reported and is not known to `unknown`.
    /// `None`: a field is missing or one that may not be zero is (RFC 9260, 3.3.2).
    pub(super) fn parse(value: &'a [u8], mut unknown: impl FnMut(u16, &'a [u8])) -> Option<Self> {
        let mut rest = value;
        let mut init = Self {
            tag: take_u32(&mut rest)?,
            window: take_u32(&mut rest)?,
            streams_out: take_u16(&mut rest)?,
            streams_in: take_u16(&mut rest)?,
            tsn: take_u32(&mut rest)?,
            ..Self::default()
        };
        while !rest.is_empty() {
            let (name, value) = take_parameter(&mut rest)?;
            match name {
                parameter::STATE_COOKIE => init.cookie = value,
                // 5, 6, 9, 11, 12: addresses, cookie preservation, host names and address types
                // mean nothing over DTLS (RFC 8261, 6.1).
                0..=12 | parameter::FORWARD_TSN_SUPPORTED | 0x8000..=0x8008 => {
                    init.offers.learn(name, value);
                }
                // The two highest bits: go on or not, report or not (RFC 9260, 3.2.1).
                _ => {
                    if name & 0x4000 != 0 {
                        unknown(name, value);
                    }
                    if name & 0x8000 == 0 {
                        break;
                    }
                }
            }
        }
        let valid = init.tag != 0 && init.streams_out != 0 && init.streams_in != 0;
        valid.then_some(init)
    }

    pub(super) fn write(&self, out: &mut BytesMut, kind: u8, unknown: &[u8]) {
        chunk(out, kind, 0, |out| {
            out.put_u32(self.tag);
            out.put_u32(self.window);
            out.put_u16(self.streams_out);
            out.put_u16(self.streams_in);
            out.put_u32(self.tsn);
            if !self.cookie.is_empty() {
                tlv(out, parameter::STATE_COOKIE, |out| out.extend_from_slice(self.cookie));
            }
            self.offers.write(out);
            out.extend_from_slice(unknown);
        });
    }
}

impl Offers {
    fn write(self, out: &mut BytesMut) {
        if self.forward {
            tlv(out, parameter::FORWARD_TSN_SUPPORTED, |_| ());
        }
        if self.zero_checksum {
            tlv(out, parameter::ZERO_CHECKSUM, |out| out.put_u32(DETECTED_BY_DTLS));
        }
        tlv(out, parameter::SUPPORTED_EXTENSIONS, |out| {
            out.extend_from_slice(&[kind::RE_CONFIG, kind::FORWARD_TSN]);
            if self.interleaving {
                out.extend_from_slice(&[kind::I_DATA, kind::I_FORWARD_TSN]);
            }
        });
    }
}

/// The 64-bit number whose low half is `low` and which is nearest to `near`.
pub(super) fn unwrap_u32(low: u32, near: u64) -> u64 {
    near.wrapping_add_signed(i64::from(low.wrapping_sub(near as u32) as i32))
}

/// As [`unwrap_u32`], of 16 bits.
pub(super) fn unwrap_u16(low: u16, near: u64) -> u64 {
    near.wrapping_add_signed(i64::from(low.wrapping_sub(near as u16) as i16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_proves_itself_by_crc32c() {
        let mut packet = BytesMut::new();
        begin(&mut packet, Header { source: 5000, destination: 5001, tag: 7 });
        chunk(&mut packet, kind::COOKIE_ACK, 0, |_| ());
        assert_eq!(parse(&packet).expect("whole").1, Sum::Absent);
        seal(&mut packet);
        let (header, sum, rest) = parse(&packet).expect("whole");
        assert_eq!((header.destination, sum, rest.len()), (5001, Sum::Right, 4));
        packet[13] ^= 1;
        assert_eq!(parse(&packet).expect("whole").1, Sum::Wrong);
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283, "RFC 9260's polynomial");
    }

    #[test]
    fn chunks_are_what_was_written() {
        for interleaved in [false, true] {
            let begin = flag::BEGIN | flag::UNORDERED;
            for (flags, protocol, fragment) in [(begin, 51, 0), (0, 0, 3)] {
                let protocol = if interleaved { protocol } else { 51 };
                let fragment = if interleaved { fragment } else { 0 };
                let data = Data {
                    interleaved,
                    flags,
                    tsn: 9,
                    stream: 3,
                    number: 77,
                    protocol,
                    fragment,
                    payload: b"hello",
                };
                let mut out = BytesMut::new();
                data.write(&mut out);
                assert_eq!(out.len() % 4, 0);
                let read = take_chunk(&mut &out[..]).and_then(Data::parse);
                assert_eq!(read, Some(data));
            }
        }
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for bytes in [&[0, 0, 0, 3][..], &[0, 0, 0, 9, 1, 2, 3, 4], &[0, 0, 0], &[]] {
            assert_eq!(take_chunk(&mut &*bytes), None, "{bytes:?}");
        }
        assert!(Sack::parse(&[0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0]).is_none());
        assert!(Init::parse(&[0; 16], |_, _| ()).is_none(), "a tag of zero");
    }

    #[test]
    fn numbers_unwrap_to_the_nearest() {
        let near = (1 << 32) + 5;
        assert_eq!(unwrap_u32(3, near), (1 << 32) + 3);
        assert_eq!(unwrap_u32(u32::MAX, near), (1 << 32) - 1);
        assert_eq!(unwrap_u16(u16::MAX, near), (1 << 32) - 1);
        assert_eq!(unwrap_u16(6, near), near + 1);
    }
}
