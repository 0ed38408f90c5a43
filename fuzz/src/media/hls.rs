use bytes::Bytes;
use psyne::Time;
use streamr_media::hls::{Config, Output, Packager, Request, Resource, Response};
use streamr_media::media::{Codec, Event, Format, Frame, Track, TrackId};

/// A path, and after a `?` a query. What is accepted has exactly one spelling.
pub fn request(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    let (path, query) = text.split_once('?').map_or((text, None), |(p, q)| (p, Some(q)));
    let Ok(Request { rendition, resource }) = Request::parse(path, query) else { return };
    let folder = rendition.unwrap_or_default();
    let again = match resource {
        Resource::Multivariant => "index.m3u8".to_owned(),
        Resource::Playlist { track, .. } => format!("{folder}/{track}.m3u8"),
        Resource::Init { track, epoch, index } => {
            format!("{folder}/{track}/{epoch}-init{index}.mp4")
        }
        Resource::Segment { track, epoch, msn } => format!("{folder}/{track}/{epoch}-{msn}.m4s"),
        Resource::Part { track, epoch, msn, part } => {
            format!("{folder}/{track}/{epoch}-{msn}.{part}.m4s")
        }
    };
    assert_eq!(path, again);
}

const EPOCH: u64 = 9;
const STREAM_BYTES_MAX: usize = 32 << 10;

/// Small limits, so that short inputs reach them.
fn config() -> Config {
    Config {
        target_duration_s: 2,
        target_duration_s_max: 3,
        window_us_min: 4_000_000,
        segments_max: 8,
        tracks_max: 3,
        frame_bytes_max: 250,
        part_bytes_max: 500,
        segment_bytes_max: 4_000,
        stream_bytes_max: STREAM_BYTES_MAX,
        ..Config::default()
    }
}

/// What publishers and players do, in any order; see `Bench::step` for the encoding.
pub fn ops(data: &[u8]) {
    let packager = Packager::new(config(), Time::ZERO, EPOCH, 1_795_259_000_000_000);
    let mut bench = Bench { packager, clock_us: [0; 2], targets: [(0.0, 0.0); 2] };
    for op in data.chunks_exact(4).take(4_096) {
        bench.step([op[0], op[1], op[2], op[3]]);
        bench.check();
    }
    bench.packager.handle_end(Time::ZERO);
    bench.check();
}

struct Bench {
    packager: Packager,
    /// The next frame's time, of picture and sound.
    clock_us: [i64; 2],
    /// Target duration and part target of picture and sound, once said.
    targets: [(f64, f64); 2],
}

impl Bench {
    /// An operation is four bytes: what, and three arguments.
    fn step(&mut self, [what, a, b, c]: [u8; 4]) {
        match what % 8 {
            0 | 1 => self.frame(usize::from(what % 8), [a, b, c]),
            2 => self.event(Event::Track(video(a))),
            3 => self.event(Event::Track(audio(a))),
            4 => self.packager.handle_pause(Time::ZERO),
            5 => self.packager.handle_reconnect(Time::ZERO),
            6 => {
                let by_ms = i64::from(i16::from_be_bytes([a, b]));
                let by_us = (by_ms * 1_000).saturating_mul(1 << (c % 40));
                self.clock_us = self.clock_us.map(|us| us.saturating_add(by_us));
            }
            _ => self.ask([a, b, c]),
        }
    }

    /// After 4 ms for each of `step`; `flags`: keyframe, and how much later it is shown.
    fn frame(&mut self, kind: usize, [step, flags, size]: [u8; 3]) {
        let dts_us = self.clock_us[kind];
        self.clock_us[kind] = dts_us.saturating_add(i64::from(step) * 4_000);
        let track = [TrackId::VIDEO, TrackId::AUDIO][kind];
        let pts_us = dts_us.saturating_add(i64::from(flags >> 1) * 20_000 - 200_000);
        let data = Bytes::from(vec![c_of(flags); usize::from(size)]);
        self.event(Event::Frame(Frame { track, dts_us, pts_us, keyframe: flags & 1 == 1, data }));
    }

    fn event(&mut self, event: Event) {
        let _refused = self.packager.handle_event(Time::ZERO, event);
    }

