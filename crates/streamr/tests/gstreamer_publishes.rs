//! Both RTMP sinks of GStreamer publish with their default settings.

mod support;

use support::{Server, tools};

fn publishes_through(sink: &str) {
    let server = Server::start();
    let url = server.publish_url();
    let pipeline = format!(
        "videotestsrc is-live=true ! video/x-raw,width=320,height=180,framerate=30/1 \
         ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 ! mux. \
         audiotestsrc is-live=true ! avenc_aac ! mux. \
         flvmux name=mux ! {sink} location={url}"
    );
    let words: Vec<_> = ["-q"].into_iter().chain(pipeline.split_whitespace()).collect();
    let mut publisher = tools::Tool::start("gst-launch-1.0", &words);
    let media = support::eventually("HLS has a segment", || {
        (!publisher.is_alive() || server.playlist().contains("#EXTINF")).then_some(())
    });
    if media.is_err() || !publisher.is_alive() {
        publisher.stop();
        let (_, complaints) = publisher.ended();
        panic!("{sink} does not publish: {complaints}\nthe log:\n{}", server.log());
    }
    assert_eq!(tools::ffmpeg_plays(&server.url("/hls/main/index.m3u8"), 2), "");
    assert!(publisher.is_alive(), "it publishes on");
}

#[test]
fn rtmp2sink_publishes() {
    publishes_through("rtmp2sink");
}

#[test]
fn rtmpsink_publishes() {
    publishes_through("rtmpsink");
}
