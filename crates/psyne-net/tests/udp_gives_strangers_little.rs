//! What `udp://` says to those who have not proven their address, and takes from those who have.

use std::time::Duration;

use psyne_net::channel::{Delivery, Reliability};
use psyne_net::{Error, Listener, Options, connect, listen};
use tokio::net::UdpSocket;

const LONG: Duration = Duration::from_secs(60);

fn options() -> Options {
    Options { delivery: Delivery::UNRELIABLE, ..Options::default() }
}

/// A listener, and a stranger's socket that talks to it.
async fn listener_and_stranger() -> (Listener, UdpSocket) {
    let (listener, driver) = listen("udp://127.0.0.1:0", &options()).await.unwrap();
    tokio::spawn(driver);
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    stranger.connect(listener.uri().authority()).await.unwrap();
    (listener, stranger)
}

/// A hello as docs/wire/channel.md has it.
fn hello(cookie: &[u8]) -> Vec<u8> {
    let mut hello = b"\x10psyne\r\n\0\x01nonce678".to_vec();
    hello.extend_from_slice(cookie);
    hello.extend_from_slice(&1_000_u32.to_be_bytes());
    hello.resize(64, 0);
    hello
}

async fn answer(stranger: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 2_000];
    let came = tokio::time::timeout(LONG, stranger.recv(&mut buffer)).await.expect("no answer");
    buffer[..came.unwrap()].to_vec()
}

#[tokio::test]
async fn an_address_is_proven_before_anything_is_kept_and_no_answer_is_longer() {
    let (mut listener, stranger) = listener_and_stranger().await;
    for junk in [&b""[..], b"\x10", b"\x13token678", &[0xff; 1_500], &hello(&[0; 16])[..63]] {
        stranger.send(junk).await.unwrap();
    }
    for cookie in [[0; 16], [7; 16]] {
        stranger.send(&hello(&cookie)).await.unwrap();
        let answer = answer(&stranger).await;
        assert_eq!((answer.len(), &answer[..9]), (25, &b"\x11nonce678"[..]), "junk got nothing");
    }
    let early = tokio::time::timeout(Duration::from_millis(20), listener.accept()).await;
    assert!(early.is_err(), "nobody has proven an address");
}

#[tokio::test]
async fn what_is_not_the_peers_or_came_before_is_dropped() {
    let (mut listener, stranger) = listener_and_stranger().await;
    stranger.send(&hello(&[0; 16])).await.unwrap();
    let cookie = answer(&stranger).await.split_off(9);
    let mut tokens = Vec::new();
    for _ in 0..2 {
        stranger.send(&hello(&cookie)).await.unwrap();
        let welcome = answer(&stranger).await;
        assert_eq!((welcome.len(), &welcome[..9]), (21, &b"\x12nonce678"[..]));
        tokens.push(welcome[9..17].to_vec());
    }
    assert_eq!(tokens[0], tokens[1], "to say hello twice opens one channel");
    let (mut channel, driver) = listener.accept().await.unwrap();
    tokio::spawn(driver);
    let data = |token: &[u8], number: u32, frame: &[u8]| {
        [&b"\x13"[..], token, &number.to_be_bytes(), frame].concat()
    };
    for packet in [
        data(&[0; 8], 1, b"\0forged"),
        data(&tokens[0], 2, b"\0one"),
        data(&tokens[0], 2, b"\0again"),
        data(&tokens[0], 3, b"\x09of no kind"),
        data(&tokens[0], 4, b"\x01\xff"),
        data(&tokens[0], 5, b"\x01two"),
    ] {
        stranger.send(&packet).await.unwrap();
    }
    for expected in ["one", "two"] {
        let message = tokio::time::timeout(LONG, channel.recv()).await.expect("it hangs");
        assert_eq!(message.unwrap().data(), expected);
    }
    assert!(channel.metrics().refused >= 3, "{:?}", channel.metrics());
    let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    other.connect(listener.uri().authority()).await.unwrap();
    other.send(&hello(&cookie)).await.unwrap();
    assert_eq!(answer(&other).await[0], 0x11, "a cookie is one address' own");
}

#[tokio::test]
async fn who_wants_more_than_udp_does_is_told_what_does_it() {
    for delivery in [
        Delivery::RELIABLE,
        Delivery { ordered: true, ..Delivery::UNRELIABLE },
        Delivery { ordered: false, reliability: Reliability::Retransmits(3) },
    ] {
        let options = Options { delivery, ..options() };
        for error in [
            connect("udp://127.0.0.1:1", &options).unwrap_err(),
            listen("udp://127.0.0.1:0", &options).await.unwrap_err(),
        ] {
            assert_eq!(error.code(), "unsupported");
            assert!(error.to_string().contains("use p2p:// or tcp://"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_message_is_one_datagram_or_too_long() {
    let (mut listener, _stranger) = listener_and_stranger().await;
    let (mut client, driver) = connect(&listener.uri().to_string(), &options()).unwrap();
    tokio::spawn(driver);
    client.send(vec![1; 1_186]).await.unwrap();
    let error = client.send(vec![1; 1_187]).await.unwrap_err();
    assert_eq!(error, Error::TooLong { bytes: 1_187, bytes_max: 1_186 });
    let (mut server, driver) = listener.accept().await.unwrap();
    tokio::spawn(driver);
    let message = tokio::time::timeout(LONG, server.recv()).await.expect("it hangs");
    assert_eq!(message.unwrap().len(), 1_186);
}
