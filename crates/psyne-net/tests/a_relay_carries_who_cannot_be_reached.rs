//! Sessions that have no address but a TURN server's, and channels whose hub names one.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use psyne_net::rtc::{self, Delivery, Event, Handle, Open, Payload, Session};
use psyne_net::signal::Secret;
use psyne_net::signal::{hub, server as signaling};
use psyne_net::turn::{Config, Reach, Server, ServerConfig, Users, issue};
use psyne_net::{Options, connect, listen};
use psyne_rtc::turn::ClientConfig;

const PATIENCE: Duration = Duration::from_secs(60);
const SECRET: &[u8] = b"0123456789abcdef";

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}

/// A TURN server that relays within this machine.
fn turn() -> (Server, SocketAddr) {
    let users = Users { passwords: [].into(), secrets: vec![SECRET.to_vec()] };
    let mut server = ServerConfig::new("psyne".into(), users, 0);
    let allowed = ["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];
    let allowed = allowed.map(|prefix| prefix.parse().unwrap()).into();
    server.reach = Reach { allowed, denied: vec![] };
    let loopback = Ipv4Addr::LOCALHOST.into();
    let config = Config::new(vec![SocketAddr::new(loopback, 0)], vec![loopback], server);
    let (server, driver) = Server::listen(config).unwrap();
    tokio::spawn(driver);
    let addr = server.local_addrs()[0];
    (server, addr)
}

/// A session that tells nobody of its own address, only of what the server lends.
fn relayed(server: SocketAddr) -> (Handle, Session) {
    let binds = vec![(Ipv4Addr::UNSPECIFIED, 0).into()];
    let mut config = rtc::Config { binds, gather: false, ..rtc::Config::default() };
    config.session.loopback = true;
    let (handle, driver) = rtc::bind(config).unwrap();
    tokio::spawn(driver);
    let session = handle.session().unwrap();
    let base = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), handle.local_addrs()[0].port());
    let credential = issue(SECRET, "ann", u64::from(u32::MAX));
    session.add_relay(ClientConfig::new(base, server, credential)).unwrap();
    (handle, session)
}

/// Brings the candidates of one to the other, as they come.
fn trickle(from: &Session, to: &Session) {
    let (from, to) = (from.clone(), to.clone());
    tokio::spawn(async move {
        while let Some(event) = from.event().await {
            if let Event::Candidate(text) = event {
                let _ = to.add_candidate(&text);
            }
        }
    });
}

#[tokio::test]
async fn two_that_nobody_can_reach_talk_through_a_relay() {
    let (server, addr) = turn();
    let ((_a, one), (_b, other)) = (relayed(addr), relayed(addr));
    let answer = other.answer(&one.offer().unwrap()).unwrap();
    one.accept(&answer).unwrap();
    trickle(&one, &other);
    trickle(&other, &one);
    let open = Open { label: "chat".into(), delivery: Delivery::default(), ..Open::default() };
    let ours = soon("our channel opens", one.open(open)).await.unwrap();
    let theirs = soon("their channel opens", other.channel()).await.unwrap();
    for bytes in [1, 1_000, 200_000] {
        let payload = Payload::Binary(vec![7; bytes].into());
        ours.send(payload.clone()).await.unwrap();
        assert_eq!(soon("it arrives", theirs.recv()).await, Some(payload.clone()));
        theirs.send(payload.clone()).await.unwrap();
        assert_eq!(soon("it comes back", ours.recv()).await, Some(payload));
    }
    let metrics = server.metrics().server;
    assert_eq!(metrics.allocations, 2, "{metrics:?}");
    // 200 KB each way are more than a hundred datagrams, and each takes the way over the server.
    assert!(metrics.to_clients > 300, "{metrics:?}");
    one.close();
    other.close();
    let gone = async {
        while server.metrics().server.allocations > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon("what was lent is given back", gone).await;
}

#[tokio::test]
async fn channels_ask_the_servers_that_their_hub_names() {
    let (server, addr) = turn();
    // The first is nowhere, the second is not spoken to by UDP: they keep nobody from the third.
    let urls = ["turn:nowhere.invalid", "turns:127.0.0.1:1", &format!("turn:{addr}?transport=udp")]
        .map(str::to_owned);
    let turn = hub::Turn {
        urls: urls.into(),
        secret: Secret::new(SECRET).expect("sixteen bytes are enough"),
        lifetime_s: 600,
    };
    let hub = hub::Config { turn: Some(turn), ..hub::Config::default() };
    let listening = "127.0.0.1:0".parse().unwrap();
    let config = signaling::Config { listen: listening, tls: None, hub };
    let (hub, driver) = signaling::Server::listen(config).unwrap();
    tokio::spawn(driver);
    let uri = format!("webrtc://bob@demo?via=ws://{}", hub.local_addr());
    let (mut listener, driver) = listen(&uri, &Options::default()).await.unwrap();
    tokio::spawn(driver);
    let (mut ann, driver) = connect(&uri, &Options::default()).unwrap();
    tokio::spawn(driver);
    let (mut bob, driver) = soon("somebody comes", listener.accept()).await.unwrap();
    tokio::spawn(driver);
    soon("it is sent", ann.send("hello")).await.unwrap();
    let heard = soon("it is heard", bob.recv()).await.unwrap();
    assert_eq!(heard, "hello".into());
    let lent = async {
        while server.metrics().server.allocations < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon("both have an address at the server, for when they need it", lent).await;
}
