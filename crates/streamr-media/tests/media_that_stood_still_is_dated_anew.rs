//! The wall clock of playlists after a publisher, or its network, stood still.

mod support;

use psyne::Time;
use streamr_media::hls::Config;
use support::{Bench, Publisher, UNIX_US};

/// Plays twenty seconds that arrive when `arrival_us` says.
fn play(arrival_us: impl Fn(i64) -> i64) -> Bench {
    let mut bench = Bench::announced(Config::default(), 48_000);
    for (dts_us, event) in Publisher::default().timed_frames(0, 20.0) {
        bench.now = Time::from_micros(arrival_us(dts_us).unsigned_abs());
        bench.take(event);
    }
    bench.end();
    bench
}

/// Seconds from `UNIX_US` to the date of each discontinuity, and of the first segment.
fn dates(bench: &Bench) -> Vec<i64> {
    let dated = bench.video.segments.values().filter_map(|segment| segment.date.as_deref());
    let second = |date: &str| {
        let (_, seconds) = date.rsplit_once(':').expect("RFC 3339");
        let minute: i64 = date[14..16].parse().expect("minutes");
        minute * 60 + seconds[..2].parse::<i64>().expect("seconds")
    };
    let first = UNIX_US / 1_000_000 % 3_600;
    let mut dates: Vec<i64> = dated.map(|date| second(date) - first).collect();
    dates.dedup();
    dates
}

#[test]
fn a_publisher_that_stood_still_is_dated_anew_at_a_keyframe() {
    // It stands still for eight seconds after five, and goes on as if nothing had been.
    let bench = play(|us| if us < 5_000_000 { us } else { us + 8_000_000 });
    assert_eq!(bench.packager.stats().discontinuities, 1);
    let breaks: Vec<_> = bench.video.segments.values().filter(|s| s.discontinuity).collect();
    assert!(breaks.len() == 1 && breaks[0].parts[0].independent, "{breaks:?}");
    // Three seconds later at the next keyframe, of the media's eighth second.
    assert_eq!(dates(&bench).last(), Some(&16), "{:?}", dates(&bench));
    assert!(bench.audio.segments.values().filter(|s| s.discontinuity).count() == 1);
}

#[test]
fn a_network_that_stood_still_and_makes_up_for_it_changes_nothing() {
    // What was kept for eight seconds comes within a tenth of that.
    let bench = play(|us| match us {
        ..5_000_000 => us,
        5_000_000..13_000_000 => 13_000_000 + (us - 5_000_000) / 10,
        _ => us.max(13_800_000),
    });
    assert_eq!(bench.packager.stats().discontinuities, 0);
}

#[test]
fn neither_does_a_short_pause_nor_a_publisher_that_is_early() {
    assert_eq!(play(|us| us + us / 5_000_000 * 500_000).packager.stats().discontinuities, 0);
    assert_eq!(play(|us| us / 10).packager.stats().discontinuities, 0);
}
