//! Every version of every playlist of made-up broadcasts is read by m3u8-rs and by a strict reader.

mod support;

use proptest::prelude::*;
use psyne::Time;
use streamr_media::hls::{Config, Packager};
use streamr_media::media::{Event, TrackId};
use support::{Bench, EPOCH, FIRST, Publisher, UNIX_US, aac, frame, h264};

fn quick() -> Config {
    Config { target_duration_s: 2, window_us_min: 6_000_000, ..Config::default() }
}

#[test]
fn every_frame_rate_and_sample_rate_keeps_the_85_percent_rule() {
    for fps in [24.0, 25.0, 29.97, 30.0, 50.0, 59.94, 60.0, 120.0] {
        for sample_rate in [44_100, 48_000] {
            for milliseconds in [true, false] {
                let publisher = Publisher {
                    fps,
                    gop: (fps * 2.0) as u32,
                    sample_rate,
                    milliseconds,
                    bframes: 2,
                    ..Publisher::default()
                };
                let mut bench = Bench::announced(Config::default(), sample_rate);
                for event in publisher.frames(7_000_000, 12.0) {
                    bench.take(event);
                }
                bench.end();
                assert!(bench.video.last.ended && bench.audio.last.ended);
                assert!((6..=7).contains(&bench.video.segments.len()), "{publisher:?}");
                let frames = bench.video.samples().len();
                assert_eq!(frames, (12.0 * fps) as usize, "nothing is lost");
            }
        }
    }
}

#[test]
fn segments_follow_the_keyframes_of_every_usual_encoder() {
    // (frames a second, frames between keyframes, seconds of the segments)
    for (fps, gop, seconds) in [
        (30.0, 15, 1.0),
        (30.0, 30, 1.0),
        (30.0, 60, 2.0),
        (25.0, 250, 10.0),
        (24.0, 250, 10.417),
        (60.0, 250, 4.167),
        (30.0, 1, 1.0),
        (30.0, 3_000, 10.49),
    ] {
        let mut bench = Bench::announced(Config::default(), 48_000);
        for event in (Publisher { fps, gop, ..Publisher::default() }).frames(0, 45.0) {
            bench.take(event);
        }
        let second = &bench.video.segments[&(FIRST + 1)];
        assert!((second.duration - seconds).abs() < 0.06, "{fps} {gop}: {}", second.duration);
        let target = if seconds < 4.45 { 4.0 } else { 10.0 };
        assert_eq!(bench.video.last.target, target, "{fps} {gop}");
        assert_eq!(bench.audio.last.target, target, "{fps} {gop}");
        let heard = &bench.audio.segments[&(FIRST + 1)];
        assert!(
            (heard.duration - second.duration).abs() < 0.06,
            "{} {}",
            heard.duration,
            second.duration
        );
    }
}

#[test]
fn a_minute_without_keyframe_is_cut_without_one() {
    let mut bench = Bench::announced(Config::default(), 48_000);
    let publisher = Publisher { gop: 1_800, ..Publisher::default() };
    for event in publisher.frames(0, 61.0) {
        bench.take(event);
    }
    bench.end();
    assert_eq!(bench.video.samples().len(), 1_830);
    assert!(bench.video.segments[&FIRST].duration < 10.5);
}

#[test]
fn an_hour_of_drift_keeps_sound_and_picture_together() {
    for audio_ppm in [-200, 200] {
        let publisher = Publisher { audio_ppm, gop: 60, ..Publisher::default() };
        let mut bench = Bench::new(quick());
        let track = aac(TrackId::AUDIO, 48_000);
        bench.packager.handle_event(Time::ZERO, Event::Track(track)).unwrap();
        let video = h264(TrackId::VIDEO, 1_280);
        bench.packager.handle_event(Time::ZERO, Event::Track(video)).unwrap();
        let mut worst_us = 0;
        for minute in 0..60 {
            let frames = publisher.frames(minute * 60_000_000, 60.0);
            for event in frames {
                bench.packager.handle_event(Time::ZERO, event).unwrap();
            }
            bench.audio.read(&mut bench.packager);
            let uri = bench.audio.last.segments.iter().rev().find_map(|s| s.uri.clone()).unwrap();
            for (dts, _, _, data) in support::samples(&bench.audio.bytes[&uri]) {
                let said_us = i64::from_be_bytes(data[..8].try_into().unwrap());
                worst_us = worst_us.max((said_us - dts as i64 * 1_000_000 / 48_000).abs());
            }
        }
        assert!(worst_us <= 21_333, "at most one frame of sound: {worst_us}");
    }
}

