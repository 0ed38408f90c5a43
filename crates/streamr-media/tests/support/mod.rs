//! A strict reader of low-latency playlists, and made-up publishers. Shared by the HLS tests.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;

use bytes::Bytes;
use mp4_atom::{Decode, Moof};
use psyne::Time;
use streamr_media::hls::{Config, Output, Packager, Reply, Request, Response};
use streamr_media::media::{Codec, Event, Format, Frame, Track, TrackId};

pub const EPOCH: u64 = 42;
pub const UNIX_US: i64 = 1_795_259_000_000_000;
/// The first media sequence number of a broadcast that begins at `UNIX_US`.
pub const FIRST: u64 = 869_688_800;

pub fn h264(id: TrackId, width: u16) -> Track {
    let config: &[u8] = &[
        1, 0x64, 0, 0x1f, 0xff, 0xe1, 0, 5, 0x67, 0x64, 0, 0x1f, 0xac, 1, 0, 4, 0x68, 0xee, 0x3c,
        0x80,
    ];
    Track {
        id,
        codec: Codec::H264,
        config: Bytes::from_static(config),
        codec_string: "avc1.64001f".into(),
        format: Format::Video { width, height: 720, frames_per_kilosecond: Some(30_000) },
    }
}

pub fn aac(id: TrackId, sample_rate: u32) -> Track {
    Track {
        id,
        codec: Codec::Aac,
        config: Bytes::from_static(&[0x11, 0x90]),
        codec_string: "mp4a.40.2".into(),
        format: Format::Audio { sample_rate, channels: 2, samples_per_frame: Some(1_024) },
    }
}

pub fn frame(track: TrackId, dts_us: i64, pts_us: i64, keyframe: bool) -> Event {
    let data = [&dts_us.to_be_bytes()[..], &[track.index; 40]].concat();
    Event::Frame(Frame { track, dts_us, pts_us, keyframe, data: data.into() })
}

/// A publisher of one picture and one sound track, merged by decoding time.
#[derive(Clone, Copy, Debug)]
pub struct Publisher {
    pub fps: f64,
    pub gop: u32,
    pub bframes: i64,
    pub sample_rate: u32,
    /// Times are cut to milliseconds, as RTMP does.
    pub milliseconds: bool,
    pub audio_ppm: i64,
    pub audio_late_us: i64,
}

impl Default for Publisher {
    fn default() -> Self {
        Self {
            fps: 30.0,
            gop: 60,
            bframes: 0,
            sample_rate: 48_000,
            milliseconds: true,
            audio_ppm: 0,
            audio_late_us: 0,
        }
    }
}

impl Publisher {
    /// All frames of `seconds` from `start_us` on.
    pub fn frames(&self, start_us: i64, seconds: f64) -> Vec<Event> {
        self.timed_frames(start_us, seconds).into_iter().map(|(_, event)| event).collect()
    }

    /// The same with their decoding times.
    pub fn timed_frames(&self, start_us: i64, seconds: f64) -> Vec<(i64, Event)> {
        let mut out: Vec<(i64, Event)> = Vec::new();
        let cut = |us: i64| if self.milliseconds { us.div_euclid(1_000) * 1_000 } else { us };
        let frame_us = 1e6 / self.fps;
        for n in 0..(seconds * self.fps) as i64 {
            let dts = cut(start_us + (n as f64 * frame_us) as i64);
            let shift = (self.bframes + n % (self.bframes + 1)) as f64 * frame_us;
            let key = n % i64::from(self.gop) == 0;
            out.push((dts, frame(TrackId::VIDEO, dts, cut(dts + shift as i64), key)));
        }
        let rate = self.sample_rate as f64 * (1.0 + self.audio_ppm as f64 / 1e6);
        for n in 0..(seconds * rate / 1_024.0) as i64 {
            let dts = cut(start_us + self.audio_late_us + (n as f64 * 1_024e6 / rate) as i64);
            out.push((dts, frame(TrackId::AUDIO, dts, dts, true)));
        }
        out.sort_by_key(|(dts, _)| *dts);
        out
    }
}

/// A packager with two tracks, and a reader on each that sees every version of its playlist.
pub struct Bench {
    pub packager: Packager,
    pub now: Time,
    pub video: Reader,
    pub audio: Reader,
}

impl Bench {
    pub fn new(config: Config) -> Self {
        Self {
            packager: Packager::new(config, Time::ZERO, EPOCH, UNIX_US),
            now: Time::ZERO,
            video: Reader::new("video0"),
            audio: Reader::new("audio0"),
        }
    }

