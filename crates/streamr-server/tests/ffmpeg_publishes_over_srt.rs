//! Real ffmpeg publishes over SRT, and nobody does with a wrong key; a caller
//! that encrypts unasked fails alone.

mod serving;

use serving::{Serving, free_address, publish};
use streamr_server::Config;

#[tokio::test(flavor = "multi_thread")]
async fn ffmpeg_publishes_over_srt() {
    let mut config = Config::default();
    config.rtmp.listen = String::new();
    config.srt.listen = free_address();
    let address = config.srt.listen.clone();
    let serving = Serving::start(config).await;
    let url = |key: &str| format!("srt://{address}?pkt_size=1316&streamid=publish:{key}");

    let ended = publish("mpegts", &url("wrong")).wait().await.expect("it ends");
    assert!(!ended.success(), "a wrong key was taken");
    let ready = serving.get("/api/v1/streams/main").await;
    assert!(ready.contains("\"state\":\"ready\""), "{ready}");
    let encrypted = format!("{}&passphrase=correct%20horse", url(&serving.key));
    let ended = publish("mpegts", &encrypted).wait().await.expect("it ends");
    assert!(!ended.success(), "an encrypted caller was taken");
    // The listener may be down for a moment, and the first attempt is still held as live.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let _publisher = publish("mpegts", &url(&serving.key));
    let playlist = serving.wait_for("/hls/main/source/video0.m3u8", |t| t.contains("#EXTINF"));
    assert!(playlist.await.contains("#EXT-X-PART:"));
    let live = serving.get("/api/v1/streams/main").await;
    assert!(live.contains("\"state\":\"live\"") && live.contains("mp4a.40.2"), "{live}");
    serving.stop().await;
}
