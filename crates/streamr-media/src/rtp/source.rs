//! Frames that came by RTP become media events.

use std::sync::Arc;

use bytes::Bytes;

use super::step::Clock;
use super::{AUDIO_CLOCK, VIDEO_CLOCK};
use crate::Error;
use crate::codec::{self, JoinPoints, h264, nal, opus};
use crate::media::{Codec, Event, Frame, Kind, Track, TrackId};

/// A frame as a session hands it over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Pictures are H.264, sound is Opus.
    pub kind: Kind,
    /// Its RTP time, unwrapped: ticks of [`VIDEO_CLOCK`] or [`AUDIO_CLOCK`].
    pub ticks: u64,
    /// When it came, in microseconds.
    pub arrived_us: i64,
    /// The sender's newest report on this track.
    pub report: Option<Report>,
    /// Nothing is missing before it.
    pub contiguous: bool,
    /// H.264 behind start codes (Annex B), or an Opus packet.
    pub data: Arc<[u8]>,
}

/// Which time of day a time of a track is, as its sender says (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Microseconds since 1970.
    pub unix_us: i64,
    /// The same moment on the track's RTP clock, unwrapped.
    pub ticks: u64,
}

/// Makes events of frames. Tracks are put in step; what cannot be decoded because something before
/// it is missing is left out, and [`Source::wants_keyframe`] until there is one.
#[derive(Debug)]
pub struct Source {
    pictures: bool,
    first_sound_us: Option<i64>,
    audio_clock: Clock,
    video_clock: Clock,
    audio: bool,
    video: Option<Track>,
    join_points: JoinPoints,
    newest_ticks: Option<u64>,
    waits: bool,
    since_keyframe_us: Option<i64>,
    keyframe_us: i64,
    left_out: u64,
}

/// Sound waits for so long for the first picture: a stream that begins with sound alone is one of
/// sound alone to who opens it then.
const PICTURE_WAIT_US: i64 = 3_000_000;

impl Source {
    /// A source; `pictures` says whether they were agreed on.
    #[must_use]
    pub fn new(pictures: bool) -> Self {
        Self {
            pictures,
            first_sound_us: None,
            audio_clock: Clock::new(AUDIO_CLOCK),
            video_clock: Clock::new(VIDEO_CLOCK),
            audio: false,
            video: None,
            join_points: JoinPoints::default(),
            newest_ticks: None,
            waits: true,
            since_keyframe_us: None,
            keyframe_us: 0,
            left_out: 0,
        }
    }

    /// Takes a frame and appends what it means to `events`.
    ///
    /// # Errors
    /// The pictures are not in the order in which they are shown: the encoder makes B-frames, which
    /// RTP receivers cannot play in time.
    pub fn push(&mut self, frame: &Arrived, events: &mut Vec<Event>) -> Result<(), Error> {
        match frame.kind {
            Kind::Audio => self.sound(frame, events),
            Kind::Video => self.picture(frame, events)?,
        }
        Ok(())
    }

    /// Whether pictures wait for a keyframe: ask the sender for one.
    #[must_use]
    pub fn wants_keyframe(&self) -> bool {
        self.waits
    }

    /// Microseconds of pictures since the last keyframe; `None` before the first. Browsers make one
    /// only when asked, and segments end only there.
    #[must_use]
    pub fn since_keyframe_us(&self) -> Option<i64> {
        self.since_keyframe_us
    }

