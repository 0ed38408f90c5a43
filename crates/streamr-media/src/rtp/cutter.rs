//! Frames become RTP payloads, once for all who receive them.

use std::sync::Arc;

use super::{AUDIO_CLOCK, VIDEO_CLOCK};
use crate::Error;
use crate::codec::{h264, nal};
use crate::media::{Codec, Event, Frame, Kind, Track, TrackId};

/// Aggregation packet of units of one time (RFC 6184 §5.7.1).
const STAP_A: u8 = 24;
/// A piece of a unit (RFC 6184 §5.8).
const FU_A: u8 = 28;
const IMPORTANCE: u8 = 0x60;
const KIND: u8 = 0x1F;
const PARAMETERS: u8 = 7;

/// A frame, cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Pictures or sound.
    pub kind: Kind,
    /// A receiver can start here: pictures' keyframes, and all sound.
    pub keyframe: bool,
    /// RTP time, wrapped: ticks of [`VIDEO_CLOCK`] or [`AUDIO_CLOCK`].
    pub ticks: u32,
    /// The payloads, in order.
    pub payloads: Vec<Arc<[u8]>>,
    /// Their bytes.
    pub bytes: usize,
}

/// Cuts the first track of pictures and of sound of a stream.
#[derive(Debug)]
pub struct Cutter {
    payload_bytes_max: usize,
    /// Parameter sets, which stand before every keyframe: whoever starts there has no others.
    sets: Option<h264::Config>,
    opus: bool,
    other_sound: bool,
    newest_pts_us: Option<i64>,
}

impl Cutter {
    /// A cutter that makes no payload longer than `payload_bytes_max` ≥ 64, but for sound, which is
    /// never cut.
    #[must_use]
    pub fn new(payload_bytes_max: usize) -> Self {
        let payload_bytes_max = payload_bytes_max.max(64);
        Self { payload_bytes_max, sets: None, opus: false, other_sound: false, newest_pts_us: None }
    }

    /// Whether there is sound that RTP receivers can have.
    #[must_use]
    pub fn has_sound(&self) -> bool {
        self.opus
    }

    /// Whether there is sound that RTP receivers cannot have.
    #[must_use]
    pub fn has_other_sound(&self) -> bool {
        self.other_sound
    }

    /// Whether there are pictures.
    #[must_use]
    pub fn has_pictures(&self) -> bool {
        self.sets.is_some()
    }

    /// The profile of the pictures, `profile_idc`.
    #[must_use]
    pub fn profile(&self) -> Option<u8> {
        self.sets.as_ref()?.sps.first()?.get(1).copied()
    }

    /// The payloads of a frame; `None` for what is not sent: sound but Opus, further tracks, and
    /// events that are no frames.
    ///
    /// # Errors
    /// The pictures are not H.264, or have B-frames.
    pub fn push(&mut self, event: &Event) -> Result<Option<Cut>, Error> {
        match event {
            Event::Track(track) => self.set_track(track).map(|()| None),
            Event::Frame(frame) if frame.track == TrackId::VIDEO => self.picture(frame),
            Event::Frame(frame) if frame.track == TrackId::AUDIO && self.opus => {
                Ok(Some(sound(frame)))
            }
            _ => Ok(None),
        }
    }

    fn set_track(&mut self, track: &Track) -> Result<(), Error> {
        match track.id {
            TrackId::VIDEO if track.codec == Codec::H264 => {
                self.sets = Some(h264::Config::parse(&track.config)?);
            }
            TrackId::VIDEO => {
                let feature = "a video codec other than H.264";
                return Err(Error::Unsupported { format: "WebRTC", feature });
            }
            TrackId::AUDIO => {
                self.opus = track.codec == Codec::Opus;
                self.other_sound = !self.opus;
            }
            _ => {}
        }
        Ok(())
    }

