//! Real ffmpeg publishes over SRT, encrypted if and only if that is asked for. A caller with a
//! wrong key or with encryption that nobody expects fails alone.

mod serving;

use serving::{Serving, free_address, publish};
use streamr_server::Config;

async fn start(passphrase: &str) -> (Serving, impl Fn(&str, &str) -> String) {
    let mut config = Config::default();
    config.rtmp.listen = String::new();
    config.srt.listen = free_address();
    config.srt.passphrase = passphrase.to_owned();
    config.stream.grace_s = 1;
    let address = config.srt.listen.clone();
    let url = move |key: &str, more: &str| {
        format!("srt://{address}?pkt_size=1316&streamid=publish:{key}{more}")
    };
    (Serving::start(config).await, url)
}

async fn fails(url: &str) {
    let ended = publish("mpegts", url).wait().await.expect("it ends");
    assert!(!ended.success(), "{url} was taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn ffmpeg_publishes_over_srt() {
    let (serving, url) = start("").await;
    fails(&url("wrong", "")).await;
    let ready = serving.get("/api/v1/streams/main").await;
    assert!(ready.contains("\"state\":\"ready\""), "{ready}");

    let mut publisher = publish("mpegts", &url(&serving.key, ""));
    let playlist = serving.wait_for("/hls/main/source/video0.m3u8", |t| t.contains("#EXTINF"));
    assert!(playlist.await.contains("#EXT-X-PART:"));
    let live = serving.get("/api/v1/streams/main").await;
    assert!(live.contains("\"state\":\"live\"") && live.contains("mp4a.40.2"), "{live}");

    // Nobody answers these, and the publisher does not notice them.
    for encrypted in ["&passphrase=correct-horse", "&passphrase=correct-horse&pbkeylen=32"] {
        fails(&url(&serving.key, encrypted)).await;
    }
    let segments = |text: &str| text.matches("#EXTINF").count();
    let before = segments(&serving.get("/hls/main/source/video0.m3u8").await);
    let after = serving.wait_for("/hls/main/source/video0.m3u8", |t| segments(t) > before + 1);
    assert!(!after.await.contains("#EXT-X-DISCONTINUITY\n"), "the publisher was interrupted");
    assert!(publisher.try_wait().expect("it is ours").is_none(), "the publisher has gone");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passphrase_lets_in_who_knows_it() {
    let (serving, url) = start("correct-horse").await;
    fails(&url(&serving.key, "")).await;
    fails(&url(&serving.key, "&passphrase=incorrect-horse")).await;
    for length in ["", "&pbkeylen=16", "&pbkeylen=32"] {
        let url = url(&serving.key, &format!("&passphrase=correct-horse{length}"));
        let mut publisher = publish("mpegts", &url);
        let live =
            serving.wait_for("/api/v1/streams/main", |t| t.contains("\"state\":\"live\"")).await;
        let playlist = serving.wait_for("/hls/main/source/video0.m3u8", |t| t.contains("#EXTINF"));
        assert!(playlist.await.contains("#EXT-X-PART:"), "{length}: {live}");
        assert!(publisher.try_wait().expect("it is ours").is_none(), "{length}: it has gone");
        publisher.kill().await.expect("it is ours");
        let gone = |t: &str| !t.contains("\"state\":\"live\"");
        serving.wait_for("/api/v1/streams/main", gone).await;
    }
    serving.stop().await;
}