    pub fn announced(config: Config, sample_rate: u32) -> Self {
        let mut bench = Self::new(config);
        bench.take(Event::Track(h264(TrackId::VIDEO, 1_280)));
        bench.take(Event::Track(aac(TrackId::AUDIO, sample_rate)));
        bench
    }

    pub fn take(&mut self, event: Event) {
        self.packager.handle_event(self.now, event).unwrap();
        self.read();
    }

    /// Both readers look at everything that is new.
    pub fn read(&mut self) {
        let mut new = false;
        while let Output::Event(_) = self.packager.poll_output() {
            new = true;
        }
        if new {
            self.video.read(&mut self.packager);
            self.audio.read(&mut self.packager);
        }
    }

    pub fn end(&mut self) {
        self.packager.handle_end(self.now);
        self.read();
    }
}

pub fn get(packager: &mut Packager, path: &str) -> Reply {
    let (path, query) = path.split_once('?').map_or((path, None), |(p, q)| (p, Some(q)));
    match packager.respond(&Request::parse(path, query).unwrap()) {
        Response::Ready(reply) => reply,
        Response::Block(until) => panic!("{path} blocks until {until:?}"),
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct PartLine {
    pub uri: String,
    pub duration: f64,
    pub independent: bool,
    pub gap: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct SegmentLines {
    pub msn: u64,
    pub uri: Option<String>,
    pub duration: f64,
    pub parts: Vec<PartLine>,
    pub discontinuity: bool,
    pub gap: bool,
    pub map: Option<String>,
    pub date: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub struct Parsed {
    pub target: f64,
    pub part_target: f64,
    pub first_msn: u64,
    pub first_discontinuity: u64,
    pub skipped: u64,
    pub segments: Vec<SegmentLines>,
    pub hint: Option<String>,
    pub reports: Vec<String>,
    pub ended: bool,
}

fn attributes(text: &str) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, value) = rest.split_once('=').expect("an attribute has a value");
        let (value, tail) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').expect("quotes are closed"),
            None => value.split_at(value.find(',').unwrap_or(value.len())),
        };
        assert!(out.insert(name.to_owned(), value.to_owned()).is_none(), "{name} twice");
        rest = tail.strip_prefix(',').unwrap_or(tail);
    }
    out
}

/// Reads a playlist tag by tag; every unknown line is an error.
pub fn parse(text: &str) -> Parsed {
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("#EXTM3U"));
    let mut p = Parsed::default();
    let mut seg = SegmentLines::default();
    let mut control = BTreeMap::new();
    for line in lines {
        assert!(!p.ended, "ENDLIST is last");
        let (tag, value) = line.split_once(':').unwrap_or((line, ""));
        let head = p.segments.is_empty() && seg == SegmentLines::default();
        match tag {
            "#EXT-X-VERSION" => assert_eq!(value, "9"),
            "#EXT-X-TARGETDURATION" => p.target = value.parse().unwrap(),
            "#EXT-X-SERVER-CONTROL" => control = attributes(value),
            "#EXT-X-PART-INF" => p.part_target = attributes(value)["PART-TARGET"].parse().unwrap(),
            "#EXT-X-MEDIA-SEQUENCE" if head => p.first_msn = value.parse().unwrap(),
            "#EXT-X-DISCONTINUITY-SEQUENCE" if head => {
                p.first_discontinuity = value.parse().unwrap();
            }
            "#EXT-X-INDEPENDENT-SEGMENTS" if head => {}
            "#EXT-X-SKIP" if head => {
                p.skipped = attributes(value)["SKIPPED-SEGMENTS"].parse().unwrap();
            }
            "#EXT-X-DISCONTINUITY" => seg.discontinuity = true,
            "#EXT-X-MAP" => seg.map = Some(attributes(value)["URI"].clone()),
            "#EXT-X-PROGRAM-DATE-TIME" => seg.date = Some(value.to_owned()),
            "#EXT-X-GAP" => seg.gap = true,
            "#EXT-X-PART" => {
                let a = attributes(value);
                seg.parts.push(PartLine {
                    uri: a["URI"].clone(),
                    duration: a["DURATION"].parse().unwrap(),
                    independent: a.get("INDEPENDENT").is_some_and(|v| v == "YES"),
                    gap: a.get("GAP").is_some_and(|v| v == "YES"),
                });
            }
            "#EXTINF" => seg.duration = value.strip_suffix(',').unwrap().parse().unwrap(),
            "#EXT-X-PRELOAD-HINT" => p.hint = Some(attributes(value)["URI"].clone()),
            "#EXT-X-RENDITION-REPORT" => p.reports.push(value.to_owned()),
            "#EXT-X-ENDLIST" => p.ended = true,
            uri if !uri.starts_with('#') => {
                seg.uri = Some(line.to_owned());
                seg.msn = p.first_msn + p.skipped + p.segments.len() as u64;
                p.segments.push(core::mem::take(&mut seg));
            }
            other => panic!("unexpected {other} in\n{text}"),
        }
    }
    if seg != SegmentLines::default() {
        seg.msn = p.first_msn + p.skipped + p.segments.len() as u64;
        p.segments.push(seg);
    }
    assert_eq!(control["CAN-BLOCK-RELOAD"], "YES");
    let seconds = |name: &str| control[name].parse::<f64>().unwrap();
    assert!(seconds("PART-HOLD-BACK") >= 3.0 * p.part_target - 1e-9);
    assert!(seconds("HOLD-BACK") >= 3.0 * p.target);
    assert!(seconds("CAN-SKIP-UNTIL") >= 6.0 * p.target);
    p
}

