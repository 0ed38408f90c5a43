//! Blocking, delta updates, expiry and every limit of the packager, as players meet them.

mod support;

use psyne::Time;
use streamr_media::Error;
use streamr_media::hls::{Config, Output, Packager, Request, Response, Until};
use streamr_media::media::{Event, Frame, TrackId};
use support::{Bench, EPOCH, FIRST, Publisher, UNIX_US, frame, h264};

const VIDEO: TrackId = TrackId::VIDEO;

/// A picture track alone: 30 frames a second, keyframes every 2 s, parts of 6 frames.
fn video(config: Config, seconds: f64) -> Packager {
    let mut packager = Packager::new(config, Time::ZERO, EPOCH, UNIX_US);
    packager.handle_event(Time::ZERO, Event::Track(h264(VIDEO, 1_280))).unwrap();
    feed(&mut packager, 0.0, seconds);
    packager
}

/// Frames from one second to another.
fn feed(packager: &mut Packager, from: f64, to: f64) {
    for n in (from * 30.0).round() as i64..(to * 30.0).round() as i64 {
        let dts = n * 100_000 / 3;
        let event = frame(VIDEO, dts, dts, n % 60 == 0);
        packager.handle_event(Time::ZERO, event).unwrap();
    }
}

fn sized(dts_us: i64, keyframe: bool, bytes: usize) -> Event {
    let data = vec![7; bytes].into();
    Event::Frame(Frame { track: VIDEO, dts_us, pts_us: dts_us, keyframe, data })
}

fn ask(packager: &mut Packager, path: &str) -> Response {
    let (path, query) = path.split_once('?').map_or((path, None), |(p, q)| (p, Some(q)));
    packager.respond(&Request::parse(path, query).unwrap())
}

fn wanted(packager: &mut Packager, msn: u64, part: Option<u32>) -> Response {
    let part = part.map_or_else(String::new, |part| format!("&_HLS_part={part}"));
    ask(packager, &format!("source/video0.m3u8?_HLS_msn={msn}{part}"))
}

/// 200, 400, 404, or the moment that is waited for.
#[derive(Debug, PartialEq)]
enum Got {
    Status(u16),
    Until(u64, Option<u32>),
}

fn got(response: Response) -> Got {
    match response {
        Response::Ready(reply) => Got::Status(reply.status),
        Response::Block(Until { msn, part, .. }) => Got::Until(msn - FIRST, part),
    }
}

#[test]
fn delivery_directives_are_answered_at_once_blocked_or_refused() {
    // 5.05 s: segments 0 and 1 are complete, segment 2 has 5 parts.
    let mut packager = video(Config::default(), 5.05);
    use Got::{Status, Until};
    for (msn, part, expected) in [
        (0, None, Status(200)),
        (1, None, Status(200)),
        (2, None, Until(2, None)),
        (3, None, Until(3, None)),
        (4, None, Status(400)),
        (u64::MAX - FIRST, None, Status(400)),
        (0, Some(3), Status(200)),
        (1, Some(9), Status(200)),
        (1, Some(10), Status(200)),
        (2, Some(4), Status(200)),
        (2, Some(5), Until(2, Some(5))),
        (2, Some(18), Until(2, Some(18))),
        (2, Some(19), Status(400)),
        (3, Some(0), Until(3, Some(0))),
        (3, Some(14), Status(400)),
        (4, Some(0), Status(400)),
    ] {
        let answer = got(wanted(&mut packager, FIRST + msn, part));
        assert_eq!(answer, expected, "{msn} {part:?}");
    }
    packager.handle_end(Time::ZERO);
    let answer = got(wanted(&mut packager, FIRST + 99, Some(0)));
    assert_eq!(answer, Status(200), "after the end nothing blocks");
}

#[test]
fn a_part_past_the_end_of_its_segment_means_the_first_of_the_next() {
    // At 4.1 s segment 1 is complete and segment 2 has no part yet.
    let mut packager = video(Config::default(), 4.1);
    let answer = got(wanted(&mut packager, FIRST + 1, Some(10)));
    assert_eq!(answer, Got::Until(2, Some(0)));
}

