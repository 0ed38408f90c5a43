//! Network abstraction layer units of H.264 and HEVC: the three ways to carry them.
//!
//! *Annex B* separates units by start codes (MPEG-TS, raw files), *length-prefixed* puts a 1, 2 or
//! 4 byte length before each (MP4, FLV). Inside the project units always have 4-byte lengths.

use bytes::{BufMut, Bytes, BytesMut};

use crate::Error;

/// The units of a byte stream with start codes (ISO/IEC 14496-10 Annex B), without start codes and
/// padding zeros. Bytes before the first start code are skipped; empty units are left out.
pub fn annex_b(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(data);
    core::iter::from_fn(move || {
        loop {
            let data = rest?;
            let end = start_code(data);
            rest = end.and_then(|at| data.get(at + 3..));
            let unit = trim_zeros(data.get(..end.unwrap_or(data.len()))?);
            if !unit.is_empty() {
                return Some(unit);
            }
        }
    })
}

fn after_start_code(data: &[u8]) -> Option<&[u8]> {
    data.get(start_code(data)? + 3..)
}

/// Where the next 00 00 01 begins. Looks at every third byte, as most are not 0 or 1.
fn start_code(data: &[u8]) -> Option<usize> {
    let mut at = 2;
    while let Some(&byte) = data.get(at) {
        match byte {
            0 => at += 1,
            1 if data[at - 2..at] == [0, 0] => return Some(at - 2),
            _ => at += 3,
        }
    }
    None
}

fn trim_zeros(unit: &[u8]) -> &[u8] {
    let end = unit.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
    &unit[..end]
}

/// The units of a sample whose lengths have `length_bytes` (1, 2 or 4) bytes. Ends after the first
/// error. Empty units are left out.
pub fn length_prefixed(
    data: &[u8],
    length_bytes: u8,
) -> impl Iterator<Item = Result<&[u8], Error>> + Clone {
    let mut rest = data;
    core::iter::from_fn(move || {
        while !rest.is_empty() {
            let Some((unit, after)) = split_unit(rest, usize::from(length_bytes)) else {
                rest = &[];
                return Some(Err(Error::malformed("NAL", "unit is longer than its sample")));
            };
            rest = after;
            if !unit.is_empty() {
                return Some(Ok(unit));
            }
        }
        None
    })
}

fn split_unit(data: &[u8], length_bytes: usize) -> Option<(&[u8], &[u8])> {
    let (length, data) = data.split_at_checked(length_bytes)?;
    let length = length.iter().fold(0_usize, |sum, &byte| sum << 8 | usize::from(byte));
    data.split_at_checked(length)
}

/// The well-formed units of a sample with 4-byte lengths, as [`crate::media::Frame`] carries them;
/// stops at the first broken one.
pub fn units(data: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    length_prefixed(data, 4).map_while(Result::ok)
}

/// Joins units into a sample with 4-byte lengths.
pub fn join<'a>(units: impl Iterator<Item = &'a [u8]> + Clone) -> Bytes {
    let size_bytes = units.clone().map(|unit| unit.len() + 4).sum();
    let mut sample = BytesMut::with_capacity(size_bytes);
    for unit in units {
        sample.put_u32(unit.len() as u32);
        sample.put_slice(unit);
    }
    sample.freeze()
}

/// Turns a sample whose lengths have `length_bytes` (1, 2 or 4) bytes into one with 4-byte lengths.
/// A sample that has them already is checked and not copied.
///
/// # Errors
/// A unit is longer than the sample, or a length cannot have that many bytes.
pub fn normalise(sample: Bytes, length_bytes: u8) -> Result<Bytes, Error> {
    if !matches!(length_bytes, 1 | 2 | 4) {
        return Err(Error::malformed("NAL", "length is not of 1, 2 or 4 bytes"));
    }
    for unit in length_prefixed(&sample, length_bytes) {
        unit?;
    }
    if length_bytes == 4 {
        return Ok(sample);
    }
    let units: Vec<&[u8]> = length_prefixed(&sample, length_bytes).flatten().collect();
    Ok(join(units.into_iter()))
}

