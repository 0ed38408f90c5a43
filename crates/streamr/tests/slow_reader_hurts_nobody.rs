//! Players that stop reading: others miss nothing, memory stays, and they go on at a keyframe.

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use streamr_media::rtmp::{ClientEvent, Intent};
use support::rtmp::Connection;
use support::{LOOK, Server, tools};

/// More than fanout::Config::window_bytes_max and what sockets on both sides can hold.
const BYTES_BEHIND: u64 = 48 << 20;
/// What the server may grow by meanwhile: the stream itself, held once.
const GROWTH_KB_MAX: u64 = 200 << 10;

fn resident_kb(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Reads HTTP-FLV as everybody should, and counts.
fn follow(server: &Server, until_bytes: u64) -> tools::FlvCheck {
    let mut socket = flv(server);
    let mut check = tools::FlvCheck::default();
    let mut buffer = vec![0; 64 << 10];
    while check.bytes < until_bytes {
        let count = socket.read(&mut buffer).expect("the stream goes on");
        assert!(count > 0, "the stream ended:\n{}", server.log());
        check.push(&buffer[..count]);
    }
    check
}

/// An HTTP-FLV connection, its head not read yet. HTTP/1.0, so that the body has no chunks.
fn flv(server: &Server) -> TcpStream {
    let mut socket = TcpStream::connect(server.http).unwrap();
    socket.set_read_timeout(Some(support::PATIENCE)).unwrap();
    socket.write_all(b"GET /flv/main.flv HTTP/1.0\r\n\r\n").unwrap();
    socket
}

#[test]
fn readers_that_stop_are_skipped_and_others_miss_nothing() {
    let server = Server::start();
    let _publisher = tools::ffmpeg_publishes_much(&server.publish_url());
    server.await_media();
    let mut stopped_rtmp = Connection::open(server.rtmp, "main", Intent::Play);
    assert_eq!(stopped_rtmp.event(), ClientEvent::Ready);
    let mut stopped_http = flv(&server);
    let before_kb = resident_kb(&server);
    let good = follow(&server, BYTES_BEHIND);
    assert_eq!(good.gaps, 0, "a reader that keeps up missed something: {good:?}");
    let growth_kb = resident_kb(&server).saturating_sub(before_kb);
    assert!(growth_kb < GROWTH_KB_MAX, "the server grew by {growth_kb} KB");
    let mut late = tools::FlvCheck::default();
    let mut buffer = vec![0; 64 << 10];
    support::eventually("the HTTP-FLV reader is skipped to a keyframe", || {
        for _ in 0..100 {
            let count = stopped_http.read(&mut buffer).expect("it is still connected");
            assert!(count > 0, "it was closed instead of skipped:\n{}", server.log());
            late.push(&buffer[..count]);
        }
        (late.gaps > 0).then_some(())
    })
    .unwrap_or_else(|what| panic!("{what}: {late:?}"));
    assert_eq!(late.gaps_without_key, 0, "{late:?}");
    std::thread::sleep(LOOK);
    for _ in 0..100 {
        assert!(matches!(stopped_rtmp.event(), ClientEvent::Media(_)), "RTMP goes on, too");
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
}
