//! Only the key publishes, and only once at a time; everybody else gets the protocol's own status.

mod support;

use streamr_media::rtmp::{ClientEvent, Intent};
use support::rtmp::Connection;
use support::{Server, tools};

/// What the server says to a publisher with this key.
fn refusal(server: &Server, key: &str) -> String {
    let mut connection = Connection::open(server.rtmp, key, Intent::Publish);
    match connection.event() {
        ClientEvent::Refused { code, .. } => code,
        other => panic!("the key {key} was not refused, but {other:?}"),
    }
}

#[test]
fn a_wrong_key_is_refused() {
    let server = Server::start();
    for key in ["main", "nonsense", "", "live_0000000000000000000000000000000000000000"] {
        let code = refusal(&server, key);
        assert_eq!(code, "NetStream.Publish.BadName", "{key}");
    }
    let url = format!("rtmp://{}/live/wrong", server.rtmp);
    let (status, complaints) = tools::ffmpeg_publishes(&url).ended();
    assert!(!status.success(), "ffmpeg saw no error");
    assert!(!complaints.is_empty(), "ffmpeg said nothing");
    assert_eq!(server.state(), "ready");
    assert!(server.log().contains("no stream has this key"), "{}", server.log());
    assert!(!server.log().contains(&server.key), "the key is in the log");
}

#[test]
fn a_second_publisher_is_refused_while_the_first_is_alive() {
    let server = Server::start();
    let mut first = tools::ffmpeg_publishes(&server.publish_url());
    server.await_media();
    assert_eq!(refusal(&server, &server.key), "NetStream.Publish.BadName");
    let (status, _) = tools::ffmpeg_publishes(&server.publish_url()).ended();
    assert!(!status.success(), "ffmpeg saw no error");
    assert!(first.is_alive(), "the first goes on");
    assert_eq!(server.state(), "live");
}

#[test]
fn a_rotated_key_is_refused_and_its_publisher_is_cut_off() {
    let server = Server::start();
    let publisher = tools::ffmpeg_publishes(&server.publish_url());
    server.await_media();
    let answer = server.admin("POST", "/api/v1/streams/main/key", "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let fresh = answer.json()["publish_url"].as_str().unwrap_or_default().to_owned();
    let (status, _) = publisher.ended();
    assert!(!status.success(), "the publisher with the old key goes on");
    assert_eq!(refusal(&server, &server.key), "NetStream.Publish.BadName");
    let mut publisher = tools::ffmpeg_publishes(&fresh);
    server.eventually("the new key publishes", || {
        assert!(publisher.is_alive(), "refused: {}", server.log());
        server.playlist().contains("#EXT-X-DISCONTINUITY\n").then_some(())
    });
}
