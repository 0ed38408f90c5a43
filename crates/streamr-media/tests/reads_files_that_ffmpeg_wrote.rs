//! MP4, MOV and MPEG-TS of real encoders, held against what ffprobe says about them.

use bytes::Bytes;
use streamr_media::Error;
use streamr_media::codec;
use streamr_media::media::{Demux, Event, Format, Frame, Kind, Track, TrackId};
use streamr_media::{mp4, ts};

const VIDEO: Format = Format::Video { width: 128, height: 72, frames_per_kilosecond: Some(25_000) };
const VIDEO_WITHOUT_RATE: Format =
    Format::Video { width: 128, height: 72, frames_per_kilosecond: None };
const AAC: Format =
    Format::Audio { sample_rate: 48_000, channels: 2, samples_per_frame: Some(1024) };
const OPUS: Format = Format::Audio { sample_rate: 48_000, channels: 2, samples_per_frame: None };

struct Expected {
    file: &'static str,
    tracks: &'static [(&'static str, Format)],
    video_frames: usize,
    audio_frames: usize,
}

const FILES: [Expected; 8] = [
    expected("h264_aac.mp4", &[("avc1.64000a", VIDEO), ("mp4a.40.2", AAC)], 58),
    expected("h264_aac.mov", &[("avc1.64000a", VIDEO), ("mp4a.40.2", AAC)], 58),
    expected("h264_aac_fragmented.mp4", &[("avc1.64000a", VIDEO), ("mp4a.40.2", AAC)], 58),
    expected("h264_aac.ts", &[("avc1.64000a", VIDEO), ("mp4a.40.2", AAC)], 58),
    expected("hevc_opus.mp4", &[("hvc1.1.6.L30.90", VIDEO), ("opus", OPUS)], 61),
    expected("hevc_opus.ts", &[("hvc1.1.6.L30.90", VIDEO), ("opus", OPUS)], 61),
    expected("av1.mp4", &[("av01.0.00M.08", VIDEO_WITHOUT_RATE)], 0),
    expected("vp9.mp4", &[("vp09.00.10.08", VIDEO_WITHOUT_RATE)], 0),
];

const fn expected(
    file: &'static str,
    tracks: &'static [(&'static str, Format)],
    audio_frames: usize,
) -> Expected {
    Expected { file, tracks, video_frames: 30, audio_frames }
}

fn load(file: &str) -> Bytes {
    let path = format!("{}/tests/data/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}")).into()
}

/// Reads a whole file; `cut` bytes at a time for transport streams.
fn read(file: &str, cut: usize) -> (Vec<Track>, Vec<Frame>) {
    let bytes = load(file);
    if file.ends_with(".ts") {
        return demux(&bytes, cut);
    }
    let file = mp4::File::parse(bytes).unwrap();
    let frames = file.frames().collect::<Result<_, _>>().unwrap();
    (file.tracks().cloned().collect(), frames)
}

fn demux(bytes: &[u8], cut: usize) -> (Vec<Track>, Vec<Frame>) {
    let mut demuxer = ts::Demuxer::new(ts::Config::default());
    for piece in bytes.chunks(cut) {
        demuxer.push(piece).unwrap();
    }
    demuxer.finish();
    let (mut tracks, mut frames) = (Vec::new(), Vec::new());
    while let Some(event) = demuxer.poll_event() {
        match event {
            Event::Track(track) => tracks.push(track),
            Event::Frame(frame) => frames.push(frame),
            Event::Metadata(_) | Event::End => {}
        }
    }
    tracks.sort_by_key(|track| track.id);
    (tracks, frames)
}

fn of_kind(frames: &[Frame], kind: Kind) -> Vec<&Frame> {
    frames.iter().filter(|frame| frame.track.kind == kind).collect()
}

#[test]
fn tracks_and_frames_are_what_ffprobe_sees() {
    for Expected { file, tracks, video_frames, audio_frames } in FILES {
        let (found, frames) = read(file, 1316);
        let found: Vec<_> =
            found.iter().map(|track| (track.codec_string.as_str(), track.format)).collect();
        assert_eq!(found, tracks, "{file}");
        let (video, audio) = (of_kind(&frames, Kind::Video), of_kind(&frames, Kind::Audio));
        assert_eq!((video.len(), audio.len()), (video_frames, audio_frames), "{file}");
        let keyframes: Vec<usize> = (0..30).filter(|&at| video[at].keyframe).collect();
        // x265 opens its groups of pictures: the second keyframe is a CRA picture.
        let second = if file.starts_with("hevc") { 13 } else { 15 };
        assert_eq!(keyframes, [0, second], "{file}");
    }
}

#[test]
fn times_step_by_one_frame_and_pictures_are_reordered() {
    for Expected { file, .. } in FILES {
        let (_, frames) = read(file, 1316);
        let video = of_kind(&frames, Kind::Video);
        for pair in video.windows(2) {
            let step_us = pair[1].dts_us - pair[0].dts_us;
            assert!((39_999..=40_001).contains(&step_us), "{file}: {step_us}");
        }
        let mut shown: Vec<i64> = video.iter().map(|frame| frame.pts_us).collect();
        shown.sort_unstable();
        let first_us = shown[0];
        for (at, pts_us) in shown.iter().enumerate() {
            let off_us = pts_us - first_us - at as i64 * 40_000;
            assert!(off_us.abs() <= 1, "{file}: picture {at} is off by {off_us}");
        }
        assert!(video.iter().all(|frame| frame.pts_us >= frame.dts_us), "{file}");
    }
}

