//! The opening that a watch page carries: as a player would have asked for it.

mod support;

use streamr_media::hls::{Config, Opening};
use streamr_media::media::{Event, TrackId};
use support::{Bench, EPOCH, FIRST, Publisher, aac, get};

fn opening(seconds: f64) -> (Bench, Option<Opening>) {
    let mut bench = Bench::announced(Config::default(), 48_000);
    for event in Publisher::default().frames(0, seconds) {
        bench.take(event);
    }
    let opening = bench.packager.opening();
    (bench, opening)
}

#[test]
fn playback_begins_at_the_keyframe_that_is_nearest_to_the_hold_back() {
    // Keyframes are 2 s apart, the hold-back is 1 s, and parts of 200 ms come a frame late.
    for (seconds, segment) in [(8.25, 3), (8.55, 4), (9.0, 4), (9.95, 4), (10.35, 4), (10.6, 5)] {
        let (mut bench, opening) = opening(seconds);
        let opening = opening.expect("media is there");
        let first = format!("video0/{EPOCH}-{}.0.m4s", FIRST + segment);
        assert_eq!(opening.media[0], format!("video0/{EPOCH}-init0.mp4"), "{seconds}");
        assert_eq!(opening.media[1], first, "{seconds}");
        for (name, text) in &opening.playlists {
            assert_eq!(get(&mut bench.packager, &format!("source/{name}")).body, text, "{name}");
        }
        for path in &opening.media {
            assert_eq!(get(&mut bench.packager, &format!("source/{path}")).status, 200, "{path}");
        }
        let sound: Vec<_> = opening.media.iter().filter(|p| p.starts_with("audio0/")).collect();
        let before = format!("audio0/{EPOCH}-{}.", FIRST + segment - 1);
        let at = format!("audio0/{EPOCH}-{}.0.m4s", FIRST + segment);
        assert!(sound[1].starts_with(&before) || *sound[1] == at, "{seconds}: {sound:?}");
        assert!(sound.contains(&&at), "{seconds}: {sound:?}");
    }
}

#[test]
fn sound_alone_begins_at_the_hold_back() {
    let mut bench = Bench::new(Config::default());
    bench.take(Event::Track(aac(TrackId::AUDIO, 48_000)));
    let of_sound = |event: &Event| matches!(event, Event::Frame(f) if f.track == TrackId::AUDIO);
    for event in Publisher::default().frames(0, 9.0).into_iter().filter(of_sound) {
        bench.take(event);
    }
    let media = bench.packager.opening().expect("media is there").media;
    assert!((5..=7).contains(&media.len()), "a head and a second of parts: {media:?}");
}

#[test]
fn there_is_none_before_media_and_none_after_the_end() {
    assert_eq!(opening(0.1).1, None);
    let (mut bench, some) = opening(3.0);
    assert!(some.is_some());
    bench.end();
    assert_eq!(bench.packager.opening(), None);
}

#[test]
fn a_long_group_of_pictures_is_not_brought_along_whole() {
    let mut bench = Bench::announced(Config::default(), 48_000);
    for event in (Publisher { gop: 3_000, ..Publisher::default() }).frames(0, 9.8) {
        bench.take(event);
    }
    let media = bench.packager.opening().expect("media is there").media;
    assert!(media.len() <= 40, "{}", media.len());
}
