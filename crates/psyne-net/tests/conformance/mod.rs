//! What every transport promises, written once. A transport's test file is `promises!(its place)`.

#![allow(dead_code, reason = "each transport's file uses its part")]

use std::future::Future;
use std::time::Duration;

use psyne_net::channel::{BackPressure, Keepalive, Kind, Metrics, Path};
use psyne_net::{Channel, Error, Listener, Message, Options, Reason, connect, listen};

/// Where a transport is tried.
pub(crate) struct Place {
    /// What to listen at.
    pub(crate) uri: String,
    /// A place of the same transport where nobody listens.
    pub(crate) nobody: String,
    /// With what.
    pub(crate) options: Options,
    /// What has to live as long.
    pub(crate) keep: Option<tempfile::TempDir>,
}

/// Longer than anything takes on the busiest machine.
const LONG: Duration = Duration::from_secs(60);

/// Runs a promise; one that hangs fails.
pub(crate) fn run(promise: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { within(promise).await });
    runtime.shutdown_background();
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, what).await.expect("it hangs")
}

async fn listening(place: &Place, options: &Options) -> Listener {
    let (listener, driver) = listen(&place.uri, options).await.unwrap();
    tokio::spawn(driver);
    listener
}

/// Both ends of a channel: who connected, who listened.
async fn pair(place: &Place, ours: &Options, theirs: &Options) -> (Channel, Channel) {
    let mut listener = listening(place, theirs).await;
    let (client, driver) = connect(&listener.uri().to_string(), ours).unwrap();
    tokio::spawn(driver);
    let (server, driver) = within(listener.accept()).await.unwrap();
    tokio::spawn(driver);
    within(client.ready()).await.unwrap();
    (client, server)
}

async fn plain_pair(place: &Place) -> (Channel, Channel) {
    pair(place, &place.options, &place.options).await
}

pub(crate) async fn messages_arrive_once_and_in_order_with_what_they_are(place: Place) {
    let (client, server) = plain_pair(&place).await;
    let sent: Vec<Message> = (0..500_usize)
        .map(|number| match number % 4 {
            0 => Message::from(format!("text {number}")),
            1 => Message::from(Vec::new()),
            2 => Message::from(vec![number as u8; number * 100]),
            _ => Message::from(vec![number as u8; number % 97]),
        })
        .collect();
    let (mut to_server, mut from_server) = client.split();
    let (mut to_client, mut from_client) = server.split();
    let (first, second) = (sent.clone(), sent.clone());
    let there = tokio::spawn(async move {
        for message in first {
            to_server.send(message).await.unwrap();
        }
        to_server
    });
    let back = tokio::spawn(async move {
        for message in second {
            to_client.send(message).await.unwrap();
        }
        to_client
    });
    for message in &sent {
        assert_eq!(within(from_client.recv()).await.as_ref(), Ok(message));
        assert_eq!(within(from_server.recv()).await.as_ref(), Ok(message));
    }
    let ends = (there.await.unwrap(), back.await.unwrap());
    assert_eq!(from_client.try_recv(), Ok(None), "and once");
    drop(ends);
}

pub(crate) async fn a_message_is_as_long_as_the_receiver_takes(place: Place) {
    let long = Options { message_bytes_max: 300_000, ..place.options.clone() };
    let short = Options { message_bytes_max: 1_000, ..place.options.clone() };
    let (mut client, mut server) = pair(&place, &long, &short).await;
    client.send(vec![1; 1_000]).await.unwrap();
    let error = client.send(vec![1; 1_001]).await.unwrap_err();
    assert_eq!(error, Error::TooLong { bytes: 1_001, bytes_max: 1_000 });
    assert_eq!(client.loan(1_001).await.unwrap_err(), error);
    server.send(vec![2; 300_000]).await.unwrap();
    assert_eq!(within(client.recv()).await.unwrap(), Message::from(vec![2; 300_000]));
    assert_eq!(within(server.recv()).await.unwrap().len(), 1_000);
    assert_eq!(server.try_send(vec![2; 300_001]).unwrap_err().code(), "too_long");
}

pub(crate) async fn what_was_sent_before_closing_arrives_and_then_the_reason(place: Place) {
    let (mut client, mut server) = plain_pair(&place).await;
    for number in 0..100_u8 {
        client.send(vec![number; 5_000]).await.unwrap();
    }
    let reason = Reason::new(4_321, "enough of this");
    client.close(reason.clone());
    let refused = client.send("late").await.unwrap_err();
    assert_eq!(refused, Error::Closed { by_peer: false, reason: reason.clone() });
    for number in 0..100_u8 {
        assert_eq!(within(server.recv()).await.unwrap(), Message::from(vec![number; 5_000]));
    }
    let theirs = Error::Closed { by_peer: true, reason };
    assert_eq!(within(server.recv()).await.as_ref(), Err(&theirs));
    assert_eq!(within(server.closed()).await, theirs);
    assert_eq!(server.send("late").await, Err(theirs));
    assert_eq!(within(client.closed()).await, refused);
    assert_eq!(within(client.recv()).await, Err(refused));
}