/// Follows one media playlist through all its versions and holds it to the rules.
pub struct Reader {
    track: &'static str,
    /// Bytes by URI: nothing may ever change.
    pub bytes: BTreeMap<String, Bytes>,
    pub segments: BTreeMap<u64, SegmentLines>,
    pub discontinuities: BTreeMap<u64, u64>,
    pub last: Parsed,
    pub versions: u64,
    target: Option<(f64, f64)>,
    /// Frames come at one pace, so the 85 % rule must hold: `PART-TARGET` may not follow another.
    pub even: bool,
}

impl Reader {
    pub fn new(track: &'static str) -> Self {
        Self {
            track,
            bytes: BTreeMap::new(),
            segments: BTreeMap::new(),
            discontinuities: BTreeMap::new(),
            last: Parsed::default(),
            versions: 0,
            target: None,
            even: true,
        }
    }

    pub fn read(&mut self, packager: &mut Packager) {
        let path = format!("source/{}.m3u8", self.track);
        let Response::Ready(reply) = packager.respond(&Request::parse(&path, None).unwrap()) else {
            return;
        };
        if reply.status != 200 {
            return;
        }
        self.versions += 1;
        let text = String::from_utf8(reply.body.to_vec()).unwrap();
        let peer = m3u8_rs::parse_media_playlist_res(text.as_bytes()).expect("m3u8-rs reads it");
        let parsed = parse(&text);
        let complete = parsed.segments.iter().filter(|s| s.uri.is_some()).count();
        assert_eq!(peer.segments.len(), complete, "{text}");
        assert_eq!(peer.media_sequence, parsed.first_msn);
        self.check_head(&parsed, &text);
        for (index, segment) in parsed.segments.iter().enumerate() {
            self.check_segment(packager, &parsed, (index, segment), &text);
        }
        self.check_window(&parsed);
        self.last = parsed;
    }

    fn check_head(&mut self, parsed: &Parsed, text: &str) {
        let (target, part_target) = (parsed.target, parsed.part_target);
        let (first_target, first_part) = *self.target.get_or_insert((target, part_target));
        assert_eq!(first_part, part_target, "the part target never changes");
        assert!(target == first_target || target == 10.0, "the target rises once: {target}");
        assert!(target >= self.last.target);
        assert!(parsed.first_msn >= self.last.first_msn, "the sequence never goes back");
        let first = parsed.segments.first().expect("a playlist is never empty");
        assert!(first.map.is_some() && first.date.is_some(), "{text}");
        // Before a new map there is no hint.
        assert!(parsed.hint.is_none() || !parsed.ended, "{text}");
        if let (Some(hint), Some(last)) = (&parsed.hint, parsed.segments.last()) {
            let (msn, part) =
                if last.uri.is_none() { (last.msn, last.parts.len()) } else { (last.msn + 1, 0) };
            assert_eq!(*hint, format!("{}/{EPOCH}-{msn}.{part}.m4s", self.track));
        }
    }

