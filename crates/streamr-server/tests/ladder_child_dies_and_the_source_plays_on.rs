//! A rung whose transcoder dies or falls behind leaves, the source goes on, and the rung comes
//! back. It follows a publisher that returns, and there are no more of them than there may be.

mod serving;

use std::time::Duration;

use serving::{Serving, free_address, publish, publish_as};
use streamr_server::Config;

const PLAYLIST: &str = "/hls/main/index.m3u8";
const RUNG: &str = "180p/video0.m3u8";

/// The transcoder of the rung, among the children of this process.
fn transcoder() -> Option<u32> {
    let own = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|pid: &u32| {
        let read = |file| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let stat = String::from_utf8_lossy(&read("stat")).into_owned();
        // Behind the name in brackets: state, parent.
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
        parent == Some(&own) && String::from_utf8_lossy(&read("cmdline")).contains("scale=-2:180")
    })
}

/// The number behind the last segment of a media playlist.
fn segments(playlist: &str) -> u64 {
    let value = |name: &str| playlist.lines().find_map(|line| line.strip_prefix(name));
    let first: u64 = value("#EXT-X-MEDIA-SEQUENCE:").and_then(|n| n.parse().ok()).unwrap_or(0);
    first + playlist.matches("#EXTINF").count() as u64
}

const SOURCE: &str = "/hls/main/source/video0.m3u8";

/// A server with a ladder, and where to publish by RTMP.
async fn start(change: impl FnOnce(&mut Config)) -> (Serving, String) {
    let mut config = Config::default();
    config.rtmp.listen = free_address();
    config.srt.listen = String::new();
    config.webrtc.listen = String::new();
    // The source has 360 lines: the larger rung is left out.
    config.ladder.renditions = vec!["720p".to_owned(), "180p".to_owned()];
    change(&mut config);
    let url = format!("rtmp://{}/live/", config.rtmp.listen);
    (Serving::start(config).await, url)
}

fn signal(pid: u32, signal: &str) {
    let sent = std::process::Command::new("kill").args([signal, &pid.to_string()]).status();
    assert!(sent.expect("kill is installed").success());
}

async fn goes_on(serving: &Serving) {
    let before = segments(&serving.get(SOURCE).await);
    serving.wait_for(SOURCE, |text| segments(text) > before + 1).await;
}

async fn failures(serving: &Serving, expected: u32) {
    let metrics = serving.get("/metrics").await;
    let line = format!("streamr_ladder_failed_total {expected}\n");
    assert!(metrics.contains(&line), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ladder_child_dies_and_the_source_plays_on() {
    let (serving, url) = start(|_| {}).await;
    let _publisher = publish("flv", &format!("{url}{}", serving.key));

    let both = serving.wait_for(PLAYLIST, |text| text.contains(RUNG)).await;
    assert!(both.contains("source/video0.m3u8") && !both.contains("720p"), "{both}");
    let rung = serving.wait_for(&format!("/hls/main/{RUNG}"), |text| segments(text) > 1).await;
    assert!(rung.contains("#EXT-X-PART:"), "{rung}");

    signal(transcoder().expect("a transcoder runs"), "-KILL");
    let alone = serving.wait_for(PLAYLIST, |text| !text.contains(RUNG)).await;
    assert!(alone.contains("source/video0.m3u8"), "{alone}");
    goes_on(&serving).await;

    serving.wait_for(PLAYLIST, |text| text.contains(RUNG)).await;
    failures(&serving, 1).await;
    serving.stop().await;
    assert_eq!(transcoder(), None, "the transcoder ends with the broadcast");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_falls_behind_is_started_anew() {
    let (serving, url) = start(|_| {}).await;
    let _publisher = publish("flv", &format!("{url}{}", serving.key));
    serving.wait_for(PLAYLIST, |text| text.contains(RUNG)).await;

    let slow = transcoder().expect("a transcoder runs");
    signal(slow, "-STOP");
    // Longer than it may be behind, shorter than it may take nothing.
    tokio::time::sleep(Duration::from_secs(7)).await;
    signal(slow, "-CONT");
    serving.wait_for(PLAYLIST, |text| !text.contains(RUNG)).await;
    goes_on(&serving).await;
    serving.wait_for(PLAYLIST, |text| text.contains(RUNG)).await;
    assert_ne!(transcoder().expect("another one runs"), slow);
    failures(&serving, 1).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rungs_follow_a_publisher_that_returns() {
    let (serving, url) = start(|_| {}).await;
    let url = format!("{url}{}", serving.key);
    let mut first = publish("flv", &url);
    serving.wait_for(PLAYLIST, |text| text.contains(RUNG)).await;
    let before = transcoder().expect("a transcoder runs");
    first.kill().await.expect("it is ours");
    let _second = publish("flv", &url);
    let returned = |text: &str| text.contains("#EXT-X-DISCONTINUITY\n");
    serving.wait_for(SOURCE, returned).await;
    let another = || transcoder().is_some_and(|pid| pid != before);
    serving.wait_for(PLAYLIST, |text| text.contains(RUNG) && another()).await;
    serving.wait_for(&format!("/hls/main/{RUNG}"), |text| segments(text) > 1).await;
    failures(&serving, 0).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_streams_are_transcoded_than_may_be() {
    let (serving, url) = start(|config| config.ladder.streams_max = 1).await;
    let _first = publish("flv", &format!("{url}{}", serving.key));
    serving.wait_for(PLAYLIST, |text| text.contains(RUNG)).await;
    let key = serving.add_stream("second").await;
    let _second = publish("flv", &format!("{url}{key}"));
    let source = "/hls/second/source/video0.m3u8";
    serving.wait_for(source, |text| segments(text) > 3).await;
    let playlist = serving.get("/hls/second/index.m3u8").await;
    assert!(!playlist.contains(RUNG), "{playlist}");
    assert!(serving.get(PLAYLIST).await.contains(RUNG));
    failures(&serving, 0).await;
    serving.stop().await;
}

/// Whether this ffmpeg can transcode it or not, nothing is tried in vain.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_ffmpeg_may_not_read_plays() {
    let address = free_address();
    let (serving, _) = start(|config| config.srt.listen.clone_from(&address)).await;
    let url = format!("srt://{address}?pkt_size=1316&streamid=publish:{}", serving.key);
    let _publisher = publish_as("libx265", "mpegts", &url);
    let playlist = serving.wait_for(SOURCE, |text| segments(text) > 3).await;
    assert!(playlist.contains("#EXT-X-PART:"), "{playlist}");
    failures(&serving, 0).await;
    serving.stop().await;
}