pub(crate) async fn a_dropped_channel_is_closed_after_what_was_sent(place: Place) {
    let (mut client, mut server) = plain_pair(&place).await;
    client.send("one").await.unwrap();
    client.send("two").await.unwrap();
    drop(client);
    assert_eq!(within(server.recv()).await, Ok("one".into()));
    assert_eq!(within(server.recv()).await, Ok("two".into()));
    let error = within(server.recv()).await.unwrap_err();
    assert_eq!(error, Error::Closed { by_peer: true, reason: Reason::normal() });
}

pub(crate) async fn a_dropped_driver_ends_the_channel_on_both_sides(place: Place) {
    // Where nobody but the driver can say goodbye, silence says it.
    let every = Duration::from_millis(100);
    let keepalive = Keepalive { every, dead_after: Duration::from_secs(2) };
    let options = Options { keepalive, ..place.options.clone() };
    let mut listener = listening(&place, &options).await;
    let (mut client, driver) = connect(&listener.uri().to_string(), &options).unwrap();
    let driver = tokio::spawn(driver);
    let (mut server, other) = within(listener.accept()).await.unwrap();
    tokio::spawn(other);
    within(client.ready()).await.unwrap();
    driver.abort();
    assert_eq!(within(client.recv()).await.unwrap_err().code(), "lost");
    assert_eq!(client.send("late").await.unwrap_err().code(), "lost");
    let theirs = within(server.recv()).await.unwrap_err();
    assert!(["lost", "closed"].contains(&theirs.code()), "{theirs}");
}

pub(crate) async fn who_does_not_receive_holds_the_sender_up_and_loses_nothing(place: Place) {
    let refuse = Options {
        back_pressure: BackPressure::Refuse,
        queue_messages_max: 8,
        ..place.options.clone()
    };
    let (mut client, mut server) = pair(&place, &refuse, &refuse).await;
    let mut sent = 0_u32;
    let full = loop {
        let mut message = sent.to_be_bytes().to_vec();
        message.resize(60_000, 0);
        match client.try_send(message) {
            Ok(()) => sent += 1,
            Err(error) => {
                // It counts only once the path itself is full.
                tokio::time::sleep(Duration::from_millis(50)).await;
                if client.metrics().queued >= 8 {
                    break error;
                }
            }
        }
    };
    assert_eq!(full, Error::Full);
    for number in 0..sent {
        let message = within(server.recv()).await.unwrap();
        assert_eq!(message.data().get(..4), Some(&number.to_be_bytes()[..]));
    }
    while client.try_send("room again").is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(within(server.recv()).await, Ok("room again".into()));
}

