//! A publisher that dies and comes back continues the same broadcast.

mod support;

use support::{Server, tools};

/// What the broadcast is known by: when it started, and the epoch in its addresses.
fn broadcast(server: &Server) -> (String, String) {
    let started = server.stream()["started_at"].as_str().unwrap_or_default().to_owned();
    let playlist = server.playlist();
    let map = playlist.lines().find_map(|line| line.strip_prefix("#EXT-X-MAP:URI=\"video0/"));
    let epoch = map.and_then(|uri| uri.split('-').next()).unwrap_or_default().to_owned();
    assert!(!started.is_empty() && !epoch.is_empty(), "{started} {playlist}");
    (started, epoch)
}

#[test]
fn a_killed_publisher_returns_into_the_same_broadcast() {
    let server = Server::start();
    let publisher = tools::ffmpeg_publishes(&server.publish_url());
    server.await_media();
    let before = broadcast(&server);
    publisher.kill();
    server.eventually("the server notices", || {
        server.log().contains("RTMP connection ended").then_some(())
    });
    assert_eq!(server.state(), "live", "viewers wait with the server");
    let _publisher = tools::ffmpeg_publishes(&server.publish_url());
    let playlist = server.eventually("media comes after a discontinuity", || {
        let playlist = server.playlist();
        let (_, after) = playlist.split_once("#EXT-X-DISCONTINUITY\n")?;
        after.contains("#EXTINF").then(|| playlist.clone())
    });
    assert!(!playlist.contains("#EXT-X-ENDLIST"), "{playlist}");
    assert_eq!(broadcast(&server), before);
    assert_eq!(tools::ffmpeg_plays(&server.url("/flv/main.flv"), 1), "");
}

#[test]
fn after_the_grace_period_it_is_another_broadcast() {
    let server = Server::start_with(&["stream.grace_s=1"]);
    let publisher = tools::ffmpeg_publishes(&server.publish_url());
    server.await_media();
    let before = broadcast(&server);
    publisher.kill();
    server.eventually("the broadcast ends", || (server.state() == "offline").then_some(()));
    assert!(server.playlist().contains("#EXT-X-ENDLIST"), "{}", server.playlist());
    let _publisher = tools::ffmpeg_publishes(&server.publish_url());
    server.eventually("the next broadcast is on", || {
        (server.state() == "live" && !server.playlist().contains("#EXT-X-ENDLIST")).then_some(())
    });
    server.await_media();
    assert_ne!(broadcast(&server).1, before.1, "its media has its own addresses");
}

#[test]
fn a_goodbye_is_told_from_a_loss() {
    let server = Server::start_with(&["stream.goodbye_grace_s=1"]);
    let publisher = tools::ffmpeg_publishes(&server.publish_url());
    server.await_media();
    publisher.stop();
    publisher.ended();
    server.eventually("the broadcast ends", || (server.state() == "offline").then_some(()));
    let log = server.log();
    assert!(log.contains("the publisher is gone: waiting 1 s for it"), "{log}");
    assert!(log.contains("reason=the publisher said goodbye"), "{log}");
}
