//! The database cannot be written: who watches and who publishes does not notice.

mod support;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use sqlx::{Connection as _, SqliteConnection};
use support::{Server, tools};

async fn lock(server: &Server) -> SqliteConnection {
    let path = format!("sqlite:{}", server.data().join("streamr.db").display());
    let mut other = SqliteConnection::connect(&path).await.expect("the database");
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.expect("nobody else writes");
    other
}

#[tokio::test]
async fn a_locked_database_stops_no_publisher_and_is_caught_up() {
    let server = Server::start_with(&["stream.grace_s=1"]);
    let first = tools::ffmpeg_publishes(&server.publish_url());
    server.await_media();
    let other = lock(&server).await;
    first.kill();
    server.eventually("the broadcast ends", || {
        server.playlist().contains("#EXT-X-ENDLIST").then_some(())
    });
    let _second = tools::ffmpeg_publishes(&server.publish_url());
    server.eventually("the next broadcast is on", || {
        let playlist = server.playlist();
        (playlist.contains("#EXTINF") && !playlist.contains("#EXT-X-ENDLIST")).then_some(())
    });
    server.eventually("the log says it", || {
        server.log().contains("what becomes of them is not kept").then_some(())
    });
    let ready = server.get("/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("is locked by another process"), "{}", ready.text());
    drop(other);
    server.eventually("the store has caught up", || {
        (server.get("/readyz").status == 200 && server.state() == "live").then_some(())
    });
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

/// Leaves not a byte free.
fn fill(disk: &Path) -> PathBuf {
    let path = disk.join("fill");
    let mut file = File::create(&path).expect("a file on the small disk");
    while file.write_all(&[7; 4_096]).is_ok() {}
    path
}

#[test]
fn a_full_disk_stops_no_broadcast_and_what_was_missed_is_caught_up() {
    let server = Server::start_on_small_disk(4 << 10, &["stream.grace_s=1"]);
    let first = tools::ffmpeg_publishes(&server.publish_url());
    server.await_media();
    let fill = fill(&server.small_disk());
    let parts = |text: &str| text.matches("#EXT-X-PART:").count();
    let before = server.playlist();
    server.eventually("the broadcast goes on", || {
        let now = server.playlist();
        (now != before && parts(&now) > 0 && !now.contains("#EXT-X-ENDLIST")).then_some(())
    });
    first.kill();
    server.eventually("the broadcast ends", || {
        server.playlist().contains("#EXT-X-ENDLIST").then_some(())
    });
    let _second = tools::ffmpeg_publishes(&server.publish_url());
    server.eventually("the next broadcast is on", || {
        let playlist = server.playlist();
        (playlist.contains("#EXTINF") && !playlist.contains("#EXT-X-ENDLIST")).then_some(())
    });
    server.eventually("the log says what to do", || {
        let log = server.log();
        (log.contains("what becomes of them is not kept") && log.contains("free some space"))
            .then_some(())
    });
    std::fs::remove_file(fill).expect("our own file");
    server.eventually("the store has caught up", || {
        let answers = server.log().contains("the store answers again");
        (answers && server.get("/readyz").status == 200 && server.state() == "live").then_some(())
    });
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn a_disk_that_turns_read_only_stops_no_broadcast_and_the_log_says_what_to_do() {
    let server = Server::start_on_a_disk_that_turns_read_only(&["stream.grace_s=1"]);
    let first = tools::ffmpeg_publishes(&server.publish_url());
    server.await_media();
    server.turn_disk_read_only(true);
    first.kill();
    server.eventually("the broadcast ends", || {
        server.playlist().contains("#EXT-X-ENDLIST").then_some(())
    });
    let _second = tools::ffmpeg_publishes(&server.publish_url());
    server.eventually("the next broadcast is on", || {
        let playlist = server.playlist();
        (playlist.contains("#EXTINF") && !playlist.contains("#EXT-X-ENDLIST")).then_some(())
    });
    let todo = "its disk fails or has become read-only; look at `dmesg`";
    server.eventually("the log says what to do", || {
        let log = server.log();
        (log.contains("what becomes of them is not kept") && log.contains(todo)).then_some(())
    });
    let ready = server.get("/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains(todo), "{}", ready.text());
    assert_eq!(server.get("/watch/main").status, 200, "who watches does not notice");
    server.turn_disk_read_only(false);
    server.eventually("the store has caught up", || {
        (server.get("/readyz").status == 200 && server.state() == "live").then_some(())
    });
    assert!(!server.log().contains("panicked"), "{}", server.log());
}