#[test]
fn a_publisher_that_returns_as_another_breaks_off_once_on_every_track() {
    for audio_late_us in [-15_000, 0, 23_000, 120_000] {
        let mut bench = Bench::announced(quick(), 48_000);
        for event in Publisher::default().frames(0, 5.0) {
            bench.take(event);
        }
        bench.now = Time::from_millis(5_300);
        bench.packager.handle_reconnect(bench.now);
        bench.take(Event::Track(h264(TrackId::VIDEO, 640)));
        bench.take(Event::Track(aac(TrackId::AUDIO, 44_100)));
        let other = Publisher { sample_rate: 44_100, audio_late_us, ..Publisher::default() };
        for event in other.frames(3_600_000_000, 5.0) {
            bench.take(event);
        }
        bench.end();
        assert_eq!(bench.packager.stats().discontinuities, 1, "{audio_late_us}");
        for reader in [&bench.video, &bench.audio] {
            let segments = || reader.segments.values();
            assert_eq!(segments().filter(|s| s.discontinuity).count(), 1, "{audio_late_us}");
            let broken = segments().find(|s| s.discontinuity).expect("counted above");
            assert!(broken.map.as_ref().is_some_and(|map| map.contains("init1")), "{broken:?}");
            assert!(!segments().any(|s| s.gap), "{audio_late_us}: {:#?}", reader.segments);
        }
    }
}

#[test]
fn reconnect_and_codec_change_are_discontinuities_on_every_track() {
    let mut bench = Bench::announced(quick(), 48_000);
    let publisher = Publisher::default();
    for event in publisher.frames(0, 5.0) {
        bench.take(event);
    }
    bench.packager.handle_reconnect(Time::from_millis(9_000));
    bench.read();
    bench.now = Time::from_millis(9_000);
    bench.take(Event::Track(h264(TrackId::VIDEO, 1_280)));
    bench.take(Event::Track(aac(TrackId::AUDIO, 48_000)));
    for event in publisher.frames(3_600_000_000, 5.0) {
        bench.take(event);
    }
    bench.take(Event::Track(h264(TrackId::VIDEO, 640)));
    bench.take(Event::Track(aac(TrackId::AUDIO, 44_100)));
    let publisher = Publisher { sample_rate: 44_100, ..publisher };
    for event in publisher.frames(3_605_000_000, 5.0) {
        bench.take(event);
    }
    bench.end();
    for reader in [&bench.video, &bench.audio] {
        let breaks: Vec<_> = reader.segments.values().filter(|s| s.discontinuity).collect();
        assert!(breaks.len() >= 2, "{:#?}", reader.segments);
        assert_eq!(
            reader.last.first_discontinuity,
            *reader.discontinuities.get(&reader.last.first_msn).unwrap()
                - u64::from(reader.last.segments[0].discontinuity)
        );
        assert!(breaks.iter().all(|s| s.date.is_some()));
        let maps: std::collections::BTreeSet<_> =
            reader.segments.values().filter_map(|s| s.map.clone()).collect();
        assert_eq!(maps.len(), 2, "one init segment a configuration: {maps:?}");
    }
    let at = |r: &support::Reader| {
        r.segments.values().filter(|s| s.discontinuity).map(|s| s.msn).collect::<Vec<_>>()
    };
    assert_eq!(at(&bench.video), at(&bench.audio), "all tracks break at the same number");
    assert_eq!(bench.packager.stats().discontinuities, at(&bench.video).len() as u64);
    assert!(
        bench
            .video
            .segments
            .values()
            .any(|s| s.date.as_deref().is_some_and(|d| d.ends_with(":29.000Z"))),
        "the wall clock shows the pause"
    );
}

#[test]
fn a_silent_track_gets_gaps_and_comes_back() {
    let mut bench = Bench::announced(quick(), 48_000);
    bench.audio.even = false;
    for event in Publisher::default().frames(0, 40.0) {
        let silent = matches!(&event, Event::Frame(f) if f.track == TrackId::AUDIO
            && (10_000_000..30_000_000).contains(&f.dts_us));
        if !silent {
            bench.take(event);
        }
    }
    bench.end();
    assert!(bench.audio.segments.values().any(|s| s.gap));
    assert!(bench.video.segments.values().all(|s| !s.gap));
    let samples = bench.audio.samples();
    assert!(samples.iter().any(|s| s.0 > 35 * 48_000), "it came back");
    assert_eq!(bench.video.segments.len(), bench.audio.segments.len());
}

