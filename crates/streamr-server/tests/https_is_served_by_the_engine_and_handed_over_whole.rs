//! TLS in the engine: media is answered there, everything else goes on elsewhere in the session.

mod engine;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use engine::{Engine, PATIENCE, Shelf};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use streamr_server::egress::{Config, Listener};

type Client = StreamOwned<ClientConnection, TcpStream>;

/// An engine with TLS, and what its clients must trust.
fn secure(config: Config) -> (Engine, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("ring knows them")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .expect("they belong together");
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a certificate");
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring knows them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let listener = Listener::tls(socket, Arc::new(server));
    (Engine::start_on(config, Shelf::default(), listener), Arc::new(client))
}

fn connect(engine: &Engine, trust: &Arc<ClientConfig>) -> Client {
    let name = ServerName::try_from("localhost").expect("a name");
    let session = ClientConnection::new(trust.clone(), name).expect("a session");
    StreamOwned::new(session, engine.connect())
}

fn ask(client: &mut Client, path: &str) {
    client.write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).expect("sent");
}

#[test]
fn long_and_short_answers_and_blocked_reloads_arrive_whole() {
    let (engine, trust) = secure(Config { shards: 1, ..Config::default() });
    let mut client = connect(&engine, &trust);
    for path in ["/hls/s/seg", "/hls/s/list", "/hls/s/seg", "/hls/s/seg"] {
        ask(&mut client, path);
    }
    let (seg, list) = (engine.shelf.seg.clone(), engine.shelf.list.clone());
    for body in [&seg, &list, &seg, &seg] {
        assert!(engine::receive(&mut client, false).body == body[..], "every byte is the same");
    }
    ask(&mut client, "/hls/s/block?1");
    engine.until("it waits", |m| m.waiters == 1);
    engine.shelf.topic.get().expect("there is one").advance(1);
    assert_eq!(engine::receive(&mut client, false).body, b"version 1");
    client.write_all(b"GET /hls/s/seg HTTP/1.1\r\nConnection: close\r\n\r\n").expect("sent");
    assert!(engine::receive(&mut client, false).body == seg);
    assert_eq!(client.read(&mut [0]).expect("it says goodbye"), 0);
    engine.until("it is gone", |m| m.connections == 0);
}

#[test]
fn players_over_tls_are_fed_to_the_end() {
    let (engine, trust) = secure(Config { shards: 1, ..Config::default() });
    let stream = engine.live("s", Default::default());
    let mut client = connect(&engine, &trust);
    ask(&mut client, "/flv/s.flv");
    engine.until("it plays", |m| m.players_flv == 1);
    let mut broadcast = engine::Broadcast::default();
    broadcast.headers(&stream);
    for n in 0..30 {
        broadcast.picture(&stream, n == 0, 50_000);
    }
    stream.end();
    let mut all = Vec::new();
    client.read_to_end(&mut all).expect("it says goodbye");
    assert!(all.len() > 30 * 50_000, "{}", all.len());
}

#[test]
fn what_is_not_tls_or_never_finishes_its_handshake_is_closed() {
    let short = std::time::Duration::from_millis(200);
    let (engine, trust) = secure(Config { shards: 1, head_timeout: short, ..Config::default() });
    let mut plain = engine.ask("GET /hls/s/list HTTP/1.1\r\n\r\n");
    let _ = plain.read_to_end(&mut Vec::new());
    let mut silent = engine.connect();
    assert!(engine::is_closed(&mut silent));
    engine.until("both are gone", |m| (m.connections, m.stalled) == (0, 1));
    let mut client = connect(&engine, &trust);
    ask(&mut client, "/hls/s/list");
    assert_eq!(engine::receive(&mut client, false).status, 200);
}

/// Answers with a long body, so that it goes out in pieces.
async fn long(
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let body = http_body_util::BodyExt::collect(request.into_body()).await?.to_bytes();
    Ok(hyper::Response::new([path.as_bytes(), b" ", &body, &[b'x'; 3 << 20]].concat().into()))
}

#[tokio::test]
async fn what_is_not_media_goes_on_in_the_same_session() {
    let (mut engine, trust) = secure(Config { shards: 1, ..Config::default() });
    let mut client = connect(&engine, &trust);
    ask(&mut client, "/hls/s/list");
    assert_eq!(engine::receive(&mut client, false).status, 200);
    client
        .write_all(b"POST /api/x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello")
        .expect("sent");
    let handover = tokio::time::timeout(PATIENCE, engine.handovers.recv()).await;
    let handover = handover.expect("it comes").expect("the engine runs");
    assert!(handover.is_secure());
    let io = TokioIo::new(handover.into_io().expect("a watched socket"));
    tokio::spawn(async move {
        let service = hyper::service::service_fn(long);
        hyper::server::conn::http1::Builder::new().serve_connection(io, service).await
    });
    let bodies = tokio::task::spawn_blocking(move || {
        let first = engine::receive(&mut client, false).body;
        ask(&mut client, "/page");
        [first, engine::receive(&mut client, false).body]
    });
    for (body, start) in bodies.await.expect("both come").iter().zip(["/api/x hello", "/page "]) {
        assert!(body.starts_with(start.as_bytes()));
        assert_eq!(body.len(), start.len() + (3 << 20));
    }
}
