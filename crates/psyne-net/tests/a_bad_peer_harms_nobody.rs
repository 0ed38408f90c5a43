//! Strangers, liars and the silent at the doors of streams and WebSockets.

use std::future::Future;
use std::time::Duration;

use psyne_net::channel::Keepalive;
use psyne_net::tls::{Identity, Tls};
use psyne_net::{Channel, Error, Listener, Options, connect, listen};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const LONG: Duration = Duration::from_secs(60);
/// What a side says first that takes 1,000 bytes (docs/wire/channel.md).
const HELLO: [u8; 16] = *b"psyne\r\n\0\x01\0\0\x04\0\0\x03\xe8";

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, what).await.expect("it hangs")
}

/// So patient that nothing but what is tried ends a channel.
fn patient() -> Options {
    let keepalive = Keepalive { every: Duration::from_millis(20), dead_after: LONG };
    Options { keepalive, message_bytes_max: 1_000, handshake_timeout: LONG, ..Options::default() }
}

/// Gives up on who is silent, before or after the hello.
fn soon() -> Options {
    let dead_after = Duration::from_millis(200);
    let keepalive = Keepalive { dead_after, ..patient().keepalive };
    Options { keepalive, handshake_timeout: dead_after, ..patient() }
}

async fn listening(uri: &str, options: &Options) -> (Listener, String) {
    let (listener, driver) = listen(uri, options).await.unwrap();
    tokio::spawn(driver);
    let at = listener.uri().authority().to_owned();
    (listener, at)
}

/// A channel whose peer is this socket.
async fn with_a_liar(options: &Options) -> (Channel, TcpStream) {
    let (mut listener, at) = listening("tcp://127.0.0.1:0", options).await;
    let mut liar = TcpStream::connect(at).await.unwrap();
    liar.write_all(&HELLO).await.unwrap();
    let (channel, driver) = within(listener.accept()).await.unwrap();
    tokio::spawn(driver);
    let mut hello = [0; 16];
    liar.read_exact(&mut hello).await.unwrap();
    (channel, liar)
}

const STRANGERS: [&str; 4] =
    ["", "GET / HTTP/1.1\r\n\r\n", "psyne\r\n\0\x02\0\0\x04\0\0\0\0", "psy"];

#[tokio::test]
async fn strangers_keep_nobody_waiting() {
    for scheme in ["tcp", "ws"] {
        let (mut listener, at) = listening(&format!("{scheme}://127.0.0.1:0"), &patient()).await;
        let mut strangers = Vec::new();
        for words in STRANGERS {
            let mut stranger = TcpStream::connect(&at).await.unwrap();
            stranger.write_all(words.as_bytes()).await.unwrap();
            strangers.push(stranger);
        }
        let (mut client, driver) = connect(&listener.uri().to_string(), &patient()).unwrap();
        tokio::spawn(driver);
        let (mut server, driver) = within(listener.accept()).await.unwrap();
        tokio::spawn(driver);
        client.send("hello").await.unwrap();
        assert_eq!(within(server.recv()).await, Ok("hello".into()));
    }
}

#[tokio::test]
async fn strangers_are_told_nothing_and_hung_up_on() {
    for scheme in ["tcp", "ws"] {
        let (_listener, at) = listening(&format!("{scheme}://127.0.0.1:0"), &soon()).await;
        for words in STRANGERS {
            let mut stranger = TcpStream::connect(&at).await.unwrap();
            stranger.write_all(words.as_bytes()).await.unwrap();
            let mut said = Vec::new();
            // A reset says as little.
            drop(within(stranger.read_to_end(&mut said)).await);
            assert!(scheme == "ws" || said.is_empty(), "{said:?}");
        }
    }
}

