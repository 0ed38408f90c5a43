//! Frames that came by RTP, in any order and with any times, to events and to payloads again.

use std::sync::Arc;

use streamr_media::media::{Event, Kind};
use streamr_media::rtp::{Arrived, Cutter, Report, Source};

const PAYLOAD_BYTES_MAX: usize = 200;

/// Each frame is a head of ten bytes (kind and flags, ticks, time, report, length) and its data.
/// What events say must be whole, and what is cut of them must fit.
pub fn frames(data: &[u8]) {
    let (mut source, mut cutter) = (Source::new(true), Cutter::new(PAYLOAD_BYTES_MAX));
    let mut rest = data;
    while let Some((&[flags, a, b, c, d, at, r, s, high, low], after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([high, low])).min(after.len());
        let (data, after) = after.split_at(length);
        rest = after;
        let wide = |byte: u8| i64::from(byte.cast_signed()) << (u32::from(flags >> 2) % 56);
        let frame = Arrived {
            kind: if flags & 1 == 0 { Kind::Video } else { Kind::Audio },
            ticks: u64::from(u32::from_be_bytes([a, b, c, d])) << (flags >> 4),
            arrived_us: wide(at),
            report: (r != 0).then(|| Report { unix_us: wide(r), ticks: wide(s).cast_unsigned() }),
            contiguous: flags & 2 == 0,
            data: Arc::from(data),
        };
        let mut events = Vec::new();
        if source.push(&frame, &mut events).is_err() {
            return;
        }
        for event in &events {
            if let Event::Frame(frame) = event {
                assert!(!frame.data.is_empty(), "an empty frame");
            }
            if let Ok(Some(cut)) = cutter.push(event) {
                let fits = |payload: &Arc<[u8]>| payload.len() <= PAYLOAD_BYTES_MAX;
                assert!(cut.kind == Kind::Audio || cut.payloads.iter().all(fits), "too long");
                let bytes: usize = cut.payloads.iter().map(|payload| payload.len()).sum();
                assert_eq!(cut.bytes, bytes);
            }
        }
    }
}
