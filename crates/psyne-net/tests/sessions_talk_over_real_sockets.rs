//! Sessions of `psyne_net::rtc` on loopback's UDP: each test has its own handles and drivers.

use std::future::Future;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use psyne_net::Error;
use psyne_net::rtc::{
    Channel, Closed, Config, Delivery, Event, Handle, Local, Open, Payload, Reliability, Session,
    bind,
};
use tokio::task::JoinHandle;

/// Long enough for the busiest machine; what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}

fn config(bind: &str) -> Config {
    let mut config = Config { binds: vec![bind.parse().unwrap()], ..Config::default() };
    config.session.loopback = true;
    config
}

/// A handle, and its driver's task.
fn start(config: Config) -> (Handle, JoinHandle<()>) {
    let (handle, driver) = bind(config).unwrap();
    (handle, tokio::spawn(driver))
}

fn loopback() -> (Handle, JoinHandle<()>) {
    start(config("127.0.0.1:0"))
}

fn signal(a: &Session, b: &Session) {
    let answer = b.answer(&a.offer().unwrap()).unwrap();
    a.accept(&answer).unwrap();
}

fn open(label: &str, delivery: Delivery) -> Open {
    Open { label: label.into(), delivery, ..Open::default() }
}

fn text(text: &str) -> Payload {
    Payload::Text(text.into())
}

fn bytes(count: usize, value: u8) -> Payload {
    Payload::Binary(vec![value; count].into())
}

/// Both ends of a channel between two sessions.
async fn channel(a: &Session, b: &Session, open: Open) -> (Channel, Channel) {
    let ours = soon("our channel opens", a.open(open)).await.unwrap();
    let theirs = soon("their channel opens", b.channel()).await.unwrap();
    assert_eq!(theirs.description(), ours.description());
    (ours, theirs)
}

#[tokio::test]
async fn two_handles_talk_and_their_drivers_end_when_all_is_dropped() {
    for at in ["127.0.0.1:0", "[::1]:0"] {
        let ((a, driver_a), (b, driver_b)) = (start(config(at)), start(config(at)));
        let (one, other) = (a.session().unwrap(), b.session().unwrap());
        signal(&one, &other);
        let (ours, theirs) = channel(&one, &other, open("chat", Delivery::default())).await;
        for payload in [text("héllo"), text(""), bytes(0, 0), bytes(1, 1), bytes(200_000, 7)] {
            ours.send(payload.clone()).await.unwrap();
            assert_eq!(soon("it arrives", theirs.recv()).await, Some(payload.clone()));
            theirs.send(payload.clone()).await.unwrap();
            assert_eq!(soon("it comes back", ours.recv()).await, Some(payload));
        }
        let path = soon("an event", one.event()).await;
        assert!(matches!(path, Some(Event::Path { local, .. }) if a.local_addrs() == [local]));
        assert_eq!(soon("an event", one.event()).await, Some(Event::Connected));
        let metrics = one.association_metrics();
        assert!(metrics.rtt.is_some() && metrics.packets_in > 0, "{metrics:?}");
        // What was sent before closing arrives before the end.
        ours.send(text("last")).await.unwrap();
        soon("the channel closes", ours.close()).await;
        assert_eq!(soon("the last", theirs.recv()).await, Some(text("last")));
        assert_eq!(soon("the end", theirs.recv()).await, None);
        assert!(matches!(theirs.try_send(text("no")), Err(Error::Rtc(_))));
        drop((one, ours, a));
        soon("our driver ends", driver_a).await.unwrap();
        assert_eq!(soon("the other side hears it", other.closed()).await, Closed::Remote);
        assert!(other.event().await.is_some(), "what happened can still be read");
        drop((other, theirs, b));
        soon("their driver ends", driver_b).await.unwrap();
    }
}

#[tokio::test]
async fn many_sessions_share_a_socket() {
    let (server, _driver) = loopback();
    let mut talks = Vec::new();
    for n in 0..20 {
        let server = server.clone();
        talks.push(tokio::spawn(async move {
            let (client, _driver) = loopback();
            let (theirs, ours) = (server.session().unwrap(), client.session().unwrap());
            signal(&ours, &theirs);
            let name = format!("client {n}");
            let (ours, theirs) = channel(&ours, &theirs, open(&name, Delivery::default())).await;
            for n in 0..50 {
                ours.send(text(&format!("{name}: {n}"))).await.unwrap();
            }
            for n in 0..50 {
                let came = soon("a message", theirs.recv()).await;
                assert_eq!(came, Some(text(&format!("{name}: {n}"))));
            }
        }));
    }
    for talk in talks {
        soon("a client's talk", talk).await.unwrap();
    }
    assert_eq!(server.local_addrs().len(), 1);
}

