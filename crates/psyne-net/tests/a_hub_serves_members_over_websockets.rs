//! The hub's server and client on real sockets of this machine, and what strangers do to the
//! server.

use core::time::Duration;
use std::net::{SocketAddr, TcpListener};

use futures_util::{SinkExt as _, StreamExt as _};
use psyne_net::signal::client::{Client, Config as ClientConfig, random_name};
use psyne_net::signal::server::{Config, Server, Tls};
use psyne_net::signal::{
    Event, FromHub, Join, Limits, Name, Rate, Refusal, Secret, Signal, Ticket, ToHub, hub,
};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// Longer than anything takes on a machine that is not broken.
const PATIENCE: Duration = Duration::from_secs(60);

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn config(limits: Limits) -> Config {
    let hub = hub::Config { limits, ..hub::Config::default() };
    Config { listen: "127.0.0.1:0".parse().unwrap(), tls: None, hub }
}

fn start(config: Config) -> (Server, JoinHandle<()>) {
    let (server, driver) = Server::listen(config).unwrap();
    (server, tokio::spawn(driver))
}

fn member(url: &str, peer: &str, token: Option<String>) -> Client {
    let mut config = ClientConfig::new(url, name("g"));
    config.member.peer = Some(name(peer));
    config.member.token = token;
    join(config)
}

fn join(config: ClientConfig) -> Client {
    let (client, driver) = Client::new(config).unwrap();
    tokio::spawn(driver);
    client
}

/// The next event that fits.
async fn wait<T>(client: &mut Client, what: &str, mut fits: impl FnMut(&Event) -> Option<T>) -> T {
    let mut seen = vec![];
    let found = timeout(PATIENCE, async {
        loop {
            let event = client.recv().await.unwrap_or_else(|| panic!("it ended before {what}"));
            if let Some(found) = fits(&event) {
                return found;
            }
            seen.push(event);
        }
    });
    found.await.unwrap_or_else(|_| panic!("waited in vain for {what}; saw {seen:?}"))
}

async fn up(client: &mut Client) {
    wait(client, "a welcome", |event| matches!(event, Event::Up(_)).then_some(())).await;
}

async fn joined(client: &mut Client, peer: &str) {
    let peer = name(peer);
    wait(client, "a newcomer", |event| (*event == Event::Joined(peer.clone())).then_some(())).await;
}

async fn signal(client: &mut Client) -> (Name, Name, Signal) {
    wait(client, "a signal", |event| match event.clone() {
        Event::Signal { from, session, signal } => Some((from, session, signal)),
        _ => None,
    })
    .await
}

/// Offer and answer between two.
async fn exchange(alice: &mut Client, bob: &mut Client) {
    let session = random_name();
    let offer = Signal::Offer("v=0\r\n\"quoted\" é".into());
    alice.sender().send(name("bob"), session.clone(), offer.clone()).await.unwrap();
    assert_eq!(signal(bob).await, (name("alice"), session.clone(), offer));
    let answer = Signal::Answer("v=0".into());
    bob.sender().send(name("alice"), session.clone(), answer.clone()).await.unwrap();
    assert_eq!(signal(alice).await, (name("bob"), session, answer));
}

#[tokio::test]
async fn two_members_find_each_other_and_one_leaves() {
    let (server, _running) = start(config(Limits::default()));
    let url = format!("ws://{}", server.local_addr());
    let mut alice = member(&url, "alice", None);
    up(&mut alice).await;
    let mut bob = member(&url, "bob", None);
    joined(&mut alice, "bob").await;
    exchange(&mut alice, &mut bob).await;
    assert_eq!((server.metrics().members, server.metrics().relayed), (2, 2));
    bob.leave().await;
    let ended = |event: &Event| matches!(event, Event::Ended { .. }).then(|| event.clone());
    let ended = wait(&mut bob, "the end", ended).await;
    assert_eq!(ended, Event::Ended { reason: "left".into() });
    let left = |event: &Event| matches!(event, Event::Left { .. }).then(|| event.clone());
    let left = wait(&mut alice, "that bob left", left).await;
    assert_eq!(left, Event::Left { peer: name("bob"), reason: "left".into() });
    drop(bob);
}

