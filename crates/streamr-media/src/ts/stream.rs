//! Elementary streams: PES payloads become tracks and frames.

use std::collections::VecDeque;

use bytes::Bytes;

use super::pes::{Assembler, Pes};
use super::psi::Elementary;
use crate::codec::{self, JoinPoints, aac, h264, hevc, nal, opus};
use crate::media::{Codec, Event, Format, Frame, Track, TrackId};

/// An ADTS frame's length has 13 bits.
const ADTS_BYTES_MAX: usize = 8191;

/// One elementary stream of the program.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) elementary: Elementary,
    pub(super) assembler: Assembler,
    id: TrackId,
    track: Option<Track>,
    /// The start of an ADTS frame that the next PES goes on with.
    rest: Vec<u8>,
    clock: Clock,
    pace: Pace,
    join_points: JoinPoints,
    /// A picture has come in several PES packets.
    splits: bool,
    /// A picture that may go on in the next PES packet.
    held: Option<Pes>,
}

/// When pictures are due that their PES packet states no time for: the second and later ones of a
/// packet, and those of packets without times. They follow one another at the pace that the stated
/// times have, which is exact as long as pictures are shown in the order in which they are decoded.
#[derive(Debug, Default)]
struct Pace {
    /// The last stated times.
    start_us: Option<(i64, i64)>,
    /// Pictures since then.
    pictures: i64,
    step_us: Option<i64>,
}

impl Pace {
    /// Until two times were stated and if the header says nothing.
    const STEP_US: i64 = 33_333;
    /// Further apart than that, the stream was interrupted.
    const STEP_US_MAX: i64 = 1_000_000;

    fn set(&mut self, times_us: (i64, i64)) {
        let passed_us = self.start_us.map_or(0, |start| times_us.1 - start.1);
        let step_us = passed_us.checked_div(self.pictures);
        let plausible = step_us.filter(|step| (1..=Self::STEP_US_MAX).contains(step));
        self.step_us = plausible.or(self.step_us);
        (self.start_us, self.pictures) = (Some(times_us), 0);
    }

    /// Presentation and decoding time of the next picture.
    fn next(&mut self, track: Option<&Track>) -> Option<(i64, i64)> {
        let stated_us = || match track?.format {
            Format::Video { frames_per_kilosecond, .. } => {
                1_000_000_000_i64.checked_div(frames_per_kilosecond?.into())
            }
            Format::Audio { .. } => None,
        };
        let step_us = self.step_us.or_else(stated_us).unwrap_or(Self::STEP_US);
        let shift_us = self.pictures * step_us;
        self.pictures += 1;
        self.start_us.map(|(pts_us, dts_us)| (pts_us + shift_us, dts_us + shift_us))
    }
}

/// When the next audio frame begins.
#[derive(Debug, Default)]
struct Clock {
    start_us: Option<i64>,
    samples: u64,
    sample_rate: u32,
}

impl Clock {
    fn set(&mut self, start_us: i64) {
        (self.start_us, self.samples) = (Some(start_us), 0);
    }

    fn advance(&mut self, samples: u32, sample_rate: u32) -> Option<i64> {
        let now = self.now_us();
        if self.sample_rate != sample_rate {
            (self.start_us, self.samples, self.sample_rate) = (now, 0, sample_rate);
        }
        self.samples += u64::from(samples);
        now
    }

    fn now_us(&self) -> Option<i64> {
        let passed_us = (self.samples * 1_000_000).checked_div(u64::from(self.sample_rate));
        Some(self.start_us? + passed_us.unwrap_or(0) as i64)
    }
}

impl Stream {
    pub(super) fn new(elementary: Elementary, index: u8) -> Self {
        Self {
            elementary,
            assembler: Assembler::default(),
            id: TrackId { kind: elementary.codec.kind(), index },
            track: None,
            rest: Vec::new(),
            clock: Clock::default(),
            pace: Pace::default(),
            join_points: JoinPoints::default(),
            splits: false,
            held: None,
        }
    }

    /// The picture that `pes` completes. Of a stream that is known to split pictures, that is the
    /// one before, unless `pes` continues it. What continues a picture that is gone is dropped, and
    /// so is what would make one longer than `pes_bytes_max`.
    pub(super) fn joined(&mut self, pes: Pes, config: &super::Config) -> Option<Pes> {
        let codec = self.elementary.codec;
        if !matches!(codec, Codec::H264 | Codec::Hevc) {
            return Some(pes);
        }
        if pes.pts.is_some() || begins_picture(codec, &pes.payload) {
            let before = self.held.replace(pes);
            return if self.splits { before } else { self.held.take() };
        }
        self.splits = true;
        match &mut self.held {
            Some(held) if held.payload.len() + pes.payload.len() <= config.pes_bytes_max => {
                held.payload.extend_from_slice(&pes.payload);
            }
            _ => self.held = None,
        }
        None
    }

