//! FLV framing (FLV spec E.2, E.3): in files, over HTTP and in RTMP's aggregate messages.

use bytes::{BufMut, Bytes};

use super::{Kind, Tag};
use crate::Error;

/// Type, size, timestamp and stream number of a tag.
pub const TAG_HEADER_BYTES: usize = 11;

/// The file header with `PreviousTagSize0`, for a stream of audio and video.
pub const HEADER: [u8; 13] = *b"FLV\x01\x05\0\0\0\x09\0\0\0\0";

/// Appends `tag` with its header and the size that follows it.
///
/// # Panics
/// The body is over 2^24 − 1 bytes.
pub fn write_tag(out: &mut impl BufMut, tag: &Tag) {
    assert!(tag.body.len() <= 0xff_ffff, "FLV tags are at most 2^24 - 1 bytes");
    let [high, rest @ ..] = tag.timestamp_ms.to_be_bytes();
    out.put_u8(tag.kind as u8);
    out.put_uint(tag.body.len() as u64, 3);
    out.put_slice(&rest);
    out.put_u8(high);
    out.put_uint(0, 3);
    out.put_slice(&tag.body);
    out.put_u32((TAG_HEADER_BYTES + tag.body.len()) as u32);
}

/// A tag's header: its type number, the size of its body and its timestamp.
pub(super) fn tag_header(bytes: &[u8; TAG_HEADER_BYTES]) -> (u8, usize, u32) {
    let [kind, a, b, c, low @ ..] = bytes;
    let bytes = u32::from_be_bytes([0, *a, *b, *c]) as usize;
    // The three bits above the type are for encryption (filter) and reserved.
    (kind & 0x1f, bytes, u32::from_be_bytes([low[3], low[0], low[1], low[2]]))
}

/// The tags of an RTMP aggregate message (RTMP 1.0 §7.1.6): their times are moved so that the
/// first has the message's.
pub fn aggregate(body: &Bytes, timestamp_ms: u32) -> impl Iterator<Item = Result<Tag, Error>> {
    let mut rest = body.clone();
    let mut shift = None;
    core::iter::from_fn(move || {
        while !rest.is_empty() {
            let tag = match aggregate_tag(&mut rest) {
                Ok(Some(tag)) => tag,
                Ok(None) => continue,
                Err(error) => {
                    rest = Bytes::new();
                    return Some(Err(error));
                }
            };
            let shift = *shift.get_or_insert(timestamp_ms.wrapping_sub(tag.timestamp_ms));
            let timestamp_ms = tag.timestamp_ms.wrapping_add(shift);
            return Some(Ok(Tag { timestamp_ms, ..tag }));
        }
        None
    })
}

/// Takes one tag off `rest`; `None` for one of an unknown type.
fn aggregate_tag(rest: &mut Bytes) -> Result<Option<Tag>, Error> {
    let short = Error::malformed("RTMP", "aggregate message is cut short");
    let Some(header) = rest.first_chunk() else { return Err(short) };
    let (kind, bytes, timestamp_ms) = tag_header(header);
    if rest.len() < TAG_HEADER_BYTES + bytes {
        return Err(short);
    }
    let body = rest.slice(TAG_HEADER_BYTES..TAG_HEADER_BYTES + bytes);
    // The back pointer of the last tag is left out by some.
    let next = (TAG_HEADER_BYTES + bytes + 4).min(rest.len());
    *rest = rest.slice(next..);
    Ok(Kind::of(kind).map(|kind| Tag { kind, timestamp_ms, body }))
}