/// A socket at all addresses: the session names the one it sends from.
#[tokio::test]
async fn a_wildcard_socket_serves_the_addresses_that_it_is_told_of() {
    let silent = Config { gather: false, ..config("0.0.0.0:0") };
    let ((a, _driver_a), (b, _driver_b)) = (start(silent), loopback());
    let (one, other) = (a.session().unwrap(), b.session().unwrap());
    signal(&one, &other);
    let ip = [127, 0, 0, 1];
    a.add_local(Local::Host(SocketAddr::from((ip, a.local_addrs()[0].port()))));
    let Some(Event::Candidate(late)) = soon("a candidate is trickled", one.event()).await else {
        panic!("something else happened first");
    };
    other.add_candidate(&late).unwrap();
    soon("they connect", one.connected()).await.unwrap();
}

/// What a slow application does not take keeps the sender waiting; nothing is lost.
#[tokio::test]
async fn a_slow_reader_holds_up_the_writer() {
    let ((a, _driver_a), (b, _driver_b)) = (loopback(), {
        let mut config = config("127.0.0.1:0");
        config.receive_bytes_max = 64 * 1024;
        config.session.association.receive_buffer_bytes_max = 128 * 1024;
        start(config)
    });
    let (one, other) = (a.session().unwrap(), b.session().unwrap());
    signal(&one, &other);
    let (ours, theirs) = channel(&one, &other, Open::default()).await;
    // What waits there, in their window and in our buffer: there is no room for more, however long
    // it is tried.
    let (mut sent, mut refused) = (0_u32, 0);
    while refused < 100 {
        match ours.try_send(bytes(16_384, sent as u8)) {
            Ok(()) => sent += 1,
            Err(error) => {
                assert_eq!(error, psyne_rtc::Error::Full.into());
                tokio::time::sleep(Duration::from_millis(1)).await;
                refused += 1;
            }
        }
    }
    let buffers = (64 + 128 * 2 + 2_048) / 16 + 8;
    assert!(sent <= buffers, "{sent} messages of 16 KiB fit into {buffers}");
    for n in 0..sent {
        let came = soon("it arrives", theirs.recv()).await;
        let over = (one.over(), other.over());
        assert!(came == Some(bytes(16_384, n as u8)), "{n} of {sent}: {over:?}");
    }
    soon("there is room again", ours.send(text("again"))).await.unwrap();
    assert_eq!(soon("it arrives", theirs.recv()).await, Some(text("again")));
}

