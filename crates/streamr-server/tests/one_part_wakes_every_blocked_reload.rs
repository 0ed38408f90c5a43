//! Requests that wait for a part: all are answered by one, however they are sent and end.

mod engine;

use std::io::Write;
use std::time::Duration;

use engine::{Engine, Shelf, receive};
use streamr_server::egress::Config;

fn block(version: u64) -> String {
    format!("GET /hls/s/block?{version} HTTP/1.1\r\nHost: h\r\n\r\n")
}

#[test]
fn one_part_wakes_all_who_wait_for_it_and_nobody_else() {
    // More than one turn's worth, on more than one shard.
    let engine = Engine::start(Config { shards: 2, ..Config::default() }, Shelf::default());
    let topic = engine.shelf.topic.get().expect("there is one");
    let mut now: Vec<_> = (0..700).map(|_| engine.ask(&block(1))).collect();
    let mut later: Vec<_> = (0..50).map(|_| engine.ask(&block(2))).collect();
    engine.until("all wait", |m| m.waiters == 750);
    topic.advance(1);
    let first = receive(&mut now[0], false);
    assert_eq!((first.status, &first.body[..]), (200, &b"version 1"[..]));
    for socket in &mut now[1..] {
        assert_eq!(receive(socket, false).body, first.body);
    }
    engine.until("the others still wait", |m| m.waiters == 50);
    for socket in &mut now {
        socket.write_all(block(2).as_bytes()).expect("it is read");
    }
    engine.until("all wait again", |m| m.waiters == 750);
    topic.advance(u64::MAX);
    for socket in now.iter_mut().chain(&mut later) {
        assert_eq!(receive(socket, false).body, b"version 2");
    }
}

#[test]
fn waiting_changes_nothing_about_the_rest_of_a_request() {
    let engine = Engine::plain();
    let topic = engine.shelf.topic.get().expect("there is one");
    let mut head = engine.ask(&block(1).replace("GET", "HEAD"));
    let mut ahead = engine.ask(&(block(1) + &block(0)));
    let mut last = engine.ask(&block(1).replace("HTTP/1.1", "HTTP/1.0"));
    engine.until("all wait", |m| m.waiters == 3);
    topic.advance(1);
    assert_eq!(receive(&mut head, true).header("content-length"), Some("9"));
    assert_eq!(receive(&mut ahead, false).body, b"version 1");
    assert_eq!(receive(&mut ahead, false).body, b"version 0");
    assert_eq!(receive(&mut last, false).header("connection"), Some("close"));
    assert!(engine::is_closed(&mut last));
}

#[test]
fn who_waits_in_vain_is_told_so() {
    let shelf = Shelf { block_timeout: Duration::from_millis(100), ..Shelf::default() };
    let engine = Engine::start(Config { shards: 1, ..Config::default() }, shelf);
    let mut socket = engine.ask(&block(9));
    assert_eq!(receive(&mut socket, false).status, 503);
    socket.write_all(block(0).as_bytes()).expect("it is read");
    assert_eq!(receive(&mut socket, false).status, 200);
}

#[test]
fn a_storm_of_disconnects_frees_everything() {
    let engine = Engine::start(Config { shards: 2, ..Config::default() }, Shelf::default());
    let topic = engine.shelf.topic.get().expect("there is one");
    let stream = engine.live("s", Default::default());
    let mut broadcast = engine::Broadcast::default();
    for round in 1..=5 {
        broadcast.headers(&stream);
        broadcast.picture(&stream, true, 20_000);
        let waiters: Vec<_> = (0..100).map(|_| engine.ask(&block(round))).collect();
        let flv = "GET /flv/s.flv HTTP/1.1\r\nHost: h\r\n\r\n";
        let players: Vec<_> = (0..50).map(|_| engine.ask(flv)).collect();
        let loaders: Vec<_> =
            (0..50).map(|_| engine.ask("GET /hls/s/seg HTTP/1.1\r\n\r\nGET /hl")).collect();
        let rtmp: Vec<_> = (0..3).map(|_| engine::Player::join(&engine, &stream)).collect();
        engine.until("all are there", |m| {
            (m.waiters, m.players_flv, m.players_rtmp, m.connections) == (100, 50, 3, 203)
        });
        // Half of them leave in the middle of an answer.
        broadcast.picture(&stream, false, 20_000);
        drop((players, loaders, rtmp));
        topic.advance(round);
        drop(waiters);
        engine.until("all are gone", |m| {
            (m.waiters, m.players_flv, m.players_rtmp, m.connections) == (0, 0, 0, 0)
        });
    }
}