    /// Frames left out because something before them was missing.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    fn sound(&mut self, frame: &Arrived, events: &mut Vec<Event>) {
        // No sound is sent as an empty packet (RFC 7587 §3.1.3), or as one without a picture of it.
        if opus::packet_samples(&frame.data).is_none() {
            return;
        }
        let first_us = *self.first_sound_us.get_or_insert(frame.arrived_us);
        let alone = self.pictures && self.video.is_none();
        if alone && frame.arrived_us.saturating_sub(first_us) < PICTURE_WAIT_US {
            return;
        }
        self.audio_clock.set_report(frame.report);
        let time_us = self.audio_clock.time_us(frame.ticks, frame.arrived_us, None);
        if !self.audio {
            // RTP always says two channels (RFC 7587 §4.1); decoders make two of one.
            let config = opus::Config::plain(2).build();
            match codec::describe(Codec::Opus, TrackId::AUDIO, config) {
                Ok(track) => events.push(Event::Track(track)),
                Err(_) => return,
            }
            self.audio = true;
        }
        events.push(Event::Frame(Frame {
            track: TrackId::AUDIO,
            dts_us: time_us,
            pts_us: time_us,
            keyframe: true,
            data: Bytes::copy_from_slice(&frame.data),
        }));
    }

    fn picture(&mut self, frame: &Arrived, events: &mut Vec<Event>) -> Result<(), Error> {
        self.check_order(frame.ticks)?;
        let units: Vec<&[u8]> = nal::annex_b(&frame.data).filter(|unit| is_kept(unit)).collect();
        if !units.iter().any(|unit| h264::is_picture(unit)) {
            return Ok(());
        }
        let data = nal::join(units.into_iter());
        self.video_clock.set_report(frame.report);
        let master = self.audio.then_some(&self.audio_clock);
        let time_us = self.video_clock.time_us(frame.ticks, frame.arrived_us, master);
        let keyframe = self.join_points.is_next(Codec::H264, &data, time_us);
        if keyframe {
            self.renew(&data, events);
        }
        self.waits = if keyframe { self.video.is_none() } else { self.waits || !frame.contiguous };
        if self.waits {
            self.left_out += 1;
            return Ok(());
        }
        if keyframe {
            self.since_keyframe_us = Some(0);
            self.keyframe_us = time_us;
        } else {
            self.since_keyframe_us = Some(time_us.saturating_sub(self.keyframe_us));
        }
        let (track, dts_us, pts_us) = (TrackId::VIDEO, time_us, time_us);
        events.push(Event::Frame(Frame { track, dts_us, pts_us, keyframe, data }));
        Ok(())
    }

    /// RTP times are those of presentation, packets come in the order of decoding.
    fn check_order(&mut self, ticks: u64) -> Result<(), Error> {
        let newest = self.newest_ticks.replace(ticks);
        if newest.is_some_and(|newest| ticks < newest) {
            let feature = "B-frames (pictures that are shown before others that are sent earlier)";
            return Err(Error::Unsupported { format: "H.264 by RTP", feature });
        }
        Ok(())
    }

    /// Takes up the parameter sets that a keyframe brings. Damaged ones change nothing.
    fn renew(&mut self, keyframe: &[u8], events: &mut Vec<Event>) {
        let renewed = match &self.video {
            Some(track) => codec::refresh(track, keyframe).ok().flatten(),
            None => {
                let config = codec::config_in_band(Codec::H264, keyframe).ok().flatten();
                config.and_then(|c| codec::describe(Codec::H264, TrackId::VIDEO, c).ok())
            }
        };
        if let Some(track) = renewed {
            self.video = Some(track.clone());
            events.push(Event::Track(track));
        }
    }
}