#[test]
fn keyframes_are_the_ones_that_the_codec_says() {
    for Expected { file, .. } in FILES {
        let (tracks, frames) = read(file, 1316);
        let video = &tracks[0];
        for frame in of_kind(&frames, Kind::Video) {
            let keyframe = codec::is_keyframe(video.codec, &frame.data);
            assert_eq!(keyframe, frame.keyframe, "{file} at {}", frame.dts_us);
        }
    }
}

#[test]
fn configuration_in_band_is_the_one_of_the_file() {
    for Expected { file, .. } in FILES {
        let (tracks, frames) = read(file, 1316);
        assert_eq!(codec::refresh(&tracks[0], &frames[0].data), Ok(None), "{file}");
    }
    let (file, _) = read("h264_aac.mp4", 1);
    let (stream, _) = read("h264_aac.ts", 188);
    assert_eq!(file[0].config, stream[0].config, "built avcC is the one that ffmpeg wrote");
}

#[test]
fn stamps_survive_every_codec_that_has_a_place() {
    for Expected { file, .. } in FILES {
        let (tracks, frames) = read(file, 1316);
        for frame in of_kind(&frames, Kind::Video) {
            let stamped = codec::stamp::insert(tracks[0].codec, &frame.data, 1_763_719_200_000_003);
            let time = codec::stamp::read(tracks[0].codec, &stamped);
            let expected = codec::stamp::supports(tracks[0].codec);
            assert_eq!(time, expected.then_some(1_763_719_200_000_003), "{file}");
            assert_eq!(codec::is_keyframe(tracks[0].codec, &stamped), frame.keyframe, "{file}");
        }
    }
}

#[test]
fn sound_and_picture_start_where_ffprobe_says() {
    // First decoding and presentation times on one clock that starts at the earliest dts.
    let cases = [("h264_aac.mp4", [0, 80_000], 58_667), ("h264_aac.mov", [0, 80_000], 58_667)];
    for (file, video_us, audio_us) in cases {
        let (_, frames) = read(file, 1316);
        let first = |id| frames.iter().find(|frame| frame.track == id).unwrap();
        let video = first(TrackId::VIDEO);
        assert_eq!([video.dts_us, video.pts_us], video_us, "{file}");
        let off_us = first(TrackId::AUDIO).pts_us - audio_us;
        assert!(off_us.abs() <= 1, "{file}: {off_us}");
    }
}

#[test]
fn transport_streams_may_be_cut_anywhere() {
    for file in ["h264_aac.ts", "hevc_opus.ts"] {
        let whole = read(file, usize::MAX);
        for cut in [1, 7, 187, 188, 189, 1000] {
            assert_eq!(read(file, cut), whole, "{file} cut at {cut}");
        }
    }
}

#[test]
fn a_lost_packet_costs_what_it_carried_and_no_more() {
    let bytes = load("h264_aac.ts");
    let (_, whole) = demux(&bytes, 1316);
    let mut losses = 0;
    for lost in 6..bytes.len() / 188 {
        let mut damaged = bytes[..lost * 188].to_vec();
        damaged.extend_from_slice(&bytes[(lost + 1) * 188..]);
        let (_, frames) = demux(&damaged, 1316);
        // ffmpeg puts up to 17 AAC frames into one PES packet; a lost first keyframe costs 15.
        assert!(frames.len() + 20 >= whole.len(), "packet {lost}: {} frames", frames.len());
        assert!(frames.iter().filter(|f| f.track.kind == Kind::Video).all(|f| whole.contains(f)));
        losses += usize::from(frames.len() < whole.len());
    }
    assert!(losses > 20, "losing packets must cost frames, {losses}");
}

#[test]
fn garbage_between_packets_is_stepped_over() {
    let bytes = load("h264_aac.ts");
    let (_, whole) = demux(&bytes, 1316);
    let at = 188 * 40;
    let dirty = [&[0x47, 1, 2][..], &bytes[..at], &[0x55; 300], &bytes[at..]].concat();
    assert_eq!(demux(&dirty, 1316).1.len(), whole.len());
}

#[test]
fn bytes_that_are_no_transport_stream_end_the_source() {
    let mut demuxer = ts::Demuxer::new(ts::Config::default());
    let pushed = (0..200).try_for_each(|_| demuxer.push(&[0x11; 16_384]));
    assert_eq!(pushed.unwrap_err().code(), "limit");
}