    fn picture(&mut self, frame: &Frame) -> Result<Option<Cut>, Error> {
        let Some(sets) = &self.sets else { return Ok(None) };
        if self.newest_pts_us.replace(frame.pts_us).is_some_and(|newest| frame.pts_us < newest) {
            return Err(Error::Unsupported { format: "WebRTC", feature: "a stream with B-frames" });
        }
        let units =
            nal::units(&frame.data).filter(|unit| !(9..=12).contains(&h264::unit_type(unit)));
        let brings_sets = units.clone().any(|unit| h264::unit_type(unit) == PARAMETERS);
        let mut pieces = Pieces { bytes_max: self.payload_bytes_max, ..Pieces::default() };
        if frame.keyframe && !brings_sets {
            sets.sps.iter().chain(&sets.pps).for_each(|unit| pieces.push(unit));
        }
        units.for_each(|unit| pieces.push(unit));
        let payloads = pieces.finish();
        let bytes = payloads.iter().map(|payload| payload.len()).sum();
        let ticks = ticks(frame.pts_us, VIDEO_CLOCK);
        let cut = Cut { kind: Kind::Video, keyframe: frame.keyframe, ticks, payloads, bytes };
        Ok(Some(cut).filter(|cut| !cut.payloads.is_empty()))
    }
}

fn sound(frame: &Frame) -> Cut {
    let ticks = ticks(frame.pts_us, AUDIO_CLOCK);
    let bytes = frame.data.len();
    let payloads = vec![Arc::from(&frame.data[..])];
    Cut { kind: Kind::Audio, keyframe: true, ticks, payloads, bytes }
}

fn ticks(time_us: i64, clock_rate: u32) -> u32 {
    let ticks = i128::from(time_us) * i128::from(clock_rate);
    // To the nearest: times come in milliseconds, and clocks that step evenly shall do so here.
    (ticks + 500_000).div_euclid(1_000_000) as u32
}

/// Collects payloads: small units together, large ones in pieces.
#[derive(Default)]
struct Pieces<'a> {
    bytes_max: usize,
    small: Vec<&'a [u8]>,
    small_bytes: usize,
    done: Vec<Arc<[u8]>>,
}

impl<'a> Pieces<'a> {
    fn push(&mut self, unit: &'a [u8]) {
        // A length of two bytes stands before each unit, and one byte before all.
        let together = self.small_bytes + 2 + unit.len();
        if 1 + together > self.bytes_max {
            self.flush();
        }
        if unit.len() > self.bytes_max {
            self.cut(unit);
        } else {
            self.small_bytes += 2 + unit.len();
            self.small.push(unit);
        }
    }

    fn flush(&mut self) {
        self.small_bytes = 0;
        match &core::mem::take(&mut self.small)[..] {
            [] => {}
            [one] => self.done.push(Arc::from(*one)),
            many => {
                let importance = many.iter().map(|unit| unit[0] & IMPORTANCE).max().unwrap_or(0);
                let mut payload = vec![importance | STAP_A];
                for unit in many {
                    payload.extend_from_slice(&(unit.len() as u16).to_be_bytes());
                    payload.extend_from_slice(unit);
                }
                self.done.push(payload.into());
            }
        }
    }

    fn cut(&mut self, unit: &[u8]) {
        let Some((&header, body)) = unit.split_first() else { return };
        let pieces = body.len().div_ceil(self.bytes_max - 2);
        // Of equal size: a last packet of a few bytes costs as much as a full one.
        let size = body.len().div_ceil(pieces);
        for (index, piece) in body.chunks(size).enumerate() {
            let (first, last) = (index == 0, (index + 1) * size >= body.len());
            let marks = u8::from(first) << 7 | u8::from(last) << 6;
            let start = [header & IMPORTANCE | FU_A, marks | header & KIND];
            self.done.push([&start[..], piece].concat().into());
        }
    }

