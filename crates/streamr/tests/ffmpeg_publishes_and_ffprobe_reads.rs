//! The main job: ffmpeg publishes with its defaults, and everybody's tools read every form of it.

mod support;

use serde_json::Value;
use support::{Server, tools};

/// The streams that ffprobe found, as (codec, width).
fn found(probe: &Value) -> Vec<(String, u64)> {
    let streams = probe["streams"].as_array().cloned().unwrap_or_default();
    let one = |stream: &Value| {
        let codec = stream["codec_name"].as_str().unwrap_or_default().to_owned();
        (codec, stream["width"].as_u64().unwrap_or(0))
    };
    let mut all: Vec<_> = streams.iter().map(one).collect();
    all.sort();
    all.dedup();
    all
}

#[test]
fn ffmpeg_publishes_and_hls_rtmp_and_http_flv_can_be_read() {
    let server = Server::start();
    assert_eq!(server.state(), "ready");
    let _publisher = tools::ffmpeg_publishes(&server.publish_url());
    server.await_media();
    let expected = [("aac".to_owned(), 0), ("h264".to_owned(), 320)];
    for url in [server.url("/hls/main/index.m3u8"), server.play_url(), server.url("/flv/main.flv")]
    {
        assert_eq!(found(&tools::ffprobe(&url)), expected, "{url}");
        assert_eq!(tools::ffmpeg_plays(&url, 2), "", "{url}");
    }
}

#[test]
fn the_api_says_what_is_on_and_when_it_is_over() {
    let server = Server::start_with(&["stream.goodbye_grace_s=0"]);
    let mut publisher = tools::ffmpeg_publishes(&server.publish_url());
    server.await_media();
    server.eventually("the API shows what is on", || {
        let stream = server.stream();
        let shown = (&stream["state"], &stream["width"], &stream["height"], &stream["codecs"][1]);
        let codec = stream["codecs"][0].as_str()?.starts_with("avc1.");
        (shown == (&"live".into(), &320.into(), &180.into(), &"mp4a.40.2".into()) && codec)
            .then_some(())
    });
    assert!(publisher.is_alive());
    publisher.stop();
    server.eventually("the stream is offline", || (server.state() == "offline").then_some(()));
    let playlist = server.playlist();
    assert!(playlist.contains("#EXT-X-ENDLIST"), "{playlist}");
}