#[tokio::test]
async fn no_more_shake_hands_at_a_time_than_are_allowed_and_then_the_next() {
    let options = Options { handshakes_max: 2, ..patient() };
    let (mut listener, at) = listening("tcp://127.0.0.1:0", &options).await;
    let silent = [TcpStream::connect(&at).await.unwrap(), TcpStream::connect(&at).await.unwrap()];
    let (client, driver) = connect(&listener.uri().to_string(), &patient()).unwrap();
    tokio::spawn(driver);
    let early = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(early.is_err(), "two are shaking hands");
    drop(silent);
    let (_server, driver) = within(listener.accept()).await.unwrap();
    tokio::spawn(driver);
    assert_eq!(within(client.ready()).await, Ok(()));
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_the_channel_with_a_word() {
    for (frame, code) in [
        (&[9, 0, 0, 0][..], 1002_u16),
        (&[0, 0, 3, 0xe9], 1009),
        (&[2, 0, 0, 1, 0], 1002),
        (&[1, 0, 0, 1, 0xff], 1002),
    ] {
        let (mut channel, mut liar) = with_a_liar(&patient()).await;
        liar.write_all(frame).await.unwrap();
        assert_eq!(within(channel.recv()).await.unwrap_err().code(), "protocol", "{frame:?}");
        let mut said = Vec::new();
        within(liar.read_to_end(&mut said)).await.unwrap();
        let close = said.windows(6).rfind(|bytes| bytes[..3] == [4, 0, 0]);
        let close = close.unwrap_or_else(|| panic!("{frame:?}: {said:?}"));
        assert_eq!(u16::from_be_bytes([close[4], close[5]]), code);
    }
}

#[tokio::test]
async fn a_peer_that_is_silent_is_lost() {
    let (mut channel, mut silent) =
        with_a_liar(&Options { handshake_timeout: LONG, ..soon() }).await;
    let error = within(channel.recv()).await.unwrap_err();
    assert_eq!(error, Error::Lost { why: "the peer was silent for 200ms".to_owned() });
    let mut asked = Vec::new();
    within(silent.read_to_end(&mut asked)).await.unwrap();
    assert!(asked.starts_with(&[2, 0, 0, 8]), "it was asked before: {asked:?}");
}

#[tokio::test]
async fn a_peer_that_hangs_up_without_a_word_is_lost_after_what_it_sent() {
    let (mut channel, mut liar) = with_a_liar(&patient()).await;
    liar.write_all(&[0, 0, 0, 2, 7, 7, 0, 0, 0, 9, 1]).await.unwrap();
    drop(liar);
    assert_eq!(within(channel.recv()).await, Ok(vec![7, 7].into()));
    assert_eq!(within(channel.recv()).await.unwrap_err().code(), "lost");
}

#[tokio::test]
async fn a_flood_of_questions_is_one_answer_at_a_time() {
    let (channel, mut liar) = with_a_liar(&patient()).await;
    let flood = [2, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1].repeat(10_000);
    liar.write_all(&flood).await.unwrap();
    liar.write_all(&[4, 0, 0, 2, 3, 0xe8]).await.unwrap();
    assert_eq!(within(channel.closed()).await.code(), "closed");
    let mut said = Vec::new();
    within(liar.read_to_end(&mut said)).await.unwrap();
    assert!(said.len() <= flood.len() + 12, "never more than was asked: {}", said.len());
}

#[tokio::test]
async fn a_server_that_is_none_is_not_accepted() {
    for scheme in ["tcp", "ws"] {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("{scheme}://{}", server.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut socket, _) = server.accept().await.unwrap();
            socket.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n").await.unwrap();
            drop(socket.read_to_end(&mut Vec::new()).await);
        });
        let (channel, driver) = connect(&uri, &patient()).unwrap();
        tokio::spawn(driver);
        let error = within(channel.ready()).await.unwrap_err();
        assert_eq!(error.code(), "handshake", "{error}");
    }
}

/// What both sides say of each other when they try.
async fn try_tls(scheme: &str, ours: Tls, theirs: Tls) -> Result<(), Error> {
    let theirs = Options { tls: theirs, ..patient() };
    let (mut listener, _) = listening(&format!("{scheme}://127.0.0.1:0"), &theirs).await;
    let ours = Options { tls: ours, ..patient() };
    let (mut channel, driver) = connect(&listener.uri().to_string(), &ours).unwrap();
    tokio::spawn(driver);
    tokio::spawn(async move {
        let (mut server, driver) = listener.accept().await.unwrap();
        tokio::spawn(driver);
        drop(server.send("welcome").await);
        server.closed().await;
    });
    within(channel.recv()).await.map(drop)
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_or_a_wrong_key_is_refused() {
    let (one, two) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let with = |identity: &Identity| Tls { identity: Some(identity.clone()), ..Tls::default() };
    let expecting =
        |identity: &Identity| Tls { peers: vec![identity.fingerprint()], ..Tls::default() };
    for scheme in ["tls", "wss"] {
        let public = try_tls(scheme, Tls::default(), with(&one)).await;
        assert_eq!(public.unwrap_err().code(), "handshake");
        let other = try_tls(scheme, expecting(&two), with(&one)).await.unwrap_err();
        assert!(other.to_string().contains(&one.fingerprint().to_string()), "{other}");
        assert_eq!(try_tls(scheme, expecting(&one), with(&one)).await, Ok(()));
        let asked = Tls { peers: vec![two.fingerprint()], ..with(&one) };
        let nobody = try_tls(scheme, expecting(&one), asked.clone()).await;
        assert!(nobody.is_err(), "who has no key is not let in");
        let known = Tls { identity: Some(two.clone()), ..expecting(&one) };
        assert_eq!(try_tls(scheme, known, asked).await, Ok(()));
    }
    let error = listen("tls://127.0.0.1:0", &Options::default()).await.unwrap_err();
    assert!(error.to_string().contains("?cert=FILE&key=FILE"), "{error}");
}

#[tokio::test]
async fn keys_and_certificates_may_be_named_in_the_uri() {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let file = |name: &str, text: String| {
        std::fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name).display().to_string()
    };
    let cert = file("cert.pem", certificate.pem());
    let key = file("key.pem", key.serialize_pem());
    let uri = format!("wss://127.0.0.1:0?cert={cert}&key={key}");
    let (mut listener, at) = listening(&uri, &patient()).await;
    tokio::spawn(async move {
        while let Ok((server, driver)) = listener.accept().await {
            tokio::spawn(async move {
                driver.await;
                drop(server);
            });
        }
    });
    for (uri, code) in [
        (format!("wss://{at}?ca={cert}"), None),
        (format!("wss://{at}"), Some("handshake")),
        (format!("wss://{at}?pin={}", "0".repeat(64)), Some("handshake")),
    ] {
        let (client, driver) = connect(&uri, &patient()).unwrap();
        tokio::spawn(driver);
        let ready = within(client.ready()).await;
        assert_eq!(ready.err().map(|error| error.code()), code, "{uri}");
    }
    for (wrong, why) in [
        (format!("wss://{at}?ca=/nowhere"), "/nowhere"),
        (format!("wss://{at}?pin=12"), "64 hexadecimal digits"),
        ("tls://127.0.0.1".to_owned(), "HOST:PORT"),
    ] {
        let error = connect(&wrong, &patient()).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}