#[tokio::test]
async fn over_tls_and_by_token_only_who_should_gets_in() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let secret = Secret::new(b"sixteen bytes or more").unwrap();
    let mut config = config(Limits::default());
    config.tls = Some(Tls { certificate, key });
    config.hub.secret = Some(secret.clone());
    let (server, _running) = start(config);
    let url = format!("wss://localhost:{}", server.local_addr().port());
    let trusting = |token| {
        let mut config = ClientConfig::new(&url, name("g"));
        config.authorities = vec![CertificateDer::from(made.cert.der().to_vec())];
        config.member.token = token;
        config
    };
    let expires_unix_s = u64::MAX / 2_000_000;
    let ticket = Ticket { user: name("u"), group: name("g"), peer: None, expires_unix_s };
    up(&mut join(trusting(Some(ticket.seal(&secret))))).await;
    let mut stranger = join(trusting(Some("psyne1.e30.AAAA".into())));
    let ended = |event: &Event| match event {
        Event::Ended { reason } => Some(reason.clone()),
        _ => None,
    };
    assert_eq!(wait(&mut stranger, "its end", ended).await, Refusal::Token.code());
    // A client that was not told to believe this certificate does not.
    let mut wary = join(ClientConfig::new(&url, name("g")));
    let down = |event: &Event| match event {
        Event::Down { reason, .. } => Some(reason.clone()),
        _ => None,
    };
    let reason = wait(&mut wary, "a refusal", down).await;
    assert!(reason.contains("certificate"), "{reason}");
}

#[tokio::test]
async fn members_come_back_when_the_server_is_started_again() {
    // Held open, so that nobody else gets the port meanwhile.
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = || Server::serve(socket.try_clone().unwrap(), config(Limits::default())).unwrap();
    let (server, driver) = listen();
    let running = tokio::spawn(driver);
    let url = format!("ws://{}", server.local_addr());
    let mut alice = member(&url, "alice", None);
    up(&mut alice).await;
    let mut bob = member(&url, "bob", None);
    joined(&mut alice, "bob").await;
    server.close();
    timeout(PATIENCE, running).await.expect("it ends when all have heard it").unwrap();
    for member in [&mut alice, &mut bob] {
        let closing = |event: &Event| match event {
            Event::Down { reason, .. } => Some(reason.clone()),
            _ => None,
        };
        assert_eq!(wait(member, "the end of the hub", closing).await, Refusal::Closing.code());
    }
    let (_server, driver) = listen();
    let _running = tokio::spawn(driver);
    up(&mut alice).await;
    up(&mut bob).await;
    exchange(&mut alice, &mut bob).await;
}

type Raw = WebSocketStream<TcpStream>;

/// A WebSocket without any manners.
async fn raw(addr: SocketAddr) -> Raw {
    let mut request = format!("ws://{addr}/signal").into_client_request().unwrap();
    let protocol = "psyne.signal.1".parse().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", protocol);
    let stream = TcpStream::connect(addr).await.unwrap();
    client_async(request, stream).await.unwrap().0
}

async fn raw_member(addr: SocketAddr, peer: &str) -> Raw {
    let mut socket = raw(addr).await;
    let join = Join {
        version: 1,
        group: name("g"),
        peer: Some(name(peer)),
        instance: random_name(),
        token: None,
    };
    socket.send(Message::text(ToHub::Join(join).write())).await.unwrap();
    let welcome = timeout(PATIENCE, socket.next()).await.expect("a welcome").unwrap().unwrap();
    assert!(matches!(FromHub::read(welcome.to_text().unwrap()), Ok(FromHub::Welcome(_))));
    socket
}

/// The close code and reason.
async fn closed(socket: &mut Raw) -> (u16, String) {
    let end = async {
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Close(Some(frame)) = message {
                return (frame.code.into(), frame.reason.to_string());
            }
        }
        panic!("it was closed without a word")
    };
    timeout(PATIENCE, end).await.expect("it is closed")
}