    fn finish(mut self) -> Vec<Arc<[u8]>> {
        self.flush();
        self.done
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::codec::{self, opus};
    use crate::rtp::SPS;

    const PPS: &[u8] = &[0x68, 0xCE, 0x38, 0x80];

    fn cutter() -> Cutter {
        let config = h264::Config {
            length_bytes: 4,
            sps: vec![Bytes::from_static(SPS)],
            pps: vec![Bytes::from_static(PPS)],
        };
        let record = config.build().expect("it is well formed");
        let video = codec::describe(Codec::H264, TrackId::VIDEO, record).expect("well formed");
        let record = opus::Config::plain(2).build();
        let audio = codec::describe(Codec::Opus, TrackId::AUDIO, record).expect("well formed");
        let mut cutter = Cutter::new(100);
        for track in [video, audio] {
            assert_eq!(cutter.push(&Event::Track(track)), Ok(None));
        }
        cutter
    }

    fn frame(pts_us: i64, keyframe: bool, units: &[&[u8]]) -> Event {
        let data = nal::join(units.iter().copied());
        Event::Frame(Frame { track: TrackId::VIDEO, dts_us: pts_us, pts_us, keyframe, data })
    }

    /// The units that payloads bring (RFC 6184 §5.6 to 5.8).
    fn units(payloads: &[Arc<[u8]>]) -> Vec<Vec<u8>> {
        let mut found: Vec<Vec<u8>> = Vec::new();
        for payload in payloads {
            match payload[0] & KIND {
                STAP_A => {
                    let mut rest = &payload[1..];
                    while let Some((length, after)) = rest.split_first_chunk::<2>() {
                        let (unit, after) = after.split_at(u16::from_be_bytes(*length).into());
                        found.push(unit.to_vec());
                        rest = after;
                    }
                }
                FU_A if payload[1] & 0x80 != 0 => {
                    let head = payload[0] & IMPORTANCE | payload[1] & KIND;
                    found.push([&[head][..], &payload[2..]].concat());
                }
                FU_A => found.last_mut().expect("it has begun").extend_from_slice(&payload[2..]),
                _ => found.push(payload.to_vec()),
            }
        }
        found
    }

    #[test]
    fn units_are_put_together_or_cut_and_come_out_as_they_were() {
        let mut cutter = cutter();
        assert_eq!((cutter.has_pictures(), cutter.has_sound()), (true, true));
        assert_eq!(cutter.profile(), Some(SPS[1]));
        let large: Vec<u8> = core::iter::once(0x65).chain((0..1_000).map(|n| n as u8)).collect();
        for (number, sizes) in [&[1][..], &[99], &[100], &[101], &[102], &[1_001], &[40, 40, 40, 3]]
            .into_iter()
            .enumerate()
        {
            let pieces: Vec<&[u8]> = sizes.iter().map(|size| &large[..*size]).collect();
            let event = frame(number as i64 * 33_000, false, &pieces);
            let cut = cutter.push(&event).expect("well formed").expect("a picture");
            assert_eq!(units(&cut.payloads), pieces, "{sizes:?}");
            assert!(cut.payloads.iter().all(|payload| payload.len() <= 100), "{sizes:?}");
            assert_eq!(cut.ticks, number as u32 * 2_970);
        }
    }

    #[test]
    fn parameter_sets_stand_before_every_keyframe() {
        let mut cutter = cutter();
        for units_in in [&[&[0x65, 1][..]][..], &[SPS, PPS, &[0x65, 1]]] {
            let cut = cutter.push(&frame(0, true, units_in)).expect("fine").expect("a picture");
            assert_eq!(units(&cut.payloads), [SPS, PPS, &[0x65, 1]]);
            assert!(cut.keyframe);
        }
        let padding = frame(0, false, &[&[9, 0xF0], &[12, 0xFF]]);
        assert_eq!(cutter.push(&padding), Ok(None));
    }

    #[test]
    fn what_cannot_be_sent_is_an_error_or_left_out() {
        let mut cutter = cutter();
        let sound = Frame {
            track: TrackId::AUDIO,
            dts_us: 20_000,
            pts_us: 20_000,
            keyframe: true,
            data: Bytes::from_static(&[0xFC, 1]),
        };
        let cut = cutter.push(&Event::Frame(sound.clone())).expect("fine").expect("sound");
        assert_eq!((cut.ticks, cut.payloads.len()), (960, 1));
        let track = TrackId { index: 1, ..TrackId::AUDIO };
        assert_eq!(cutter.push(&Event::Frame(Frame { track, ..sound.clone() })), Ok(None));
        let record = Bytes::from_static(&[0x12, 0x10]);
        let aac = codec::describe(Codec::Aac, TrackId::AUDIO, record).expect("well formed");
        assert_eq!(cutter.push(&Event::Track(aac)), Ok(None));
        assert!(cutter.has_other_sound());
        assert_eq!(cutter.push(&Event::Frame(sound)), Ok(None));
        cutter.push(&frame(66_000, true, &[&[0x65, 1]])).expect("fine");
        let error = cutter.push(&frame(33_000, false, &[&[0x41, 1]])).expect_err("a B-frame");
        assert!(error.to_string().contains("B-frames"), "{error}");
    }
}
