//! Tags to media events.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::file::{HEADER, TAG_HEADER_BYTES, tag_header};
use super::packet::{self, Content, Packet};
use super::{Kind, Tag, malformed, metadata};
use crate::Error;
use crate::codec::{self, JoinPoints};
use crate::media::{Codec, Demux, Event, Frame, Kind as MediaKind, Track, TrackId};

/// Limits of a [`Demuxer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes of one tag in a file or byte stream: the largest that RTMP lets through.
    pub tag_bytes_max: u32,
    /// Tracks of one publication, and packets in one multitrack tag. Multitrack encoders send up
    /// to six.
    pub tracks_max: u8,
}

impl Default for Config {
    fn default() -> Self {
        Self { tag_bytes_max: (16 << 20) - 1, tracks_max: 8 }
    }
}

/// What was left out and why, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Frames that came before their configuration.
    pub before_config: u64,
    /// Frames without bytes.
    pub empty: u64,
    /// Packets of further tracks whose codec is not carried.
    pub unsupported: u64,
    /// Script tags that are malformed or over a limit.
    pub scripts: u64,
}

/// A track and what its samples need.
#[derive(Debug)]
struct Known {
    track: Track,
    /// The configuration as it came, to tell a repetition from a change.
    config: Bytes,
    length_bytes: Option<u8>,
    join_points: JoinPoints,
}

/// Turns FLV tags into media events: from RTMP tag by tag, from files and HTTP-FLV as [`Demux`].
///
/// A configuration that changes makes a new [`Event::Track`]; one that is only repeated does not.
/// Whether a picture is a key frame is read from the picture, because flags lie. A first track
/// whose codec is not carried is an error, a further one is left out.
#[derive(Debug)]
pub struct Demuxer {
    config: Config,
    tracks: Vec<Known>,
    events: VecDeque<Event>,
    dropped: Dropped,
    /// The last frame's time, unwrapped. Scripts and configurations do not move it: encoders send
    /// them with time 0 whenever they like.
    clock_ms: Option<i64>,
    /// The part of a byte stream that is not a whole tag yet.
    buffer: BytesMut,
    /// The file header has been read.
    opened: bool,
}