#[tokio::test]
async fn who_breaks_the_protocol_hears_why_and_the_others_nothing() {
    let (server, _running) = start(config(Limits::default()));
    let addr = server.local_addr();
    let mut alice = member(&format!("ws://{addr}"), "alice", None);
    up(&mut alice).await;
    let long = "x".repeat(Limits::default().message_bytes_max + 1);
    for (message, code) in [
        (Message::text("nonsense"), Refusal::Malformed),
        (Message::binary(vec![0]), Refusal::Malformed),
        (Message::text(long), Refusal::TooLong),
        (
            Message::text(r#"{"type":"join","version":1,"group":"a b","instance":"x"}"#),
            Refusal::Name,
        ),
    ] {
        let mut socket = raw(addr).await;
        socket.send(message).await.unwrap();
        assert_eq!(closed(&mut socket).await, (4_000, code.code().to_owned()));
    }
    let mut bob = raw_member(addr, "bob").await;
    joined(&mut alice, "bob").await;
    bob.send(Message::text(ToHub::Leave.write())).await.unwrap();
    assert_eq!(closed(&mut bob).await, (1_000, String::new()));
}

#[tokio::test]
async fn a_member_that_never_reads_is_cut_off_and_the_others_go_on() {
    let rate = Rate { burst: u32::MAX, per_s: 1 };
    let limits = Limits { messages: rate, bytes: rate, ..Limits::default() };
    let (server, _running) = start(config(limits));
    let addr = server.local_addr();
    let _deaf = raw_member(addr, "deaf").await;
    let mut alice = member(&format!("ws://{addr}"), "alice", None);
    up(&mut alice).await;
    let sender = alice.sender();
    let flood = tokio::spawn(async move {
        let bye = Signal::Bye("x".repeat(60_000));
        while sender.send(name("deaf"), name("s"), bye.clone()).await.is_ok() {}
    });
    let left = |event: &Event| match event {
        Event::Left { reason, .. } => Some(reason.clone()),
        _ => None,
    };
    assert_eq!(wait(&mut alice, "that it is gone", left).await, Refusal::Slow.code());
    flood.abort();
    assert_eq!(server.metrics().refused[Refusal::Slow.code()], 1);
    let mut bob = member(&format!("ws://{addr}"), "bob", None);
    joined(&mut alice, "bob").await;
    exchange(&mut alice, &mut bob).await;
}

#[tokio::test]
async fn who_does_not_join_in_time_is_closed_whatever_it_has_said() {
    let limits = Limits { join: Duration::from_millis(50), ..Limits::default() };
    let (server, _running) = start(config(limits));
    for said in ["", "GET", "GET /signal HTTP/1.1\r\nHost: x\r\n"] {
        let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        let end = timeout(PATIENCE, stream.read_to_end(&mut vec![])).await.expect("it is closed");
        // By a reset, if something was not read.
        let _ = end;
    }
    assert_eq!(server.metrics().connections, 0);
    assert_eq!(server.metrics().refused[Refusal::Late.code()], 3);
}

/// What a plain request is answered.
async fn get(addr: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("an answer").unwrap();
    answer
}

#[tokio::test]
async fn plain_requests_are_told_what_this_is() {
    let (server, _running) = start(config(Limits::default()));
    let addr = server.local_addr();
    let _member = raw_member(addr, "alice").await;
    for (path, status, words) in [
        ("/health", "200", "ok"),
        ("/metrics", "200", "psyne_signal_members 1\n"),
        ("/signal", "400", "psyne.signal.1"),
        ("/", "404", "connect to /signal"),
    ] {
        let answer = get(addr, path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
        assert!(answer.contains(words), "{path}: {answer}");
    }
    let stream = TcpStream::connect(addr).await.unwrap();
    let refused = client_async(format!("ws://{addr}/signal"), stream).await;
    assert!(matches!(refused, Err(WsError::Http(_))), "without the subprotocol nobody joins");
}

#[tokio::test]
async fn a_port_that_is_taken_and_files_that_are_none_are_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let error = Server::listen(Config { listen, ..config(Limits::default()) }).err().unwrap();
    assert_eq!(error.code(), "listen");
    assert!(error.to_string().contains(&listen.to_string()), "{error}");
    assert!(error.to_string().contains("something else listens there"), "{error}");
    let tls = Tls { certificate: "/nowhere/cert.pem".into(), key: "/nowhere/key.pem".into() };
    let error = Server::listen(Config { tls: Some(tls), ..config(Limits::default()) });
    let error = error.err().unwrap().to_string();
    assert!(error.contains("/nowhere/cert.pem") && error.contains("PEM"), "{error}");
}