/// Neither delimiters nor padding.
fn is_kept(unit: &[u8]) -> bool {
    !(9..=12).contains(&h264::unit_type(unit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::SPS;

    const PPS: &[u8] = &[0x68, 0xCE, 0x38, 0x80];

    fn video(ticks: u64, units: &[&[u8]]) -> Arrived {
        let data: Vec<u8> = units.iter().flat_map(|unit| [&[0, 0, 0, 1], *unit].concat()).collect();
        let arrived_us = (ticks / 90) as i64 * 1_000;
        let (kind, report, contiguous) = (Kind::Video, None, true);
        Arrived { kind, ticks, arrived_us, report, contiguous, data: data.into() }
    }

    fn audio(ticks: u64, data: &[u8]) -> Arrived {
        let arrived_us = (ticks / 48) as i64 * 1_000;
        let (kind, report, contiguous) = (Kind::Audio, None, true);
        Arrived { kind, ticks, arrived_us, report, contiguous, data: data.into() }
    }

    fn key(ticks: u64) -> Arrived {
        video(ticks, &[&[9, 0xF0], SPS, PPS, &[0x65, 0x88, 1]])
    }

    fn delta(ticks: u64) -> Arrived {
        video(ticks, &[&[0x41, 0x9A, 2]])
    }

    /// Each event in a word.
    fn told(source: &mut Source, frames: &[Arrived]) -> Vec<&'static str> {
        let mut events = Vec::new();
        for frame in frames {
            source.push(frame, &mut events).expect("well formed");
        }
        let word = |event: &Event| match event {
            Event::Track(track) if track.id.kind == Kind::Video => "video",
            Event::Track(_) => "audio",
            Event::Frame(frame) if frame.track.kind == Kind::Audio => "sound",
            Event::Frame(frame) if frame.keyframe => "key",
            Event::Frame(_) => "delta",
            _ => "other",
        };
        events.iter().map(word).collect()
    }

    #[test]
    fn pictures_begin_at_a_keyframe_and_again_after_a_gap() {
        let mut source = Source::new(true);
        assert!(source.wants_keyframe());
        assert_eq!(told(&mut source, &[delta(0)]), [""; 0]);
        assert_eq!(told(&mut source, &[key(3_000), delta(6_000)]), ["video", "key", "delta"]);
        assert!(!source.wants_keyframe());
        assert_eq!(source.since_keyframe_us(), Some(33_333));
        let gap = Arrived { contiguous: false, ..delta(12_000) };
        assert_eq!(told(&mut source, &[gap, delta(15_000)]), [""; 0]);
        assert!(source.wants_keyframe());
        assert_eq!(source.left_out(), 3);
        assert_eq!(told(&mut source, &[key(18_000), delta(21_000)]), ["key", "delta"]);
    }

    #[test]
    fn a_keyframe_without_parameter_sets_is_none_until_one_has_brought_them() {
        let mut source = Source::new(true);
        let bare = video(0, &[&[0x65, 0x88, 1]]);
        assert_eq!(told(&mut source, &[bare]), [""; 0]);
        assert!(source.wants_keyframe());
        let bare = video(6_000, &[&[0x65, 0x88, 1]]);
        assert_eq!(told(&mut source, &[key(3_000), bare]), ["video", "key", "key"]);
    }

    #[test]
    fn b_frames_are_an_error() {
        let mut source = Source::new(true);
        told(&mut source, &[key(0), delta(9_000)]);
        let error = source.push(&delta(3_000), &mut Vec::new()).expect_err("it goes back");
        assert!(error.to_string().contains("B-frames"), "{error}");
    }

    #[test]
    fn sound_waits_for_pictures_that_were_agreed_on_but_not_for_ever() {
        let mut source = Source::new(true);
        let sound = |ticks| audio(ticks, &[0xFC, 1]);
        assert_eq!(told(&mut source, &[sound(0), sound(960)]), [""; 0]);
        assert_eq!(
            told(&mut source, &[key(3_000), sound(1_920)]),
            ["video", "key", "audio", "sound"]
        );
        let mut source = Source::new(true);
        let late = 48_000 * 3;
        assert_eq!(told(&mut source, &[sound(0), sound(late - 960)]), [""; 0]);
        assert_eq!(told(&mut source, &[sound(late)]), ["audio", "sound"]);
    }

    #[test]
    fn sound_is_taken_as_it_is_and_what_is_none_is_left_out() {
        let mut source = Source::new(false);
        let frames = [audio(0, &[0xFC, 1]), audio(960, &[]), audio(1_920, &[0xFC, 2])];
        assert_eq!(told(&mut source, &frames), ["audio", "sound", "sound"]);
        let padding = video(0, &[&[9, 0xF0], &[12, 0xFF, 0xFF]]);
        assert_eq!(told(&mut source, &[padding, video(3_000, &[])]), [""; 0]);
    }
}