impl Demuxer {
    /// A demuxer at the start of a publication or file.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            tracks: Vec::new(),
            events: VecDeque::new(),
            dropped: Dropped::default(),
            clock_ms: None,
            buffer: BytesMut::new(),
            opened: false,
        }
    }

    /// Takes one tag. Frames share its bytes.
    ///
    /// # Errors
    /// The tag is malformed, its codec is not carried, or there are too many tracks.
    pub fn push_tag(&mut self, tag: &Tag) -> Result<(), Error> {
        if tag.kind == Kind::Script {
            match metadata::read(&tag.body) {
                Ok(metadata) => self.events.extend(metadata.map(Event::Metadata)),
                Err(_) => self.dropped.scripts += 1,
            }
            return Ok(());
        }
        let (mut count, time_ms) = (0, self.unwrapped(tag.timestamp_ms));
        packet::read(tag, |packet| {
            count += 1;
            self.check_tracks(count)?;
            self.packet(packet, time_ms)
        })
    }

    /// What was left out so far.
    #[must_use]
    pub const fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// 32 bits of milliseconds run over after 49 days; a difference of less than half of that in
    /// either direction is a step, not a wrap.
    fn unwrapped(&self, timestamp_ms: u32) -> i64 {
        match self.clock_ms {
            None => timestamp_ms.into(),
            Some(last) => last + i64::from(timestamp_ms.wrapping_sub(last as u32).cast_signed()),
        }
    }

    fn packet(&mut self, packet: Packet, time_ms: i64) -> Result<(), Error> {
        let id = TrackId { kind: packet.kind, index: packet.track };
        let Some(codec) = packet.codec else {
            return self.unsupported(id);
        };
        match packet.content {
            Content::Start(config) => self.start(id, codec, config),
            Content::Frame { data, composition_ms } => {
                self.clock_ms = Some(time_ms);
                let dts_us = time_ms * 1_000 + i64::from(packet.offset_ns / 1_000);
                let pts_us = dts_us + i64::from(composition_ms) * 1_000;
                self.frame(codec, Frame { track: id, dts_us, pts_us, keyframe: true, data })
            }
            Content::Other => Ok(()),
        }
    }

    fn unsupported(&mut self, id: TrackId) -> Result<(), Error> {
        let feature = match (id.index, id.kind) {
            (0, MediaKind::Video) => {
                "a video codec other than H.264, HEVC, AV1 and VP9 (ffmpeg: -c:v libx264)"
            }
            (0, MediaKind::Audio) => "an audio codec other than AAC and Opus (ffmpeg: -c:a aac)",
            _ => {
                self.dropped.unsupported += 1;
                return Ok(());
            }
        };
        Err(Error::Unsupported { format: "FLV", feature })
    }

    fn start(&mut self, id: TrackId, codec: Codec, config: Bytes) -> Result<(), Error> {
        let known = self.tracks.iter().position(|known| known.track.id == id);
        if known.is_some_and(|at| {
            self.tracks[at].config == config && self.tracks[at].track.codec == codec
        }) {
            return Ok(());
        }
        let length_bytes = codec::length_bytes(codec, &config)?;
        let track = codec::describe(codec, id, config.clone())?;
        self.events.push_back(Event::Track(track.clone()));
        let started = Known { track, config, length_bytes, join_points: JoinPoints::default() };
        match known {
            Some(at) => self.tracks[at] = started,
            None => {
                self.check_tracks(self.tracks.len() + 1)?;
                self.tracks.push(started);
            }
        }
        Ok(())
    }

    fn frame(&mut self, codec: Codec, mut frame: Frame) -> Result<(), Error> {
        let known = self.tracks.iter_mut().find(|known| known.track.id == frame.track);
        let Some(known) = known.filter(|known| known.track.codec == codec) else {
            self.dropped.before_config += 1;
            return Ok(());
        };
        if frame.data.is_empty() {
            self.dropped.empty += 1;
            return Ok(());
        }
        if let Some(length_bytes) = known.length_bytes {
            frame.data = codec::nal::normalise(frame.data, length_bytes)?;
        }
        if codec == Codec::Av1 {
            frame.data = codec::av1::normalise(frame.data);
        }
        if codec.kind() == MediaKind::Video {
            frame.keyframe = known.join_points.is_next(codec, &frame.data, frame.dts_us);
            // In-band parameters that cannot be read leave the track as it was.
            if frame.keyframe
                && let Ok(Some(track)) = codec::refresh(&known.track, &frame.data)
            {
                known.track = track.clone();
                self.events.push_back(Event::Track(track));
            }
        }
        self.events.push_back(Event::Frame(frame));
        Ok(())
    }

    fn check_tracks(&self, count: usize) -> Result<(), Error> {
        let max = self.config.tracks_max.into();
        if count as u64 > max {
            return Err(Error::Limit { limit: "tracks_max", value: count as u64, max });
        }
        Ok(())
    }

    /// The file header: it says where the first tag starts (FLV spec E.2).
    fn open(&mut self) -> Result<bool, Error> {
        let Some(header) = self.buffer.first_chunk::<9>() else { return Ok(false) };
        if !header.starts_with(b"FLV") {
            return Err(malformed("does not start with FLV"));
        }
        let start = u32::from_be_bytes([header[5], header[6], header[7], header[8]]) as usize;
        if !(9..=1_024).contains(&start) {
            return Err(malformed("header size is not 9"));
        }
        let start = start + HEADER.len() - 9;
        if self.buffer.len() < start {
            return Ok(false);
        }
        let _ = self.buffer.split_to(start);
        Ok(true)
    }

    /// The next whole tag of the buffer. `Some(None)` is one of an unknown type.
    fn take_tag(&mut self) -> Result<Option<Option<Tag>>, Error> {
        let Some(header) = self.buffer.first_chunk() else { return Ok(None) };
        let (kind, bytes, timestamp_ms) = tag_header(header);
        let max = self.config.tag_bytes_max.into();
        if bytes as u64 > max {
            return Err(Error::Limit { limit: "tag_bytes_max", value: bytes as u64, max });
        }
        let whole = TAG_HEADER_BYTES + bytes + 4;
        if self.buffer.len() < whole {
            return Ok(None);
        }
        let tag = self.buffer.split_to(whole).freeze();
        let body = tag.slice(TAG_HEADER_BYTES..TAG_HEADER_BYTES + bytes);
        Ok(Some(Kind::of(kind).map(|kind| Tag { kind, timestamp_ms, body })))
    }
}