    /// The picture that waited for more.
    pub(super) const fn take_held(&mut self) -> Option<Pes> {
        self.held.take()
    }

    pub(super) const fn id(&self) -> TrackId {
        self.id
    }

    /// Bytes were lost.
    pub(super) fn drop_damaged(&mut self) {
        self.assembler.drop_damaged();
        self.rest.clear();
    }

    /// Turns a PES packet into events; `times_us` are its unwrapped PTS and DTS.
    pub(super) fn take(
        &mut self,
        pes: &Pes,
        times_us: Option<(i64, i64)>,
        events: &mut VecDeque<Event>,
    ) {
        match self.elementary.codec {
            Codec::Aac => self.take_adts(&pes.payload, times_us, events),
            Codec::Opus => self.take_opus(&pes.payload, times_us, events),
            _ => self.take_pictures(&pes.payload, times_us, events),
        }
    }

    fn take_pictures(
        &mut self,
        payload: &[u8],
        times_us: Option<(i64, i64)>,
        events: &mut VecDeque<Event>,
    ) {
        if let Some(times_us) = times_us {
            self.pace.set(times_us);
        }
        let codec = self.elementary.codec;
        for units in access_units(codec, payload) {
            if let Some(times_us) = self.pace.next(self.track.as_ref()) {
                self.take_picture(nal::join(units.into_iter()), times_us, events);
            }
        }
    }

    fn take_picture(
        &mut self,
        data: Bytes,
        (pts_us, dts_us): (i64, i64),
        events: &mut VecDeque<Event>,
    ) {
        let codec = self.elementary.codec;
        let keyframe = self.join_points.is_next(codec, &data, dts_us);
        if keyframe && let Some(track) = self.renewed(codec, &data) {
            self.announce(track, events);
        }
        if self.track.is_some() {
            let track = self.id;
            events.push_back(Event::Frame(Frame { track, dts_us, pts_us, keyframe, data }));
        }
    }

    /// The track, if a keyframe brings it or changes it. Damaged parameter sets change nothing.
    fn renewed(&self, codec: Codec, keyframe: &[u8]) -> Option<Track> {
        if let Some(track) = &self.track {
            return codec::refresh(track, keyframe).ok().flatten();
        }
        let config = codec::config_in_band(codec, keyframe).ok().flatten()?;
        codec::describe(codec, self.id, config).ok()
    }

    fn announce(&mut self, track: Track, events: &mut VecDeque<Event>) {
        self.track = Some(track.clone());
        events.push_back(Event::Track(track));
    }

    fn take_adts(
        &mut self,
        payload: &[u8],
        times_us: Option<(i64, i64)>,
        events: &mut VecDeque<Event>,
    ) {
        let mut pending_us = times_us.map(|(pts_us, _)| pts_us);
        let joined = [&core::mem::take(&mut self.rest)[..], payload].concat();
        let carried_bytes = joined.len() - payload.len();
        let mut rest = &joined[..];
        while !rest.is_empty() {
            // The time belongs to the first frame that begins in this packet.
            if joined.len() - rest.len() >= carried_bytes
                && let Some(start_us) = pending_us.take()
            {
                self.clock.set(start_us);
            }
            match aac::Adts::parse(rest) {
                Ok(Some(header)) if header.frame_bytes <= rest.len() => {
                    let (frame, after) = rest.split_at(header.frame_bytes);
                    self.take_adts_frame(&header, frame, events);
                    rest = after;
                }
                Ok(_) => break,
                Err(_) => rest = &rest[1..],
            }
        }
        if rest.len() <= ADTS_BYTES_MAX {
            self.rest = rest.to_vec();
        }
    }

    fn take_adts_frame(&mut self, header: &aac::Adts, frame: &[u8], events: &mut VecDeque<Event>) {
        let known = self.track.as_ref().is_some_and(|track| track.config[..] == header.config);
        if !known {
            match codec::describe(Codec::Aac, self.id, header.config()) {
                Ok(track) => self.announce(track, events),
                Err(_) => return,
            }
        }
        let time_us = self.clock.advance(header.samples, header.sample_rate);
        let data = Bytes::copy_from_slice(&frame[header.header_bytes..]);
        self.emit_sound(time_us, data, events);
    }

