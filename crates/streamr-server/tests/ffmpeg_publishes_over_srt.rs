//! Real ffmpeg publishes over SRT, encrypted, and nobody does with a wrong key or passphrase.

mod serving;

use serving::{Serving, free_address, publish};
use streamr_server::Config;

#[tokio::test(flavor = "multi_thread")]
async fn ffmpeg_publishes_over_srt() {
    let mut config = Config::default();
    config.rtmp.listen = String::new();
    config.srt.listen = free_address();
    config.srt.passphrase = "correct horse".to_owned();
    let address = config.srt.listen.clone();
    let serving = Serving::start(config).await;
    let url = |key: &str, phrase: &str| {
        format!("srt://{address}?pkt_size=1316&passphrase={phrase}&streamid=publish:{key}")
    };

    for (key, phrase) in [("wrong", "correct horse"), (serving.key.as_str(), "wrong horses")] {
        let ended = publish("mpegts", &url(key, phrase)).wait().await.expect("it ends");
        assert!(!ended.success(), "{key} with {phrase} was taken");
    }
    let ready = serving.get("/api/v1/streams/main").await;
    assert!(ready.contains("\"state\":\"ready\""), "{ready}");

    let _publisher = publish("mpegts", &url(&serving.key, "correct horse"));
    let playlist = serving.wait_for("/hls/main/source/video0.m3u8", |t| t.contains("#EXTINF"));
    assert!(playlist.await.contains("#EXT-X-PART:"));
    let live = serving.get("/api/v1/streams/main").await;
    assert!(live.contains("\"state\":\"live\"") && live.contains("mp4a.40.2"), "{live}");
    serving.stop().await;
}
