//! Program tables: which packets carry what (ISO/IEC 13818-1 clause 2.4.4).

use crate::media::Codec;

/// A section's length field has 12 bits of which program tables may use 10.
const SECTION_BYTES_MAX: usize = 1024;

/// Puts the sections of one PID together. Holds one section of at most 1024 bytes.
#[derive(Debug, Default)]
pub(super) struct Sections {
    section: Vec<u8>,
}

impl Sections {
    /// Takes the payload of one packet and returns the section that it completes, if its checksum
    /// is right. Of several short sections in one packet only the first is seen: tables of a live
    /// program are repeated, one to a packet.
    pub(super) fn push(&mut self, starts: bool, payload: &[u8]) -> Option<Vec<u8>> {
        if starts {
            let (&pointer, rest) = payload.split_first()?;
            self.section.clear();
            self.section.extend_from_slice(rest.get(usize::from(pointer)..)?);
        } else if self.section.is_empty() {
            return None;
        } else {
            self.section.extend_from_slice(payload);
        }
        let header = self.section.get(..3)?;
        let length = 3 + (usize::from(header[1] & 15) << 8 | usize::from(header[2]));
        if length > SECTION_BYTES_MAX {
            self.section.clear();
            return None;
        }
        if self.section.len() < length {
            return None;
        }
        let mut section = core::mem::take(&mut self.section);
        section.truncate(length);
        is_valid(&section).then_some(section)
    }

    pub(super) fn clear(&mut self) {
        self.section.clear();
    }
}

/// Whether the checksum is right and the table in force (`current_next_indicator`).
fn is_valid(section: &[u8]) -> bool {
    section.len() >= 12 && section[5] & 1 == 1 && crc32(section) == 0
}

/// The checksum of Annex A; 0 over a section that ends with its own.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte) << 24, |crc, _| {
            crc << 1 ^ if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 }
        })
    })
}

/// PID of the first program's map in a program association section.
pub(super) fn program_map_pid(section: &[u8]) -> Option<u16> {
    if section.first() != Some(&0) {
        return None;
    }
    let programs = section.get(8..section.len() - 4)?.chunks_exact(4);
    programs.filter(|entry| entry[..2] != [0, 0]).map(|entry| pid(&entry[2..])).next()
}

/// An elementary stream that can be carried on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Elementary {
    pub(super) pid: u16,
    pub(super) codec: Codec,
    /// What the descriptors say; 0 if nothing.
    pub(super) channels: u8,
}

/// What a program map section lists.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Program {
    /// The streams that can be carried on.
    pub(super) streams: Vec<Elementary>,
    /// What sounds or shows something and cannot be carried on.
    pub(super) left_out: Vec<&'static str>,
}

/// The streams of a program map section.
pub(super) fn program_map(section: &[u8]) -> Option<Program> {
    if section.first() != Some(&2) {
        return None;
    }
    let body = section.get(10..section.len() - 4)?;
    let mut rest = skip_descriptors(body)?.1;
    let mut program = Program::default();
    while rest.len() >= 5 {
        let (kind, pid) = (rest[0], pid(&rest[1..3]));
        let (descriptors, after) = skip_descriptors(&rest[3..])?;
        rest = after;
        if let Some((codec, channels)) = supported(kind, descriptors) {
            program.streams.push(Elementary { pid, codec, channels });
        } else {
            program.left_out.extend(unsupported(kind, descriptors));
        }
    }
    Some(program)
}

fn pid(bytes: &[u8]) -> u16 {
    u16::from(bytes[0] & 0x1f) << 8 | u16::from(bytes[1])
}

/// Descriptors behind their 12-bit length, and what follows.
fn skip_descriptors(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(length[0] & 15) << 8 | usize::from(length[1]))
}

fn supported(kind: u8, descriptors: &[u8]) -> Option<(Codec, u8)> {
    match kind {
        0x0f => Some((Codec::Aac, 0)),
        0x1b => Some((Codec::H264, 0)),
        0x24 => Some((Codec::Hevc, 0)),
        0x06 => opus_channels(descriptors).map(|channels| (Codec::Opus, channels)),
        _ => None,
    }
}

/// The name of something that is heard or seen (stream types of Table 2-34, registrations of SMPTE
/// RA); `None` for data.
fn unsupported(kind: u8, descriptors: &[u8]) -> Option<&'static str> {
    let registered =
        |name: &[u8; 4]| descriptors.windows(6).any(|d| d == [&[5, 4], &name[..]].concat());
    match kind {
        0x01 | 0x02 => Some("MPEG-2 video"),
        0x03 | 0x04 => Some("MP3 or MP2 sound"),
        0x10 => Some("MPEG-4 part 2 video"),
        0x11 => Some("AAC in LATM"),
        0x33 => Some("VVC"),
        0x81 | 0x87 => Some("AC-3 sound"),
        0x06 if registered(b"AV01") => Some("AV1 in a transport stream"),
        0x06 if registered(b"VP09") => Some("VP9 in a transport stream"),
        0x06 if registered(b"AC-3") || registered(b"EAC3") => Some("AC-3 sound"),
        0x06 if registered(b"Opus") => Some("Opus with more than two channels"),
        _ => None,
    }
}

/// Opus announces itself by a registration descriptor, and its channels by an extension descriptor
/// (ETSI TS 103 491 and the Opus-in-TS draft). Mono and stereo are supported.
fn opus_channels(mut descriptors: &[u8]) -> Option<u8> {
    let (mut registered, mut channels) = (false, 2);
    while let [tag, length, rest @ ..] = descriptors {
        let (body, after) = rest.split_at_checked(usize::from(*length))?;
        match (tag, body) {
            (0x05, b"Opus") => registered = true,
            (0x7f, [0x80, code, ..]) => channels = if *code == 0 { 2 } else { *code },
            _ => {}
        }
        descriptors = after;
    }
    (registered && channels <= 2).then_some(channels)
}
