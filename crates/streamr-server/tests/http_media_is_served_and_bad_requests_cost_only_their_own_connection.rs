//! HTTP for media over real sockets: what RFC 9110 and 9112 ask for, and what bad input gets.

mod engine;

use std::io::{Read, Write};
use std::time::Duration;

use engine::{Engine, Shelf, is_closed, receive};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use streamr_server::egress::Config;

const LIST: &str = "GET /hls/s/list HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn answers_say_what_was_asked() {
    let engine = Engine::plain();
    let seg = engine.shelf.seg.clone();
    let cases: &[(&str, u16, &[u8])] = &[
        ("GET /hls/s/list HTTP/1.1\r\nHost: h\r\n\r\n", 200, b"#EXTM3U\n"),
        ("GET /hls/s/seg HTTP/1.1\r\nHost: h\r\n\r\n", 200, &seg),
        ("GET /hls/s/seg HTTP/1.1\r\nRange: bytes=1000-1999\r\n\r\n", 206, &seg[1_000..2_000]),
        ("GET /hls/s/seg HTTP/1.1\r\nRange: bytes=-10\r\n\r\n", 206, &seg[seg.len() - 10..]),
        ("GET /hls/s/seg HTTP/1.1\r\nRange: bytes=2000000-\r\n\r\n", 416, b""),
        ("GET /hls/s/list HTTP/1.1\r\nIf-None-Match: W/\"one\"\r\n\r\n", 304, b""),
        ("GET /hls/s/list HTTP/1.1\r\nIf-None-Match: \"two\"\r\n\r\n", 200, b"#EXTM3U\n"),
        ("GET /hls/s/none HTTP/1.1\r\nHost: h\r\n\r\n", 404, b"no such thing\n"),
        ("GET /flv/none.flv HTTP/1.1\r\nHost: h\r\n\r\n", 404, b"no such live stream\n"),
    ];
    let mut socket = engine.connect();
    for (request, status, body) in cases {
        socket.write_all(request.as_bytes()).expect("it is read");
        let got = receive(&mut socket, false);
        assert_eq!((got.status, got.body.len()), (*status, body.len()), "{request:?}");
        assert_eq!(got.body, *body, "{request:?}");
        let date = got.header("date").and_then(|date| httpdate::parse_http_date(date).ok());
        assert!(date.is_some(), "{}", got.head);
    }
    socket.write_all(b"HEAD /hls/s/seg HTTP/1.1\r\nHost: h\r\n\r\n").expect("it is read");
    let got = receive(&mut socket, true);
    assert_eq!((got.status, got.header("content-length")), (200, Some("1250000")));
    socket.write_all(b"GET /hls/s/list HTTP/1.1\r\nConnection: close\r\n\r\n").expect("it is read");
    assert_eq!(receive(&mut socket, false).header("connection"), Some("close"));
    assert!(is_closed(&mut socket));
}

#[test]
fn requests_sent_ahead_are_answered_in_order_and_do_not_hold_others_up() {
    let engine = Engine::plain();
    let many = 5_000;
    let mut greedy = engine.connect();
    let mut writer = greedy.try_clone().expect("a second handle");
    let sender = std::thread::spawn(move || {
        for n in 0..many {
            let path = if n % 100 == 0 { "seg" } else { "list" };
            let request = format!("GET /hls/s/{path} HTTP/1.1\r\nHost: h\r\n\r\n");
            writer.write_all(request.as_bytes()).expect("it is read");
        }
    });
    for n in 0..many {
        let got = receive(&mut greedy, false);
        let want = if n % 100 == 0 { &engine.shelf.seg } else { &engine.shelf.list };
        assert_eq!(got.body.len(), want.len(), "answer {n}");
        if n % 1_000 == 500 {
            assert_eq!(receive(&mut engine.ask(LIST), false).status, 200);
        }
    }
    sender.join().expect("all was sent");
}

#[test]
fn a_head_in_single_bytes_is_a_head() {
    let engine = Engine::plain();
    let mut socket = engine.connect();
    socket.set_nodelay(true).expect("a TCP socket");
    for byte in LIST.as_bytes() {
        socket.write_all(&[*byte]).expect("it is read");
    }
    assert_eq!(receive(&mut socket, false).body, b"#EXTM3U\n");
}