#[test]
fn a_track_that_joins_late_and_lags_begins_in_the_segment_of_its_time() {
    for lag_us in [0, 300_000, 3_100_000] {
        let mut bench = Bench::announced(quick(), 48_000);
        let publisher = Publisher { gop: 30, ..Publisher::default() };
        let mut events = publisher.frames(0, 16.0);
        events.retain(|event| {
            !matches!(event, Event::Frame(f) if f.track == TrackId::AUDIO && f.dts_us < 6_000_000)
        });
        events.sort_by_key(|event| match event {
            Event::Frame(f) if f.track == TrackId::AUDIO => f.dts_us + lag_us,
            Event::Frame(f) => f.dts_us,
            _ => 0,
        });
        let (before, after) = events.split_at(90);
        before.iter().for_each(|event| bench.take(event.clone()));
        bench.take(Event::Track(h264(TrackId::VIDEO, 640)));
        after.iter().for_each(|event| bench.take(event.clone()));
        bench.end();
        let (first, sound) = bench.audio.segments.first_key_value().unwrap();
        assert_eq!(*first, bench.video.segments.keys().nth(6).copied().unwrap(), "{lag_us}");
        assert!(sound.duration < 1.1 && !sound.gap, "{lag_us}: {sound:?}");
        for (msn, number) in &bench.audio.discontinuities {
            assert_eq!(number, &bench.video.discontinuities[msn], "{lag_us}: segment {msn}");
        }
    }
}

#[test]
fn one_track_alone_is_enough() {
    for track in [TrackId::VIDEO, TrackId::AUDIO] {
        let mut bench = Bench::new(quick());
        bench.take(Event::Track(h264(TrackId::VIDEO, 1_280)));
        bench.take(Event::Track(aac(TrackId::AUDIO, 48_000)));
        for event in Publisher::default().frames(0, 20.0) {
            if matches!(&event, Event::Frame(f) if f.track == track) {
                bench.take(event);
            }
        }
        bench.end();
        let reader = if track == TrackId::VIDEO { &bench.video } else { &bench.audio };
        assert!(reader.segments.len() >= 10);
        let reply = support::get(&mut bench.packager, "index.m3u8");
        let text = String::from_utf8(reply.body.to_vec()).unwrap();
        assert!(text.contains(&format!("source/{track}.m3u8")), "{text}");
        m3u8_rs::parse_master_playlist_res(text.as_bytes()).expect("m3u8-rs reads it");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Play { fps: u8, gop: u16, ms: u16, bframes: u8 },
    Jump(i64),
    Reconnect,
    Resize(u16),
    Pause,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1_u8..=120, 1_u16..600, 10_u16..6_000, 0_u8..4)
            .prop_map(|(fps, gop, ms, bframes)| Step::Play { fps, gop, ms, bframes }),
        1 => prop_oneof![-20_000_000_i64..20_000_000, any::<i64>()].prop_map(Step::Jump),
        1 => Just(Step::Reconnect),
        1 => (2_u16..4_000).prop_map(Step::Resize),
        1 => Just(Step::Pause),
    ];
    proptest::collection::vec(step, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_publisher_does_the_playlists_keep_the_rules(steps in steps()) {
        let mut bench = Bench::announced(quick(), 48_000);
        bench.video.even = false;
        bench.audio.even = false;
        let mut clock = 0_i64;
        for step in steps {
            match step {
                Step::Play { fps, gop, ms, bframes } => {
                    let publisher = Publisher {
                        fps: fps.into(), gop: gop.into(), bframes: bframes.into(),
                        ..Publisher::default()
                    };
                    for event in publisher.frames(clock, f64::from(ms) / 1e3) {
                        bench.take(event);
                    }
                    clock = (clock + i64::from(ms) * 1_000).clamp(-1 << 60, 1 << 60);
                }
                Step::Jump(us) => clock = clock.saturating_add(us).clamp(-1 << 60, 1 << 60),
                Step::Reconnect => bench.packager.handle_reconnect(bench.now),
                Step::Resize(width) => bench.take(Event::Track(h264(TrackId::VIDEO, width))),
                Step::Pause => bench.packager.handle_pause(bench.now),
            }
            bench.read();
        }
        bench.end();
        let mut last = None;
        for (dts, ..) in bench.video.samples() {
            prop_assert!(last.is_none_or(|last| dts > last), "{dts} after {last:?}");
            last = Some(dts);
        }
    }
}

#[test]
fn absurd_frames_are_refused_or_dropped() {
    let mut bench = Bench::new(quick());
    bench.take(frame(TrackId::VIDEO, 0, 0, true));
    assert_eq!(bench.packager.stats().frames_dropped, 1, "before its config");
    bench.take(Event::Track(h264(TrackId::VIDEO, 1_280)));
    bench.take(frame(TrackId::VIDEO, 0, 0, false));
    assert_eq!(bench.packager.stats().frames_dropped, 2, "before the first keyframe");
    let of = |bytes: usize, dts_us| {
        let Event::Frame(f) = frame(TrackId::VIDEO, dts_us, dts_us, true) else { unreachable!() };
        Event::Frame(streamr_media::media::Frame { data: vec![7; bytes].into(), ..f })
    };
    bench.take(of(0, 40_000));
    assert_eq!(bench.packager.stats().frames_dropped, 3, "empty");
    let error = bench.packager.handle_event(bench.now, of(50 << 20, 80_000)).unwrap_err();
    assert_eq!(error.code(), "limit");
    bench.take(of(16 << 20, 120_000));
    bench.take(of(100, 160_000));
    bench.end();
    assert_eq!(bench.video.samples().len(), 2, "it stays usable");
}

