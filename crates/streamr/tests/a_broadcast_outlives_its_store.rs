//! The database cannot be written: who watches and who publishes does not notice.

mod support;

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