/// An unreliable channel whose reader is slow loses what is oldest, and says how much.
#[tokio::test]
async fn a_slow_reader_of_an_unreliable_channel_gets_the_newest() {
    let mut config = config("127.0.0.1:0");
    config.receive_bytes_max = 64 * 1024;
    let ((a, _driver_a), (b, _driver_b)) = (loopback(), start(config));
    let (one, other) = (a.session().unwrap(), b.session().unwrap());
    signal(&one, &other);
    let unreliable = Delivery { ordered: true, reliability: Reliability::Retransmits(1_000) };
    let (ours, theirs) = channel(&one, &other, open("state", unreliable)).await;
    for n in 0..200_u8 {
        ours.send(bytes(1_024, n)).await.unwrap();
    }
    let dropped = async {
        while theirs.dropped() < 100 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon("the oldest are dropped", dropped).await;
    let mut last = None;
    while last != Some(199) {
        let Some(Payload::Binary(next)) = soon("what is left", theirs.recv()).await else {
            panic!("it is closed");
        };
        assert!(last.is_none_or(|last| last < next[0]), "in order");
        last = Some(next[0]);
    }
    assert!(theirs.dropped() <= 200 - 40, "{}", theirs.dropped());
}

/// One that never rests leaves room in the send buffer for others.
#[tokio::test]
async fn a_greedy_channel_does_not_starve_the_others() {
    let ((a, _driver_a), (b, _driver_b)) = (loopback(), loopback());
    let (one, other) = (a.session().unwrap(), b.session().unwrap());
    signal(&one, &other);
    let (greedy, taker) = channel(&one, &other, open("bulk", Delivery::default())).await;
    let (modest, hearer) = channel(&one, &other, open("chat", Delivery::default())).await;
    let bulk = tokio::spawn(async move { while greedy.send(bytes(65_536, 1)).await.is_ok() {} });
    let drain = tokio::spawn(async move { while taker.recv().await.is_some() {} });
    for n in 0..20 {
        let message = format!("{n}").repeat(1_000);
        soon("there is room for it", modest.send(text(&message))).await.unwrap();
        assert_eq!(soon("it arrives", hearer.recv()).await, Some(text(&message)));
    }
    one.close();
    soon("the writer stops", bulk).await.unwrap();
    soon("the reader stops", drain).await.unwrap();
}

#[tokio::test]
async fn without_its_driver_a_session_is_over() {
    let ((a, driver_a), (b, _driver_b)) = (loopback(), loopback());
    let (one, other) = (a.session().unwrap(), b.session().unwrap());
    signal(&one, &other);
    let (ours, _theirs) = channel(&one, &other, Open::default()).await;
    let waits = tokio::spawn(async move { (ours.recv().await, ours.send(text("no")).await) });
    driver_a.abort();
    let over = Error::Session(Closed::Local);
    assert_eq!(soon("a reader is woken", waits).await.unwrap(), (None, Err(over.clone())));
    assert_eq!(soon("the end is told", one.closed()).await, Closed::Local);
    assert_eq!(soon("the same", one.connected()).await, Err(over.clone()));
    assert_eq!(one.restart(), Err(over.clone()));
    assert!(one.channel().await.is_none());
    let late = a.session().unwrap();
    assert_eq!(late.offer(), Err(over), "a session that nobody drives");
}

#[tokio::test]
async fn more_sessions_than_allowed_are_refused_until_one_ends() {
    let mut config = config("127.0.0.1:0");
    config.sessions_max = 2;
    let (a, _driver) = start(config);
    let [one, two] = [a.session().unwrap(), a.session().unwrap()];
    let refused = a.session().unwrap_err();
    assert_eq!(refused.code(), "rtc.too_much", "{refused}");
    drop(one);
    let freed = async {
        while a.session().is_err() {
            tokio::task::yield_now().await;
        }
    };
    soon("a place is free again", freed).await;
    assert!(two.offer().is_ok());
}

/// Strangers get no answer, and are counted.
#[tokio::test]
async fn what_strangers_send_is_counted_and_not_answered() {
    let (a, _driver) = loopback();
    let _session = a.session().unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.set_nonblocking(true).unwrap();
    let check = [&[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42][..], &[7; 12]].concat();
    for datagram in [&[22; 100][..], &[0; 20], &check, &[255; 1_200], &[]] {
        stranger.send_to(datagram, a.local_addrs()[0]).unwrap();
    }
    let counted = async {
        while a.metrics().datagrams_unknown < 4 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon("they are counted", counted).await;
    assert_eq!(a.metrics().datagrams_out, 0);
    assert!(stranger.recv_from(&mut [0; 100]).is_err());
}

/// A peer that opens and closes channels which nobody takes leaves nothing behind.
#[tokio::test]
async fn channels_that_nobody_took_are_forgotten_when_they_end() {
    let ((a, _driver_a), (b, _driver_b)) = (loopback(), loopback());
    let (one, other) = (a.session().unwrap(), b.session().unwrap());
    signal(&one, &other);
    for n in 0..300 {
        let opened = soon("it opens", one.open(open(&format!("{n}"), Delivery::default()))).await;
        soon("it closes", opened.unwrap().close()).await;
    }
    let (ours, theirs) = {
        let last = soon("it opens", one.open(open("last", Delivery::default()))).await.unwrap();
        (last, soon("the only one left", other.channel()).await.unwrap())
    };
    assert_eq!(theirs.description(), ours.description());
}

/// Without being told of any address, two find each other by those of this machine.
#[tokio::test]
async fn wildcard_sockets_gather_the_addresses_of_this_machine() {
    let mut config = Config::default();
    config.session.loopback = true;
    let ((a, _driver_a), (b, _driver_b)) = (start(config.clone()), start(config));
    let (one, other) = (a.session().unwrap(), b.session().unwrap());
    let offer = one.offer().unwrap();
    assert!(offer.contains("127.0.0.1"), "{offer}");
    one.accept(&other.answer(&offer).unwrap()).unwrap();
    let (ours, theirs) = channel(&one, &other, Open::default()).await;
    ours.send(text("found")).await.unwrap();
    assert_eq!(soon("it arrives", theirs.recv()).await, Some(text("found")));
}
