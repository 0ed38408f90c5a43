//! A publisher whose clock jumps or wraps: the broadcast goes on, and its playlists stay sound.

mod support;

use std::time::{Duration, Instant};

use streamr_media::flv::{Kind, Tag};
use support::rtmp::Connection;
use support::{Server, tools};

/// Two seconds of media as tags, made by ffmpeg.
fn reel(server: &Server) -> Vec<Tag> {
    let path = server.scratch().join("reel.flv").display().to_string();
    let picture = ["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30"];
    let sound = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"];
    let coded = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "30", "-pix_fmt", "yuv420p"];
    let rest = ["-c:a", "aac", "-t", "2", "-f", "flv", path.as_str()];
    let output = tools::run("ffmpeg", &[&picture[..], &sound, &coded, &rest].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bytes = std::fs::read(&path).expect("ffmpeg wrote it");
    let mut tags = Vec::new();
    let mut rest = &bytes[13..];
    while let Some((header, after)) = rest.split_first_chunk::<11>() {
        let size = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
        let timestamp_ms = u32::from_be_bytes([header[7], header[4], header[5], header[6]]);
        let body = after[..size].to_vec().into();
        let kind = Kind::of(header[0]).expect("ffmpeg writes known tags");
        tags.push(Tag { kind, timestamp_ms, body });
        rest = &after[size + 4..];
    }
    tags
}

/// Plays the reel in real time, its clock moved by `shift_ms`.
fn play(connection: &mut Connection, reel: &[Tag], shift_ms: u32) {
    let start = Instant::now();
    for tag in reel {
        let due = start + Duration::from_millis(tag.timestamp_ms.into());
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let timestamp_ms = tag.timestamp_ms.wrapping_add(shift_ms);
        connection.send(&Tag { timestamp_ms, ..tag.clone() }).expect("the server takes it");
    }
}

/// Durations and the target of a playlist.
fn check(playlist: &str) {
    let value = |tag: &str, line: &str| {
        let text = line.strip_prefix(tag)?.trim_end_matches(',').to_owned();
        text.parse::<f64>().ok()
    };
    let target = playlist.lines().find_map(|line| value("#EXT-X-TARGETDURATION:", line));
    let target = target.unwrap_or_else(|| panic!("no target duration in\n{playlist}"));
    for length in playlist.lines().filter_map(|line| value("#EXTINF:", line)) {
        assert!(length > 0.0 && length.round() <= target, "{length} s of {target}\n{playlist}");
    }
}

/// Seconds since the Unix epoch at which the newest segment of a playlist began.
fn newest_date(playlist: &str) -> Option<f64> {
    let (_, after) = playlist.rsplit_once("#EXT-X-PROGRAM-DATE-TIME:")?;
    let (date, after) = after.split_once('\n')?;
    let (minutes, seconds) = date.get(14..)?.trim_end_matches('Z').split_once(':')?;
    let since: f64 = minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?;
    let lengths = after.lines().filter_map(|line| line.strip_prefix("#EXTINF:"));
    let lengths = lengths.filter_map(|text| text.trim_end_matches(',').parse::<f64>().ok());
    Some(since + lengths.sum::<f64>())
}

#[test]
fn a_publisher_that_stands_still_and_goes_on_is_dated_anew() {
    let server = Server::start_with(&["hls.segment_ms=1000"]);
    let reel = reel(&server);
    let mut connection = Connection::publish(server.rtmp, &server.key);
    play(&mut connection, &reel, 0);
    std::thread::sleep(Duration::from_secs(6));
    for turn in 1..=4 {
        play(&mut connection, &reel, turn * 2_000);
    }
    let playlist = server.playlist();
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = unix.expect("after 1970").as_secs_f64() % 3_600.0;
    let newest = newest_date(&playlist).unwrap_or_else(|| panic!("no date in\n{playlist}"));
    let behind = (now - newest).rem_euclid(3_600.0);
    assert_eq!(playlist.matches("#EXT-X-DISCONTINUITY\n").count(), 1, "{playlist}");
    assert!(behind < 5.0, "the playlist ends {behind} s ago, as it would undated\n{playlist}");
}

#[test]
fn jumps_and_wraps_of_the_clock_do_not_stop_the_broadcast() {
    let server = Server::start_with(&["hls.segment_ms=1000"]);
    let reel = reel(&server);
    let mut connection = Connection::publish(server.rtmp, &server.key);
    let hour = 3_600_000;
    for (what, shift_ms) in [
        ("the start", 0),
        ("an hour on", hour),
        ("an hour back, just before 2^32", u32::MAX - 1_500),
        ("a second back, behind 2^32", 1_500),
        ("minutes on", 600_000),
        ("minutes back", 4_000),
    ] {
        let before = tools::newest_segment(&server.playlist());
        // Twice: after a small step back, time stands still until it has caught up.
        play(&mut connection, &reel, shift_ms);
        play(&mut connection, &reel, shift_ms.wrapping_add(2_000));
        server.eventually(what, || {
            (tools::newest_segment(&server.playlist()) > before).then_some(())
        });
        check(&server.playlist());
    }
    assert_eq!(tools::ffmpeg_plays(&server.url("/hls/main/index.m3u8"), 1), "");
    assert!(!server.log().contains("panicked"), "{}", server.log());
}