#[test]
fn what_is_waited_for_is_there_when_the_wait_is_over() {
    let mut packager = video(Config::default(), 5.05);
    for _ in 0..60 {
        while packager.poll_output() != Output::Wait(None) {}
        let open = newest(&mut packager).0;
        let Response::Block(until) = wanted(&mut packager, open, None) else {
            panic!("the open segment is not there yet")
        };
        let (msn, parts) = newest(&mut packager);
        let Response::Block(part) = wanted(&mut packager, msn, Some(parts)) else {
            panic!("the next part is not there yet")
        };
        let hint = format!("source/video0/{EPOCH}-{msn}.{parts}.m4s");
        let Response::Block(hinted) = ask(&mut packager, &hint) else { panic!("hinted") };
        assert_eq!(hinted, part);
        let from = next_frame(&packager);
        let mut met = [false; 2];
        for step in 1..=80 {
            let at = from + f64::from(step) / 30.0;
            feed(&mut packager, at - 1.0 / 30.0, at);
            while let Output::Event(said) = packager.poll_output() {
                met[0] |= until.is_met_by(&said);
                met[1] |= part.is_met_by(&said);
            }
            let there = [
                got(wanted(&mut packager, until.msn, None)) == Got::Status(200),
                got(wanted(&mut packager, part.msn, part.part)) == Got::Status(200),
            ];
            assert_eq!(met, there, "neither early nor late");
            let reply = got(ask(&mut packager, &hint));
            assert_eq!(reply != Got::Until(part.msn - FIRST, part.part), met[1]);
            if met == [true; 2] {
                break;
            }
        }
        assert_eq!(met, [true; 2]);
    }
}

fn newest(packager: &mut Packager) -> (u64, u32) {
    let reply = support::get(packager, "source/video0.m3u8");
    let parsed = support::parse(core::str::from_utf8(&reply.body).unwrap());
    let hint = parsed.hint.unwrap();
    let (msn, part) = hint.split_once('-').unwrap().1.split_once('.').unwrap();
    (msn.parse().unwrap(), part.strip_suffix(".m4s").unwrap().parse().unwrap())
}

/// Seconds up to which frames were taken.
fn next_frame(packager: &Packager) -> f64 {
    packager.stats().frames as f64 / 30.0
}

#[test]
fn before_the_first_part_playlists_block_and_other_tracks_do_not_exist() {
    let mut packager = video(Config::default(), 0.1);
    for path in ["index.m3u8", "source/video0.m3u8", "source/video0.m3u8?_HLS_skip=YES"] {
        assert!(matches!(ask(&mut packager, path), Response::Block(_)), "{path}");
    }
    for path in ["source/audio0.m3u8", "source/video1.m3u8", "source/video1/42-init0.mp4"] {
        assert_eq!(got(ask(&mut packager, path)), Got::Status(404), "{path}");
    }
    feed(&mut packager, 0.1, 0.3);
    for path in ["index.m3u8", "source/video0.m3u8"] {
        assert_eq!(got(ask(&mut packager, path)), Got::Status(200), "{path}");
    }
}

#[test]
fn a_delta_update_and_what_the_player_has_make_the_whole_playlist() {
    let mut packager = video(Config::default(), 60.05);
    let whole = support::get(&mut packager, "source/video0.m3u8");
    let delta = support::get(&mut packager, "source/video0.m3u8?_HLS_skip=YES");
    assert!(delta.body.len() < whole.body.len());
    let parse = |body: &[u8]| support::parse(core::str::from_utf8(body).unwrap());
    let (whole, delta) = (parse(&whole.body), parse(&delta.body));
    assert!(delta.skipped > 0, "by default there is something to skip");
    assert_eq!(delta.first_msn, whole.first_msn);
    let mut kept = delta.segments.clone();
    // The map and the date stand before the first segment of each.
    kept[0].map = whole.segments[delta.skipped as usize].map.clone();
    kept[0].date = whole.segments[delta.skipped as usize].date.clone();
    assert_eq!(kept, whole.segments[delta.skipped as usize..]);
    let left: f64 = kept.iter().map(|s| s.duration).sum();
    assert!(left >= 6.0 * whole.target - 2.0, "the last six target durations are kept: {left}");
}

#[test]
fn segments_linger_after_they_left_the_playlist_and_then_are_gone() {
    let mut packager = video(Config::default(), 60.05);
    let reply = support::get(&mut packager, "source/video0.m3u8");
    let first = support::parse(core::str::from_utf8(&reply.body).unwrap()).first_msn;
    assert!((14..=15).contains(&(first - FIRST)), "30 s of 60 are listed: {}", first - FIRST);
    let status = |packager: &mut Packager, msn: u64, file: &str| {
        let path = format!("source/video0/{EPOCH}-{msn}{file}");
        match ask(packager, &path) {
            Response::Ready(reply) => (reply.status, reply.cache_control),
            Response::Block(until) => panic!("{until:?}"),
        }
    };
    for file in [".m4s", ".0.m4s"] {
        assert_eq!(status(&mut packager, first - 4, file).0, 200, "10 s of grace");
        let (gone, cache) = status(&mut packager, first - 8, file);
        assert_eq!(gone, 404);
        assert!(cache.starts_with("public"), "a cache may know that it is gone");
        let (future, cache) = status(&mut packager, first + 99, file);
        assert_eq!((future, cache), (404, "no-store"), "it may yet come");
    }
    let other = format!("source/video0/{}-{first}.m4s", EPOCH + 1);
    assert_eq!(got(ask(&mut packager, &other)), Got::Status(404), "another broadcast");
    assert_eq!(status(&mut packager, first, ".99.m4s").0, 404, "a part that never was");
    assert_eq!(got(ask(&mut packager, "source/video0/42-init1.mp4")), Got::Status(404));
}