    fn ask(&mut self, [kind, msn, part]: [u8; 3]) {
        let track = [TrackId::VIDEO, TrackId::AUDIO][usize::from(kind & 1)];
        let (epoch, part) = (EPOCH, u32::from(part));
        let msn = 869_688_800 + u64::from(msn);
        let resource = match kind >> 1 & 3 {
            0 => Resource::Multivariant,
            1 => Resource::Segment { track, epoch, msn },
            2 => Resource::Part { track, epoch, msn, part },
            _ => Resource::Init { track, epoch, index: part },
        };
        let _any = self.packager.respond(&Request { rendition: None, resource });
    }

    fn check(&mut self) {
        let held = self.packager.stats().held_bytes;
        assert!(held <= STREAM_BYTES_MAX + 16_384, "{held} bytes held");
        let mut new = false;
        while let Output::Event(_) = self.packager.poll_output() {
            new = true;
        }
        for track in [TrackId::VIDEO, TrackId::AUDIO].into_iter().filter(|_| new) {
            for skip in [false, true] {
                let resource = Resource::Playlist { track, wanted: None, skip };
                let request = Request { rendition: Some("source".into()), resource };
                if let Response::Ready(reply) = self.packager.respond(&request)
                    && reply.status == 200
                {
                    self.playlist(track, core::str::from_utf8(&reply.body).expect("it is text"));
                }
            }
        }
    }

    /// Parts add up to their segments, and no promise about lengths is broken.
    fn playlist(&mut self, track: TrackId, text: &str) {
        let (mut sum, mut target, mut part_target) = (0.0, 0.0, 0.0);
        for line in text.lines() {
            if let Some(value) = line.strip_prefix("#EXT-X-TARGETDURATION:") {
                target = number(value);
            } else if let Some(value) = line.strip_prefix("#EXT-X-PART-INF:PART-TARGET=") {
                part_target = number(value);
            } else if let Some(value) = line.strip_prefix("#EXT-X-PART:DURATION=") {
                let duration = number(value);
                assert!(duration <= part_target, "{line}\n{text}");
                sum += duration;
            } else if let Some(value) = line.strip_prefix("#EXTINF:") {
                let duration = number(value);
                assert!(duration.round() <= target, "{line}\n{text}");
                assert!(sum == 0.0 || (sum - duration).abs() < 1e-6, "{sum} {line}\n{text}");
                sum = 0.0;
            }
        }
        let said = &mut self.targets[usize::from(track == TrackId::AUDIO)];
        assert!(said.0 <= target && (said.1 == 0.0 || said.1 == part_target), "{said:?}\n{text}");
        *said = (target, part_target);
    }
}

const fn c_of(flags: u8) -> u8 {
    flags.wrapping_mul(31)
}

fn number(text: &str) -> f64 {
    let end = text.find(',').unwrap_or(text.len());
    text[..end].parse().expect("a number")
}

fn video(width: u8) -> Track {
    const CONFIG: &[u8] = &[
        1, 0x64, 0, 0x1f, 0xff, 0xe1, 0, 5, 0x67, 0x64, 0, 0x1f, 0xac, 1, 0, 4, 0x68, 0xee, 0x3c,
        0x80,
    ];
    let width = u16::from(width) + 16;
    Track {
        id: TrackId::VIDEO,
        codec: Codec::H264,
        config: Bytes::from_static(CONFIG),
        codec_string: "avc1.64001f".into(),
        format: Format::Video { width, height: 90, frames_per_kilosecond: None },
    }
}

fn audio(kind: u8) -> Track {
    let sample_rate = [48_000, 44_100, 8_000, 96_000][usize::from(kind & 3)];
    let (codec, config, samples_per_frame): (_, &[u8], _) = if kind & 4 == 0 {
        (Codec::Aac, &[0x11, 0x90], Some(1_024))
    } else {
        (Codec::Opus, &[0, 2, 1, 0x38, 0, 0, 0xbb, 0x80, 0, 0, 0], None)
    };
    Track {
        id: TrackId::AUDIO,
        codec,
        config: Bytes::from_static(config),
        codec_string: "mp4a.40.2".into(),
        format: Format::Audio { sample_rate, channels: 2, samples_per_frame },
    }
}