#[test]
fn memory_is_bounded_whatever_the_rate() {
    let config = Config { stream_bytes_max: 3 << 20, segment_bytes_max: 1 << 20, ..quick() };
    let mut bench = Bench::new(config);
    bench.take(Event::Track(h264(TrackId::VIDEO, 1_280)));
    for n in 0..600 {
        let Event::Frame(f) = frame(TrackId::VIDEO, n * 33_000, n * 33_000, n % 100 == 0) else {
            unreachable!()
        };
        let frame = streamr_media::media::Frame { data: vec![1; 200_000].into(), ..f };
        bench.packager.handle_event(bench.now, Event::Frame(frame)).unwrap();
        assert!(bench.packager.stats().held_bytes <= (3 << 20) + (1 << 20) + 400_000);
    }
    let one = Config { tracks_max: 1, ..quick() };
    let mut bench = Bench::announced(one, 48_000);
    bench.take(frame(TrackId::AUDIO, 0, 0, true));
    assert_eq!(bench.packager.stats().frames_dropped, 1, "a track over the limit is ignored");
}

#[test]
fn a_restart_goes_on_with_higher_numbers() {
    let broadcast = |unix_us: i64| {
        let mut packager = Packager::new(quick(), Time::ZERO, EPOCH, unix_us);
        let track = h264(TrackId::VIDEO, 1_280);
        packager.handle_event(Time::ZERO, Event::Track(track)).unwrap();
        for event in (Publisher { gop: 29, ..Publisher::default() }).frames(0, 20.0) {
            packager.handle_event(Time::ZERO, event).unwrap();
        }
        let reply = support::get(&mut packager, "source/video0.m3u8");
        (packager, support::parse(core::str::from_utf8(&reply.body).unwrap()))
    };
    let (_, first) = broadcast(UNIX_US);
    let (mut packager, second) = broadcast(UNIX_US + 20_000_000);
    let last = first.segments.last().unwrap();
    assert!(last.msn > FIRST + 10 && second.first_msn > last.msn);
    assert!(second.first_discontinuity > first.first_discontinuity);
    let next = format!("source/video0.m3u8?_HLS_msn={}&_HLS_part=1", last.msn);
    let reply = support::get(&mut packager, &next);
    assert_eq!(reply.status, 200, "who waits for the old broadcast gets the new one at once");
}

#[test]
fn sound_alone_is_cut_at_the_usual_length_after_the_picture_went() {
    let mut bench = Bench::announced(quick(), 48_000);
    let publisher = Publisher::default();
    for event in publisher.frames(0, 5.0) {
        bench.take(event);
    }
    bench.packager.handle_reconnect(bench.now);
    let heard = |e: &Event| matches!(e, Event::Frame(f) if f.track == TrackId::AUDIO);
    for event in publisher.frames(0, 10.0).into_iter().filter(heard) {
        bench.take(event);
    }
    bench.end();
    let after = bench.audio.segments.values().skip_while(|s| !s.discontinuity);
    let lengths: Vec<f64> = after.map(|s| s.duration).collect();
    assert!(lengths.len() >= 9 && lengths.iter().all(|s| *s < 1.1), "{lengths:?}");
    assert_eq!(bench.video.last.target, 2.0, "nothing made it rise");
}

#[test]
fn a_lagging_track_changes_its_config_between_segments() {
    let mut bench = Bench::announced(quick(), 48_000);
    bench.audio.even = false;
    let publisher = Publisher { gop: 30, ..Publisher::default() };
    let mut events = publisher.frames(0, 8.0);
    events.sort_by_key(|event| match event {
        Event::Frame(f) if f.track == TrackId::AUDIO => f.dts_us + 400_000,
        Event::Frame(f) => f.dts_us,
        _ => 0,
    });
    for event in events {
        let changes = matches!(&event, Event::Frame(f) if f.track == TrackId::AUDIO
            && (4_800_000..4_821_000).contains(&f.dts_us));
        if changes {
            bench.take(Event::Track(aac(TrackId::AUDIO, 44_100)));
        }
        bench.take(event);
    }
    bench.end();
    // The reader holds that no segment's map changes and that parts add up.
    let maps: Vec<_> = bench.audio.segments.values().filter_map(|s| s.map.clone()).collect();
    assert_eq!(maps.len(), 2, "{maps:?}");
    let changed = bench.audio.segments.values().filter(|s| s.map.is_some()).nth(1).unwrap();
    assert!(changed.discontinuity, "{changed:?}");
}