#[test]
fn a_playlist_lists_at_most_segments_max() {
    let config = Config { segments_max: 9, window_us_min: 3_600_000_000, ..Config::default() };
    let mut packager = video(config, 61.05);
    let reply = support::get(&mut packager, "source/video0.m3u8");
    let parsed = support::parse(core::str::from_utf8(&reply.body).unwrap());
    assert_eq!(parsed.segments.len(), 9);
}

#[test]
fn a_part_ends_before_part_bytes_max_and_a_segment_before_segment_bytes_max() {
    let config = Config {
        frame_bytes_max: 1_000,
        part_bytes_max: 2_500,
        segment_bytes_max: 10_000,
        ..Config::default()
    };
    let mut packager = video(config, 0.0);
    for n in 0..120 {
        let event = sized(n * 33_333, n % 60 == 0, 1_000);
        packager.handle_event(Time::ZERO, event).unwrap();
    }
    packager.handle_end(Time::ZERO);
    let reply = support::get(&mut packager, "source/video0.m3u8");
    let parsed = support::parse(core::str::from_utf8(&reply.body).unwrap());
    assert!(parsed.segments.len() >= 12);
    for segment in &parsed.segments {
        let path = |uri: &str| format!("source/{uri}");
        let body = support::get(&mut packager, &path(segment.uri.as_ref().unwrap())).body;
        assert!(support::samples(&body).len() <= 10, "{} bytes", body.len());
        for part in &segment.parts {
            let body = support::get(&mut packager, &path(&part.uri)).body;
            assert!(support::samples(&body).len() <= 2, "{} bytes", body.len());
        }
    }
    let error = packager_of(config).handle_event(Time::ZERO, sized(0, true, 1_001)).unwrap_err();
    assert_eq!(error, Error::Limit { limit: "frame_bytes_max", value: 1_001, max: 1_000 });
}

fn packager_of(config: Config) -> Packager {
    video(config, 0.0)
}

#[test]
fn a_silent_track_is_given_up_after_lag_us_max() {
    for lag_us_max in [2_000_000, 5_000_000] {
        let mut bench = Bench::announced(Config { lag_us_max, ..Config::default() }, 48_000);
        bench.audio.even = false;
        for event in Publisher::default().frames(0, 20.0) {
            let heard = matches!(&event, Event::Frame(f) if f.track == TrackId::AUDIO);
            if !heard || matches!(&event, Event::Frame(f) if f.dts_us < 1_000_000) {
                bench.take(event);
            }
        }
        let complete = bench.audio.segments.values().filter(|s| s.uri.is_some());
        let covered: f64 = complete.map(|s| s.duration).sum();
        let lag = 20.0 - covered;
        let max = lag_us_max as f64 / 1e6;
        assert!((max..=max + 2.1).contains(&lag), "{lag} {max}");
    }
}

#[test]
fn zero_length_and_huge_frames_change_nothing_for_the_others() {
    let mut packager = video(Config::default(), 1.0);
    packager.handle_event(Time::ZERO, sized(1_000_000, false, 0)).unwrap();
    assert_eq!(packager.stats().frames_dropped, 1);
    let huge = packager.handle_event(Time::ZERO, sized(1_001_000, false, 50 << 20));
    assert!(matches!(huge, Err(Error::Limit { limit: "frame_bytes_max", .. })));
    feed(&mut packager, 1.0, 3.0);
    assert_eq!(packager.stats().frames, 90);
    assert!(packager.stats().held_bytes < 1 << 20);
}

#[test]
fn a_counter_that_wraps_is_a_discontinuity_and_nothing_worse() {
    // 33 bits at 90 kHz, and 32 bits of milliseconds, as an unwrapping demuxer hands them on, and
    // as one hands them on that does not unwrap.
    for (wrap_us, unwrapped) in
        [((1_i64 << 33) * 100 / 9, true), ((1_i64 << 33) * 100 / 9, false), (1 << 42, false)]
    {
        let mut bench = Bench::announced(Config::default(), 48_000);
        for event in Publisher::default().frames(wrap_us - 6_000_000, 12.0) {
            bench.take(match event {
                Event::Frame(f) if !unwrapped => {
                    let (dts_us, pts_us) = (f.dts_us % wrap_us, f.pts_us % wrap_us);
                    Event::Frame(Frame { dts_us, pts_us, ..f })
                }
                event => event,
            });
        }
        bench.end();
        assert_eq!(bench.packager.stats().discontinuities, u64::from(!unwrapped));
        assert_eq!(bench.video.samples().len(), 360, "no picture is lost");
        let seconds: f64 = bench.video.segments.values().map(|s| s.duration).sum();
        assert!((seconds - 12.0).abs() < 0.1, "{seconds}");
    }
}