impl Demux for Demuxer {
    fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.buffer.extend_from_slice(bytes);
        if !self.opened {
            self.opened = self.open()?;
        }
        while self.opened
            && let Some(tag) = self.take_tag()?
        {
            if let Some(tag) = tag {
                self.push_tag(&tag)?;
            }
        }
        Ok(())
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(kind: Kind, timestamp_ms: u32, body: &'static [u8]) -> Tag {
        Tag { kind, timestamp_ms, body: Bytes::from_static(body) }
    }

    fn audio(timestamp_ms: u32, body: &'static [u8]) -> Tag {
        tag(Kind::Audio, timestamp_ms, body)
    }

    fn events(demuxer: &mut Demuxer) -> Vec<Event> {
        core::iter::from_fn(|| demuxer.poll_event()).collect()
    }

    #[test]
    fn tracks_come_once_a_configuration_and_times_do_not_wrap() {
        let mut demuxer = Demuxer::new(Config::default());
        let tags = [
            audio(0, b"\xaf\x01early"),
            audio(u32::MAX - 9, b"\xaf\x00\x12\x10"),
            audio(u32::MAX - 9, b"\xaf\x00\x12\x10"),
            audio(u32::MAX - 9, b"\xaf\x01a"),
            audio(10, b"\xaf\x01b"),
            audio(10, b"\xaf\x01"),
            audio(10, b"\xaf\x00\x11\x90"),
            tag(Kind::Script, 10, b"\x04broken"),
        ];
        tags.iter().for_each(|tag| demuxer.push_tag(tag).unwrap());
        let times: Vec<_> = events(&mut demuxer)
            .into_iter()
            .map(|event| match event {
                Event::Frame(frame) => Some(frame.dts_us),
                _ => None,
            })
            .collect();
        assert_eq!(times, [None, Some(-10_000), Some(10_000), None]);
        let dropped = Dropped { before_config: 1, empty: 1, unsupported: 0, scripts: 1 };
        assert_eq!(demuxer.dropped(), dropped);
    }

    #[test]
    fn every_limit_holds() {
        let config = Config { tag_bytes_max: 100, tracks_max: 1 };
        let mut demuxer = Demuxer::new(config);
        demuxer.push_tag(&audio(0, b"\xaf\x00\x12\x10")).unwrap();
        let second = audio(0, b"\x95\x00mp4a\x01\x12\x10");
        let limit = |result| match result {
            Err(Error::Limit { limit, .. }) => limit,
            other => panic!("{other:?}"),
        };
        assert_eq!(limit(demuxer.push_tag(&second)), "tracks_max");
        let file = [&HEADER[..], b"\x08\0\0\x65\0\0\0\0\0\0\0"].concat();
        assert_eq!(limit(Demuxer::new(config).push(&file)), "tag_bytes_max");
        assert!(Demuxer::new(config).push(b"RIFF\0\0\0\0\0\0\0\0\0").is_err());
        assert!(demuxer.push_tag(&audio(0, b"\x2fmp3")).is_err());
    }
}
