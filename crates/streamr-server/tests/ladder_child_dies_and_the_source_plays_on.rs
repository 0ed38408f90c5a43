//! The rung of a killed transcoder leaves, the source goes on, and the rung comes back.

mod serving;

use serving::{Serving, free_address, publish};
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

#[tokio::test(flavor = "multi_thread")]
async fn ladder_child_dies_and_the_source_plays_on() {
    let mut config = Config::default();
    config.rtmp.listen = free_address();
    config.srt.listen = String::new();
    // The source has 360 lines: the larger rung is left out.
    config.ladder.renditions = vec!["720p".to_owned(), "180p".to_owned()];
    let url = format!("rtmp://{}/live/", config.rtmp.listen);
    let serving = Serving::start(config).await;
    let _publisher = publish("flv", &format!("{url}{}", serving.key));

    let both = serving.wait_for(PLAYLIST, |text| text.contains(RUNG)).await;
    assert!(both.contains("source/video0.m3u8") && !both.contains("720p"), "{both}");
    let rung = serving.wait_for(&format!("/hls/main/{RUNG}"), |text| segments(text) > 1).await;
    assert!(rung.contains("#EXT-X-PART:"), "{rung}");

    let pid = transcoder().expect("a transcoder runs").to_string();
    let killed = std::process::Command::new("kill").args(["-9", &pid]).status();
    assert!(killed.expect("kill is installed").success());
    let alone = serving.wait_for(PLAYLIST, |text| !text.contains(RUNG)).await;
    assert!(alone.contains("source/video0.m3u8"), "{alone}");
    let source = "/hls/main/source/video0.m3u8";
    let before = segments(&serving.get(source).await);
    serving.wait_for(source, |text| segments(text) > before + 1).await;

    serving.wait_for(PLAYLIST, |text| text.contains(RUNG)).await;
    let metrics = serving.get("/metrics").await;
    assert!(metrics.contains("streamr_ladder_failed_total 1\n"), "{metrics}");
    serving.stop().await;
    assert_eq!(transcoder(), None, "the transcoder ends with the broadcast");
}