pub(crate) async fn back_pressure_is_what_was_asked_for(place: Place) {
    let blocking = BackPressure::Block { timeout: Some(Duration::from_millis(20)) };
    for policy in [blocking, BackPressure::DropNewest, BackPressure::DropOldest] {
        let options =
            Options { back_pressure: policy, queue_messages_max: 4, ..place.options.clone() };
        let (mut client, mut server) = pair(&place, &options, &options).await;
        let (mut sent, mut full) = (0_u32, 0);
        // Until the path and the queue have been full for a while.
        while full < 20 {
            let mut message = sent.to_be_bytes().to_vec();
            message.resize(60_000, 0);
            let dropped = client.metrics().dropped_sent;
            match client.send(message).await {
                Ok(()) if client.metrics().dropped_sent == dropped => sent += 1,
                Ok(()) => (sent, full) = (sent + 1, full + 1),
                Err(error) => {
                    assert_eq!((error, policy), (Error::TimedOut, blocking));
                    full += 1;
                }
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        client.close(Reason::normal());
        let mut numbers = Vec::new();
        while let Ok(message) = within(server.recv()).await {
            numbers.push(u32::from_be_bytes(message.data()[..4].try_into().unwrap()));
        }
        assert!(numbers.is_sorted_by(|a, b| a < b), "{policy:?}: {numbers:?}");
        let lost = u64::from(sent) - numbers.len() as u64;
        assert_eq!(client.metrics().dropped_sent, lost, "{policy:?}");
        let newest = numbers.last() == Some(&(sent - 1));
        assert_eq!(newest, policy != BackPressure::DropNewest, "{policy:?}: {numbers:?}");
    }
}

pub(crate) async fn both_directions_are_full_and_neither_waits_for_the_other(place: Place) {
    let (client, server) = plain_pair(&place).await;
    let flow = |channel: Channel| async move {
        let (mut sender, mut receiver) = channel.split();
        let sending = tokio::spawn(async move {
            for _ in 0..60 {
                sender.send(vec![7; 200_000]).await.unwrap();
            }
            sender
        });
        for _ in 0..60 {
            assert_eq!(receiver.recv().await.unwrap().len(), 200_000);
        }
        (sending.await.unwrap(), receiver)
    };
    let ends = within(async { tokio::join!(flow(client), flow(server)) }).await;
    drop(ends);
}

pub(crate) async fn a_loan_is_sent_by_its_commit_and_only_by_that(place: Place) {
    let (mut client, mut server) = plain_pair(&place).await;
    let mut forgotten = client.loan(100).await.unwrap();
    forgotten.fill(1);
    drop(forgotten);
    let mut loan = client.loan(1_000).await.unwrap();
    assert_eq!(loan.len(), 1_000);
    loan.fill(9);
    loan.commit().await.unwrap();
    let message = within(server.recv()).await.unwrap();
    assert_eq!((message.kind(), message), (Kind::Binary, Message::from(vec![9; 1_000])));
}

pub(crate) async fn a_listener_serves_many_and_each_apart(place: Place) {
    let mut listener = listening(&place, &place.options).await;
    let uri = listener.uri().to_string();
    let clients = (0..20_u8).map(|number| {
        let (uri, options) = (uri.clone(), place.options.clone());
        tokio::spawn(async move {
            let (mut client, driver) = connect(&uri, &options).unwrap();
            tokio::spawn(driver);
            client.send(vec![number]).await.unwrap();
            assert_eq!(client.recv().await, Ok(Message::from(vec![number, number])));
        })
    });
    let clients: Vec<_> = clients.collect();
    for _ in 0..20 {
        let (mut server, driver) = within(listener.accept()).await.unwrap();
        tokio::spawn(driver);
        tokio::spawn(async move {
            let number = server.recv().await.unwrap().into_data();
            server.send([number.clone(), number].concat()).await.unwrap();
            server.closed().await;
        });
    }
    for client in clients {
        within(client).await.unwrap();
    }
}

pub(crate) async fn nobody_there_is_said_by_everything(place: Place) {
    let options = Options { handshake_timeout: Duration::from_secs(1), ..place.options.clone() };
    let (mut client, driver) = connect(&place.nobody, &options).unwrap();
    assert_eq!(client.try_send("early"), Err(Error::Full), "not open yet");
    tokio::spawn(driver);
    let error = within(client.ready()).await.unwrap_err();
    assert_eq!(error.code(), "connect", "{error}");
    assert!(error.to_string().contains("could not be reached"), "{error}");
    assert_eq!(within(client.recv()).await, Err(error.clone()));
    assert_eq!(client.send("late").await, Err(error.clone()));
    assert_eq!(client.closed().await, error);
}

pub(crate) async fn metrics_say_what_was_done_and_how_far_the_peer_is(place: Place) {
    let (mut client, mut server) = plain_pair(&place).await;
    for _ in 0..10 {
        client.send(vec![0; 100]).await.unwrap();
        within(server.recv()).await.unwrap();
    }
    let Metrics { received_messages, received_bytes, .. } = server.metrics();
    assert_eq!((received_messages, received_bytes), (10, 1_000));
    let Metrics { sent_messages, sent_bytes, dropped_sent, .. } = client.metrics();
    assert_eq!((sent_messages, sent_bytes, dropped_sent), (10, 1_000, 0));
    let scheme = place.uri.split("://").next().unwrap();
    let Some(Path { scheme: found, is_relayed, .. }) = client.metrics().path else {
        panic!("an open channel has a path");
    };
    assert_eq!((found.name(), is_relayed), (scheme, false));
    let measured = async {
        while client.metrics().rtt.is_none() || client.metrics().jitter.is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within(measured).await;
    assert!(client.metrics().rtt.unwrap() < LONG);
}

pub(crate) async fn options_that_a_transport_does_not_have_are_refused(place: Place) {
    let and = if place.uri.contains('?') { '&' } else { '?' };
    let uri = format!("{}{and}frobnicate=1", place.uri);
    for error in [
        connect(&uri, &place.options).unwrap_err(),
        listen(&uri, &place.options).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), "uri");
        assert!(error.to_string().contains("frobnicate"), "{error}");
    }
    let wrong = Options { queue_messages_max: 0, ..place.options.clone() };
    assert_eq!(connect(&place.uri, &wrong).unwrap_err().code(), "options");
    assert_eq!(listen(&place.uri, &wrong).await.unwrap_err().code(), "options");
}

/// The tests of a reliable transport at this place.
#[allow(unused_macros, reason = "the unreliable ones have other promises")]
macro_rules! promises {
    ($place:expr) => {
        promises!($place;
            messages_arrive_once_and_in_order_with_what_they_are,
            a_message_is_as_long_as_the_receiver_takes,
            what_was_sent_before_closing_arrives_and_then_the_reason,
            a_dropped_channel_is_closed_after_what_was_sent,
            a_dropped_driver_ends_the_channel_on_both_sides,
            who_does_not_receive_holds_the_sender_up_and_loses_nothing,
            back_pressure_is_what_was_asked_for,
            both_directions_are_full_and_neither_waits_for_the_other,
            a_loan_is_sent_by_its_commit_and_only_by_that,
            a_listener_serves_many_and_each_apart,
            nobody_there_is_said_by_everything,
            metrics_say_what_was_done_and_how_far_the_peer_is,
            options_that_a_transport_does_not_have_are_refused,
        );
    };
    ($place:expr; $($promise:ident,)*) => {
        $(
            #[test]
            fn $promise() {
                $crate::conformance::run($crate::conformance::$promise($place));
            }
        )*
    };
}
#[allow(unused_imports, reason = "the unreliable ones have other promises")]
pub(crate) use promises;