    fn take_opus(
        &mut self,
        payload: &[u8],
        times_us: Option<(i64, i64)>,
        events: &mut VecDeque<Event>,
    ) {
        if let Some((pts_us, _)) = times_us {
            self.clock.set(pts_us);
        }
        if self.track.is_none() {
            let config = opus::Config::plain(self.elementary.channels).build();
            match codec::describe(Codec::Opus, self.id, config) {
                Ok(track) => self.announce(track, events),
                Err(_) => return,
            }
        }
        let mut rest = payload;
        while let Some((packet, after)) = split_opus(rest) {
            rest = after;
            let samples = opus::packet_samples(packet).unwrap_or(0);
            let time_us = self.clock.advance(samples, opus::SAMPLE_RATE);
            self.emit_sound(time_us, Bytes::copy_from_slice(packet), events);
        }
    }

    fn emit_sound(&self, time_us: Option<i64>, data: Bytes, events: &mut VecDeque<Event>) {
        let Some(time_us) = time_us.filter(|_| !data.is_empty()) else { return };
        let (track, keyframe) = (self.id, true);
        events.push_back(Event::Frame(Frame {
            track,
            dts_us: time_us,
            pts_us: time_us,
            keyframe,
            data,
        }));
    }
}

/// The units of each access unit that a PES packet holds, without padding. Delimiters tell them
/// apart (ISO/IEC 13818-1 clause 2.14 demands them); where there are none, what must stand before a
/// picture does, or the first slice of the next one (H.264 clause 7.4.1.2.3, HEVC 7.4.2.4.4). What
/// holds no picture is left out.
fn access_units(codec: Codec, payload: &[u8]) -> Vec<Vec<&[u8]>> {
    let units = || nal::annex_b(payload);
    let delimited = units().any(|unit| is_delimiter(codec, unit));
    let (mut found, mut current, mut pictured) = (Vec::new(), Vec::new(), false);
    for unit in units() {
        let next = if delimited { is_delimiter(codec, unit) } else { leads(codec, unit) };
        if pictured && next {
            found.push(core::mem::take(&mut current));
            pictured = false;
        }
        pictured |= is_picture(codec, unit);
        if !is_padding(codec, unit) {
            current.push(unit);
        }
    }
    if pictured {
        found.push(current);
    }
    found
}

fn is_picture(codec: Codec, unit: &[u8]) -> bool {
    if codec == Codec::Hevc { hevc::is_picture(unit) } else { h264::is_picture(unit) }
}

fn is_delimiter(codec: Codec, unit: &[u8]) -> bool {
    if codec == Codec::Hevc { hevc::unit_type(unit) == 35 } else { h264::unit_type(unit) == 9 }
}

/// Whether a unit behind a picture begins the next access unit.
fn leads(codec: Codec, unit: &[u8]) -> bool {
    let first_slice = |at: usize| unit.get(at).is_some_and(|byte| byte & 0x80 != 0);
    if codec == Codec::Hevc {
        match hevc::unit_type(unit) {
            0..32 => first_slice(2),
            kind => matches!(kind, 32..=35 | 39 | 41..=44 | 48..=55),
        }
    } else {
        match h264::unit_type(unit) {
            1 | 2 | 5 => first_slice(1),
            kind => matches!(kind, 6..=9 | 14..=18),
        }
    }
}

/// Whether a PES packet does not go on with the picture of the one before.
fn begins_picture(codec: Codec, payload: &[u8]) -> bool {
    let zeros = payload.iter().take_while(|&&byte| byte == 0).count();
    let starts = zeros >= 2 && payload.get(zeros) == Some(&1);
    starts && nal::annex_b(payload).next().is_some_and(|unit| leads(codec, unit))
}

/// Access unit delimiters, filler and ends of sequences: MP4 has no use for them.
fn is_padding(codec: Codec, unit: &[u8]) -> bool {
    match codec {
        Codec::H264 => (9..=12).contains(&h264::unit_type(unit)),
        _ => (35..=38).contains(&hevc::unit_type(unit)),
    }
}

/// The first access unit behind its control header, and what follows.
fn split_opus(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[prefix, flags], mut rest) = data.split_first_chunk::<2>()?;
    if prefix != 0x7f || flags & 0xe0 != 0xe0 {
        return None;
    }
    let mut length = 0;
    loop {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        length += usize::from(byte);
        if byte != 255 {
            break;
        }
    }
    let trim_bytes = [0x10, 0x08].into_iter().filter(|flag| flags & flag != 0).count() * 2;
    rest = rest.get(trim_bytes..)?;
    if flags & 4 != 0 {
        let (&extension_bytes, after) = rest.split_first()?;
        rest = after.get(usize::from(extension_bytes)..)?;
    }
    rest.split_at_checked(length)
}