    fn check_segment(
        &mut self,
        packager: &mut Packager,
        parsed: &Parsed,
        (index, segment): (usize, &SegmentLines),
        text: &str,
    ) {
        let before = parsed.segments[..=index].iter().filter(|s| s.discontinuity).count() as u64;
        let discontinuity = parsed.first_discontinuity + before;
        let known = *self.discontinuities.entry(segment.msn).or_insert(discontinuity);
        assert_eq!(known, discontinuity, "discontinuity of {} moved:\n{text}", segment.msn);
        self.check_parts(packager, parsed, segment);
        let Some(uri) = &segment.uri else {
            assert_eq!(index + 1, parsed.segments.len(), "only the last one is open");
            return;
        };
        assert!(segment.duration.round() <= parsed.target, "{} s\n{text}", segment.duration);
        if self.segments.get(&segment.msn).is_some_and(|s| s.uri.is_some()) {
            return;
        }
        let path = format!("source/{uri}");
        if segment.gap {
            assert_ne!(get(packager, &path).status, 200);
        } else {
            let body = self.fetch(packager, uri);
            if !segment.parts.is_empty() {
                let parts: Vec<u8> = segment
                    .parts
                    .iter()
                    .filter(|p| !p.gap)
                    .flat_map(|p| self.bytes[&p.uri].to_vec())
                    .collect();
                assert_eq!(body, parts, "a segment is its parts");
                let sum: f64 = segment.parts.iter().map(|p| p.duration).sum();
                assert!((sum - segment.duration).abs() < 1e-9, "{sum} {}", segment.duration);
            }
        }
        self.segments.insert(segment.msn, segment.clone());
    }

    fn check_parts(&mut self, packager: &mut Packager, parsed: &Parsed, segment: &SegmentLines) {
        for (index, part) in segment.parts.iter().enumerate() {
            assert_eq!(part.uri, format!("{}/{EPOCH}-{}.{index}.m4s", self.track, segment.msn));
            assert!(part.duration <= parsed.part_target + 1e-9, "{part:?}");
            // Exempt (draft §4.4.4.9): the last of a segment, before a gap, gaps, independent ones.
            let next = segment.parts.get(index + 1);
            let exempt = part.gap || part.independent || next.is_none_or(|next| next.gap);
            if self.even && !exempt {
                assert!(part.duration >= 0.85 * parsed.part_target - 1e-9, "{part:?} {segment:#?}");
            }
            if part.gap {
                assert_ne!(get(packager, &format!("source/{}", part.uri)).status, 200);
            } else if !self.bytes.contains_key(&part.uri) {
                self.fetch(packager, &part.uri);
            }
        }
    }

    fn check_window(&self, parsed: &Parsed) {
        if parsed.first_msn > self.last.first_msn && self.versions > 1 {
            let listed: f64 = parsed.segments.iter().map(|s| s.duration).sum();
            assert!(listed >= 3.0 * parsed.target, "three target durations stay: {listed}");
        }
    }

    fn fetch(&mut self, packager: &mut Packager, uri: &str) -> Bytes {
        let reply = get(packager, &format!("source/{uri}"));
        assert_eq!(reply.status, 200, "{uri}");
        assert!(reply.cache_control.contains("immutable"));
        let known = self.bytes.entry(uri.to_owned()).or_insert_with(|| reply.body.clone());
        assert_eq!(*known, reply.body, "{uri} changed");
        reply.body
    }

    /// All samples of all segments in order: (decoding time, composition offset, duration, bytes).
    pub fn samples(&self) -> Vec<(u64, i64, u32, Bytes)> {
        let uris = self.segments.values().filter_map(|s| s.uri.as_ref());
        uris.filter_map(|uri| self.bytes.get(uri)).flat_map(samples).collect()
    }
}

/// Reads the samples of a segment.
pub fn samples(segment: &Bytes) -> Vec<(u64, i64, u32, Bytes)> {
    let mut out = Vec::new();
    let mut rest = &segment[..];
    while !rest.is_empty() {
        let moof = Moof::decode(&mut rest).unwrap();
        let size = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        let (mut mdat, tail) = (&rest[8..size], &rest[size..]);
        let mut dts = moof.traf[0].tfdt.as_ref().unwrap().base_media_decode_time;
        for entry in moof.traf[0].trun[0].samples.iter() {
            let (data, more) = mdat.split_at(entry.size.unwrap() as usize);
            out.push((
                dts,
                entry.cts.unwrap(),
                entry.duration.unwrap(),
                Bytes::copy_from_slice(data),
            ));
            dts += u64::from(entry.duration.unwrap());
            mdat = more;
        }
        assert!(mdat.is_empty());
        rest = tail;
    }
    out
}