#[test]
fn a_counter_that_wraps_does_not_show() {
    // The fixture's times start at 1.4 s; moved to just below 2^33 they wrap within it.
    let mut bytes = load("h264_aac.ts").to_vec();
    let whole = demux(&bytes, 1316).1;
    let moved_ticks = (1_u64 << 33) - 180_000;
    for packet in bytes.chunks_mut(188) {
        move_times(packet, moved_ticks);
    }
    let moved = demux(&bytes, 1316).1;
    assert_eq!(moved.len(), whole.len());
    for (moved, frame) in moved.iter().zip(&whole) {
        let off_us = moved.dts_us - frame.dts_us - (moved_ticks * 100 / 9) as i64;
        assert!(off_us.abs() <= 1, "off by {off_us}");
        assert_eq!(moved.data, frame.data);
    }
}

fn move_times(packet: &mut [u8], ticks: u64) {
    let start = if packet[3] & 0x20 == 0 { 4 } else { 5 + usize::from(packet[4]) };
    let Some(pes) = packet.get_mut(start..).filter(|pes| pes.starts_with(&[0, 0, 1])) else {
        return;
    };
    let times = match pes[7] >> 6 {
        2 => 1,
        3 => 2,
        _ => 0,
    };
    for time in pes[9..].chunks_mut(5).take(times) {
        let old = u64::from(time[0] >> 1 & 7) << 30
            | u64::from(time[1]) << 22
            | u64::from(time[2] >> 1) << 15
            | u64::from(time[3]) << 7
            | u64::from(time[4] >> 1);
        let new = (old + ticks) & ((1 << 33) - 1);
        time[0] = time[0] & 0xf1 | (new >> 30 << 1) as u8;
        time[1] = (new >> 22) as u8;
        time[2] = (new >> 15 << 1) as u8 | 1;
        time[3] = (new >> 7) as u8;
        time[4] = (new << 1) as u8 | 1;
    }
}

#[test]
fn files_loop_without_a_gap_or_an_overlap() {
    for file in ["h264_aac.mp4", "hevc_opus.mp4", "av1.mp4", "vp9.mp4", "h264_aac_fragmented.mp4"] {
        let file = mp4::File::parse(load(file)).unwrap();
        let duration_us = file.duration_us();
        assert!((1_200_000..1_330_000).contains(&duration_us), "{duration_us}");
        assert!(file.frames().flatten().all(|frame| frame.dts_us < duration_us));
    }
}

#[test]
fn broken_files_are_errors_and_never_panics() {
    for Expected { file, .. } in FILES.iter().filter(|expected| !expected.file.ends_with(".ts")) {
        let bytes = load(file);
        for end in (0..bytes.len()).step_by(61) {
            if let Ok(file) = mp4::File::parse(bytes.slice(..end)) {
                assert!(file.frames().count() <= 200);
            }
        }
        for at in (0..bytes.len().min(4000)).step_by(3) {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 0xff;
            if let Ok(file) = mp4::File::parse(damaged.into()) {
                assert!(file.frames().count() < 2_000_000);
            }
        }
    }
}

#[test]
fn fragments_are_read_by_their_own_init() {
    let bytes = load("h264_aac_fragmented.mp4");
    let init = mp4::fragment::Init::parse(&bytes).unwrap();
    let samples = init.samples(&bytes).unwrap();
    assert_eq!(samples.len(), 88);
    let video: Vec<_> = samples.iter().filter(|s| s.track == TrackId::VIDEO).collect();
    assert_eq!(video.iter().filter(|sample| sample.keyframe).count(), 2);
    assert_eq!(init.tracks()[0].timescale, 12_800);
    assert!(video.iter().all(|sample| sample.duration == 512));
}

#[test]
fn samples_are_bounded_by_name_and_not_by_the_bytes_that_they_share() {
    // 30 pictures and 58 frames of sound.
    let exactly = |samples_max| mp4::Limits { samples_max, ..mp4::Limits::default() };
    for file in ["h264_aac.mp4", "h264_aac_fragmented.mp4"] {
        assert!(mp4::File::parse_within(load(file), exactly(88)).is_ok(), "{file}");
        let over = mp4::File::parse_within(load(file), exactly(87)).map(|_| ());
        assert!(matches!(over, Err(Error::Limit { limit: "samples_max", .. })), "{file}: {over:?}");
    }
    let bytes = load("h264_aac_fragmented.mp4");
    let init = mp4::fragment::Init::parse(&bytes).unwrap();
    let limits = |segment_samples_max| mp4::Limits { segment_samples_max, ..exactly(0) };
    assert_eq!(init.samples_within(&bytes, limits(88)).map(|samples| samples.len()), Ok(88));
    let over = init.samples_within(&bytes, limits(87)).map(|_| ());
    assert!(matches!(over, Err(Error::Limit { limit: "segment_samples_max", .. })), "{over:?}");
    // One run of a thousand million one-byte samples, all of them within the file.
    let fragment = bytes.windows(4).position(|name| name == b"moof").unwrap() - 4;
    let run = bytes[fragment..].windows(4).position(|name| name == b"trun").unwrap() + fragment;
    let mut hostile = bytes.to_vec();
    hostile[run + 4..run + 12].copy_from_slice(&[0, 0, 0, 0, 0x3b, 0x9a, 0xca, 0]);
    let samples = init.samples(&hostile.into());
    assert!(samples.is_err(), "{:?}", samples.map(|samples| samples.len()));
}