#[test]
fn what_is_not_http_is_refused_and_costs_nobody_else() {
    let engine = Engine::start(
        Config { shards: 1, head_bytes_max: 1_000, ..Config::default() },
        Shelf::default(),
    );
    let mut neighbour = engine.ask(LIST);
    assert_eq!(receive(&mut neighbour, false).status, 200);
    let long = format!("GET /hls/s/list HTTP/1.1\r\nX: {}", "x".repeat(2_000));
    let split = "\0".repeat(70_000);
    let cases: &[(&str, u16)] = &[
        ("\x16\x03\x01\x02 hello", 400),
        ("GET /hls/s/list\r\n\r\n", 400),
        (&long, 431),
        (&split, 400),
    ];
    for (bytes, status) in cases {
        let mut socket = engine.connect();
        // It may be closed before all of it is taken.
        let _ = socket.write_all(bytes.as_bytes());
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        let start = format!("HTTP/1.1 {status} ");
        // Unread bytes make the kernel drop what was said.
        let told = answer.starts_with(start.as_bytes()) || bytes.len() > 60_000;
        assert!(told, "{}", answer.escape_ascii());
    }
    engine.until("all but the neighbour are gone", |m| m.connections == 1);
    assert_eq!(engine.metrics().malformed, cases.len() as u64);
    neighbour.write_all(LIST.as_bytes()).expect("it is read");
    assert_eq!(receive(&mut neighbour, false).status, 200);
}

#[test]
fn who_is_too_slow_or_silent_is_closed() {
    let short = Duration::from_millis(200);
    let config = Config { shards: 1, ..Config::default() };
    let slow_heads = Config { head_timeout: short, ..config.clone() };
    let silence = Config { idle_timeout: short, ..config.clone() };
    let stalls = Config { stall_timeout: short, ..config };
    let many = LIST.replace("list", "seg").repeat(100);
    for (config, said) in [(slow_heads, "GET /hls/"), (silence, ""), (stalls, &many)] {
        let engine = Engine::start(config, Shelf::default());
        let mut socket = engine.ask(said);
        engine.until("it is closed", |m| m.stalled == 1 && m.connections == 0);
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest);
        assert!(rest.len() < 100 * engine.shelf.seg.len(), "it was not sent everything");
    }
}

#[test]
fn no_more_connections_are_kept_than_the_limit_says() {
    let engine = Engine::start(
        Config { shards: 1, connections_max: 3, ..Config::default() },
        Shelf::default(),
    );
    let mut kept: Vec<_> = (0..3).map(|_| engine.ask(LIST)).collect();
    for socket in &mut kept {
        assert_eq!(receive(socket, false).status, 200);
    }
    assert!(is_closed(&mut engine.connect()));
    assert_eq!(engine.metrics().refused, 1);
    drop(kept);
    engine.until("the places are free", |m| m.connections == 0);
    assert_eq!(receive(&mut engine.ask(LIST), false).status, 200);
}

/// Answers with the request's own path and body.
async fn echo(
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let body = http_body_util::BodyExt::collect(request.into_body()).await?.to_bytes();
    Ok(hyper::Response::new([path.as_bytes(), b" ", &body].concat().into()))
}

#[tokio::test]
async fn what_is_not_media_reaches_the_general_server_with_what_was_read() {
    let mut engine = Engine::plain();
    let mut socket = engine.ask(LIST);
    assert_eq!(receive(&mut socket, false).status, 200);
    // Two requests that were read together: both must be heard there.
    let post = "POST /api/x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";
    socket
        .write_all(format!("{post}GET /page HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes())
        .expect("read");
    let handover = engine.handovers.recv().await.expect("the engine runs");
    assert_eq!(handover.peer_addr().ok(), socket.local_addr().ok());
    let io = TokioIo::new(handover.into_io().expect("a watched socket"));
    tokio::spawn(async move {
        let service = hyper::service::service_fn(echo);
        hyper::server::conn::http1::Builder::new().serve_connection(io, service).await
    });
    let answers = tokio::task::spawn_blocking(move || {
        [receive(&mut socket, false), receive(&mut socket, false)]
    });
    let answers = answers.await.expect("both answers come");
    assert_eq!(answers.map(|got| got.body), [b"/api/x hello".to_vec(), b"/page ".to_vec()]);
    let metrics = engine.metrics();
    assert_eq!((metrics.handed_over, metrics.connections), (1, 0));
}

#[test]
fn too_many_hand_overs_are_told_to_come_later() {
    let config = Config { shards: 1, handovers_max: 1, ..Config::default() };
    let mut engine = Engine::start(config, Shelf::default());
    let page = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let _first = engine.ask(page);
    engine.until("one waits", |m| m.handed_over == 1);
    let mut second = engine.ask(page);
    assert_eq!(receive(&mut second, false).status, 503);
    assert!(is_closed(&mut second));
    assert!(engine.handovers.try_recv().is_ok());
}