/// Takes the emulation prevention bytes out of a unit (clause 7.4.1: 00 00 03 → 00 00).
#[must_use]
pub fn unescape(unit: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(unit.len());
    let mut zeros = 0;
    for &byte in unit {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        payload.push(byte);
    }
    payload
}

/// Puts emulation prevention bytes into a unit, so that no start code appears within it.
#[must_use]
pub fn escape(payload: &[u8]) -> Vec<u8> {
    let mut unit = Vec::with_capacity(payload.len() + payload.len() / 16);
    let mut zeros = 0;
    for &byte in payload {
        if zeros >= 2 && byte <= 3 {
            unit.push(3);
            zeros = 0;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        unit.push(byte);
    }
    if zeros > 0 {
        unit.push(3);
    }
    unit
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn annex_b_units_are_found_wherever_start_codes_stand() {
        let cases: [(&[u8], &[&[u8]]); 8] = [
            (&[], &[]),
            (&[0, 0], &[]),
            (&[0, 0, 1], &[]),
            (&[0, 0, 0, 1, 9, 0xf0], &[&[9, 0xf0]]),
            (&[7, 7, 0, 0, 1, 9], &[&[9]]),
            (&[0, 0, 1, 9, 0, 0, 1, 6, 5], &[&[9], &[6, 5]]),
            (&[0, 0, 1, 0, 0, 1, 6, 0, 0, 0], &[&[6]]),
            (&[0, 0, 1, 9, 0, 0, 0, 1, 1, 1, 0, 1], &[&[9], &[1, 1, 0, 1]]),
        ];
        for (stream, expected) in cases {
            assert_eq!(annex_b(stream).collect::<Vec<_>>(), expected, "{stream:?}");
        }
    }

    #[test]
    fn lengths_of_every_size_become_four_bytes() {
        let expected: &[u8] = &[0, 0, 0, 2, 9, 8, 0, 0, 0, 1, 7];
        let samples: [(u8, &[u8]); 4] = [
            (1, &[2, 9, 8, 1, 7]),
            (2, &[0, 2, 9, 8, 0, 1, 7]),
            (4, expected),
            (1, &[2, 9, 8, 0, 1, 7]),
        ];
        for (length_bytes, sample) in samples {
            let sample = Bytes::copy_from_slice(sample);
            assert_eq!(normalise(sample, length_bytes).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let cases: [(u8, &[u8]); 6] = [
            (4, &[0, 0, 0, 3, 1, 2]),
            (4, &[0xff, 0xff, 0xff, 0xff, 1]),
            (4, &[0, 0, 0]),
            (2, &[0]),
            (3, &[0, 0, 1, 1]),
            (0, &[1]),
        ];
        for (length_bytes, sample) in cases {
            let sample = Bytes::copy_from_slice(sample);
            assert!(normalise(sample, length_bytes).is_err());
        }
    }

    proptest! {
        #[test]
        fn escaping_is_undone_and_leaves_no_start_code(
            payload in prop::collection::vec(prop_oneof![0_u8..5, any::<u8>()], 0..200),
        ) {
            let unit = escape(&payload);
            prop_assert!(!unit.windows(3).any(|w| w[0] == 0 && w[1] == 0 && w[2] <= 2));
            let mut back = unescape(&unit);
            back.truncate(payload.len());
            prop_assert_eq!(back, payload);
        }

        #[test]
        fn annex_b_and_lengths_carry_the_same_units(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..8),
            long in any::<bool>(),
        ) {
            let units: Vec<Vec<u8>> = payloads
                .iter()
                .map(|payload| {
                    let mut unit = escape(payload);
                    unit.push(0x80);
                    unit
                })
                .collect();
            let mut stream = Vec::new();
            for unit in &units {
                stream.extend_from_slice(if long { &[0, 0, 0, 1] } else { &[0, 0, 1] });
                stream.extend_from_slice(unit);
            }
            let found: Vec<&[u8]> = annex_b(&stream).collect();
            prop_assert_eq!(&found, &units.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let sample = join(found.iter().copied());
            prop_assert_eq!(super::units(&sample).collect::<Vec<_>>(), found);
        }
    }
}
