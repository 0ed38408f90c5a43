//! The server dies or is stopped; when it is back, the same key continues the same broadcast.

mod support;

use support::{Server, tools};

fn comes_back(mut server: Server, stop: impl FnOnce(&mut Server)) {
    let publisher = tools::ffmpeg_publishes(&server.publish_url());
    server.await_media();
    let started = server.stream()["started_at"].clone();
    server.eventually("the store knows", || (server.state() == "live").then_some(()));
    stop(&mut server);
    let (status, _) = publisher.ended();
    assert!(!status.success(), "ffmpeg lost its server");
    server.restart();
    let keys = server.said().lines().filter(|line| line.starts_with("key ")).count();
    assert_eq!(keys, 1, "no second key is made");
    let _publisher = tools::ffmpeg_publishes(&server.publish_url());
    server.await_media();
    assert_eq!(server.stream()["started_at"], started, "the same broadcast");
    assert_eq!(server.state(), "live");
    assert_eq!(tools::ffmpeg_plays(&server.url("/hls/main/index.m3u8"), 2), "");
}

#[test]
fn a_killed_server_comes_back() {
    comes_back(Server::start(), Server::kill);
}

#[test]
fn a_stopped_server_ends_in_order_and_comes_back() {
    comes_back(Server::start(), |server| {
        let status = server.terminate();
        assert!(status.success(), "{status}; the log:\n{}", server.log());
    });
}
