//! Tags in the layouts that OBS 30 to 31 writes: Enhanced RTMP v1 for HEVC and AV1, v2 for further
//! tracks of video and sound. Its first H.264 and AAC tracks are legacy tags.

use bytes::Bytes;
use streamr_media::Error;
use streamr_media::flv::{Config, Demuxer, Kind, Tag};
use streamr_media::media::{Codec, Demux, Event, Frame, TrackId};

const AVCC: &[u8] = &[
    1, 0x64, 0, 0x1e, 0xff, 0xe1, 0, 0x1b, 0x67, 0x64, 0, 0x1e, 0xac, 0xd9, 0x40, 0xa0, 0x2f, 0xf9,
    0x70, 0x11, 0, 0, 3, 0, 1, 0, 0, 3, 0, 0x3c, 0x0f, 0x16, 0x2d, 0x96, 1, 0, 6, 0x68, 0xeb, 0xe3,
    0xcb, 0x22, 0xc0, 0xfd, 0xf8, 0xf8, 0,
];
const HVCC: &[u8] = include_bytes!("../../../fuzz/seeds/hevc/hvcc");
const AV1C: &[u8] = include_bytes!("../../../fuzz/seeds/av1/av1c");
const IDR: &[u8] = &[0, 0, 0, 3, 0x65, 0x88, 0x84];
const SLICE: &[u8] = &[0, 0, 0, 3, 0x41, 0x9a, 0x11];

/// Tracks in the order of their appearance, and frames.
type Media = (Vec<(TrackId, Codec)>, Vec<Frame>);

#[derive(Default)]
struct Sent(Vec<Tag>);

impl Sent {
    fn video(mut self, timestamp_ms: u32, parts: &[&[u8]]) -> Self {
        self.0.push(Tag { kind: Kind::Video, timestamp_ms, body: parts.concat().into() });
        self
    }

    fn audio(mut self, timestamp_ms: u32, parts: &[&[u8]]) -> Self {
        self.0.push(Tag { kind: Kind::Audio, timestamp_ms, body: parts.concat().into() });
        self
    }

    fn demuxed(self) -> Result<Media, Error> {
        let mut demuxer = Demuxer::new(Config::default());
        let (mut tracks, mut frames) = (Vec::new(), Vec::new());
        for tag in &self.0 {
            demuxer.push_tag(tag)?;
            while let Some(event) = demuxer.poll_event() {
                match event {
                    Event::Track(track) => tracks.push((track.id, track.codec)),
                    Event::Frame(frame) => frames.push(frame),
                    Event::Metadata(_) | Event::End => {}
                }
            }
        }
        Ok((tracks, frames))
    }
}

/// Number of the track, decoding and presentation time in milliseconds, keyframe.
fn shape(frames: &[Frame]) -> Vec<(u8, i64, i64, bool)> {
    let ms = |us: i64| us / 1_000;
    frames
        .iter()
        .map(|frame| (frame.track.index, ms(frame.dts_us), ms(frame.pts_us), frame.keyframe))
        .collect()
}

#[test]
fn hevc_with_colour_metadata_at_time_zero() {
    let keyframe = [0, 0, 0, 4, 38, 1, 0xaf, 0x10];
    let inter = [0, 0, 0, 4, 2, 1, 0xd0, 0x10];
    // The metadata's frame type is 0, and its time is 0 whenever it is sent.
    let colour = b"\x84hvc1\x02\0\x09colorInfo\x03\0\x0bcolorConfig\x03\0\0\x09\0\0\x09";
    let (tracks, frames) = Sent::default()
        .video(0, &[b"\x90hvc1", HVCC])
        .video(0, &[colour])
        .video(3_000_000_000, &[b"\x91hvc1\0\0\x21", &keyframe])
        .video(0, &[colour])
        .video(3_000_000_033, &[b"\xa3hvc1", &inter])
        .video(3_000_000_066, &[b"\xa1hvc1\xff\xff\xdf", &inter])
        .video(0, &[b"\x92hvc1", &[0]])
        .demuxed()
        .unwrap();
    assert_eq!(tracks, [(TrackId::VIDEO, Codec::Hevc)]);
    let expected = [(0, 0, 33, true), (0, 33, 33, false), (0, 66, 33, false)];
    let start = frames[0].dts_us / 1_000;
    let moved =
        shape(&frames).into_iter().map(|(n, dts, pts, key)| (n, dts - start, pts - start, key));
    assert_eq!(moved.collect::<Vec<_>>(), expected);
}

#[test]
fn av1_without_composition_times_and_without_delimiters() {
    let sample = Bytes::from_static(include_bytes!("../../../fuzz/seeds/av1/sample"));
    let delimited = [&[0x12, 0][..], &sample].concat();
    let (tracks, frames) = Sent::default()
        .video(0, &[b"\x90av01", AV1C])
        .video(0, &[b"\x91av01", &sample])
        // Other encoders leave the temporal delimiter in.
        .video(40, &[b"\x91av01", &delimited])
        .demuxed()
        .unwrap();
    assert_eq!(tracks[0], (TrackId::VIDEO, Codec::Av1));
    assert_eq!(shape(&frames), [(0, 0, 0, true), (0, 40, 40, true)]);
    assert_eq!(frames[0].data, frames[1].data);
}

#[test]
fn further_tracks_of_video_and_sound() {
    let second = TrackId { index: 1, ..TrackId::VIDEO };
    let vod = TrackId { index: 1, ..TrackId::AUDIO };
    let (tracks, frames) = Sent::default()
        .audio(0, &[b"\xaf\0\x11\x90"])
        .audio(0, &[b"\x95\x00mp4a\x01\x11\x90"])
        .video(0, &[b"\x17\0\0\0\0", AVCC])
        .video(0, &[b"\x96\x00avc1\x01", AVCC])
        .video(0, &[b"\x17\x01\0\0\x21", IDR])
        .video(0, &[b"\x96\x01avc1\x01\0\0\x21", IDR])
        .audio(10, &[b"\xaf\x01", b"sound"])
        .audio(10, &[b"\x95\x01mp4a\x01", b"sound"])
        .video(33, &[b"\x27\x01\0\0\0", SLICE])
        .video(33, &[b"\xa6\x03avc1\x01", SLICE])
        .demuxed()
        .unwrap();
    let expected = [
        (TrackId::AUDIO, Codec::Aac),
        (vod, Codec::Aac),
        (TrackId::VIDEO, Codec::H264),
        (second, Codec::H264),
    ];
    assert_eq!(tracks, expected);
    let expected = [
        (0, 0, 33, true),
        (1, 0, 33, true),
        (0, 10, 10, true),
        (1, 10, 10, true),
        (0, 33, 33, false),
        (1, 33, 33, false),
    ];
    assert_eq!(shape(&frames), expected);
}

#[test]
fn further_tracks_may_be_of_another_codec() {
    let (tracks, _) = Sent::default()
        .video(0, &[b"\x17\0\0\0\0", AVCC])
        .video(0, &[b"\x96\x00hvc1\x01", HVCC])
        .video(0, &[b"\x96\x00av01\x02", AV1C])
        // A codec that is not carried is left out when it is not the first track.
        .audio(0, &[b"\x95\x00fLaC\x01fLaC\0\0\0\x22"])
        .demuxed()
        .unwrap();
    let codecs: Vec<_> = tracks.iter().map(|(id, codec)| (id.index, *codec)).collect();
    assert_eq!(codecs, [(0, Codec::H264), (1, Codec::Hevc), (2, Codec::Av1)]);
    assert!(Sent::default().audio(0, &[b"\x90fLaCfLaC"]).demuxed().is_err());
}
