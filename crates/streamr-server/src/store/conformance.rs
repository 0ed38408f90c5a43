//! What every store must do. Panics where one does not; only tests call it.

use streamr_core::id::{BroadcastId, StreamName};
use streamr_core::key::{KeyHash, StreamKey};
use streamr_core::lifecycle::State;

use super::{NewStream, Store};
use crate::Error;

/// Runs the whole suite over an empty store.
///
/// # Panics
/// With the rule that the store breaks.
pub async fn run(store: &dyn Store) {
    streams_are_found_by_name_and_key(store).await;
    keys_rotate(store).await;
    archived_is_for_good(store).await;
    broadcasts_open_and_close(store).await;
    settings_are_kept(store).await;
    what_is_missing_is_said(store).await;
    store.check().await.unwrap();
    store.close().await;
    assert!(store.streams().await.is_err(), "a closed store answers nothing");
}

fn name(text: &str) -> StreamName {
    StreamName::new(text).unwrap()
}

fn key(seed: u8) -> KeyHash {
    StreamKey::from_random([seed; 20]).hash()
}

fn new(text: &str, seed: u8) -> NewStream {
    let title = format!("The “{text}” show");
    NewStream { name: name(text), title, key: key(seed), created_unix_ms: u64::from(seed) }
}

async fn streams_are_found_by_name_and_key(store: &dyn Store) {
    assert!(store.streams().await.unwrap().is_empty());
    for (text, seed) in [("second", 2), ("first", 1)] {
        let made = store.add_stream(&new(text, seed)).await.unwrap();
        assert_eq!((made.state, made.broadcast.as_ref()), (State::Ready, None));
        assert_eq!(store.stream(&name(text)).await.unwrap().as_ref(), Some(&made));
        assert_eq!(store.stream_by_key(&key(seed)).await.unwrap(), Some(made));
    }
    let names: Vec<_> = store.streams().await.unwrap().into_iter().map(|s| s.name).collect();
    assert_eq!(names, [name("first"), name("second")], "by name");
    let again = store.add_stream(&new("first", 9)).await;
    assert!(matches!(again, Err(Error::NameTaken(_))), "{again:?}");
    store.set_title(&name("first"), "").await.unwrap();
    assert_eq!(store.stream(&name("first")).await.unwrap().unwrap().title, "");
}

async fn keys_rotate(store: &dyn Store) {
    store.set_key(&name("first"), &key(7)).await.unwrap();
    assert_eq!(store.stream_by_key(&key(1)).await.unwrap(), None, "the old key is dead");
    let found = store.stream_by_key(&key(7)).await.unwrap().unwrap();
    assert_eq!(found.name, name("first"));
}

async fn archived_is_for_good(store: &dyn Store) {
    for state in State::ALL {
        store.set_state(&name("second"), state).await.unwrap();
        assert_eq!(store.stream(&name("second")).await.unwrap().unwrap().state, state);
    }
    let back = store.set_state(&name("second"), State::Live).await;
    assert!(matches!(back, Err(Error::State(State::Archived))), "{back:?}");
    store.set_state(&name("second"), State::Archived).await.unwrap();
}

async fn broadcasts_open_and_close(store: &dyn Store) {
    let (first, second) = (BroadcastId::from_u64(u64::MAX), BroadcastId::from_u64(2));
    let stream = name("first");
    store.start_broadcast(&stream, first, 1_000).await.unwrap();
    let open = store.stream(&stream).await.unwrap().unwrap();
    assert_eq!(open.saved().broadcast, Some(first));
    store.end_broadcast(first, 2_000, 42).await.unwrap();
    store.end_broadcast(first, 3_000, 0).await.unwrap();
    assert_eq!(store.stream(&stream).await.unwrap().unwrap().broadcast, None);
    store.start_broadcast(&stream, second, 4_000).await.unwrap();
    store.start_broadcast(&stream, BroadcastId::from_u64(3), 5_000).await.unwrap();
    let all = store.broadcasts(&stream, 10).await.unwrap();
    let seen: Vec<_> = all.iter().map(|b| (b.id.as_u64(), b.ended_unix_ms)).collect();
    assert_eq!(seen, [(3, None), (2, Some(5_000)), (u64::MAX, Some(2_000))]);
    assert_eq!(all[2].viewers_peak, 42);
    assert_eq!(store.broadcasts(&stream, 1).await.unwrap(), all[..1]);
}

async fn settings_are_kept(store: &dyn Store) {
    assert_eq!(store.setting("colour").await.unwrap(), None);
    for value in ["red", "", "blue'; DROP TABLE streams; --"] {
        store.set_setting("colour", value).await.unwrap();
        assert_eq!(store.setting("colour").await.unwrap().as_deref(), Some(value));
    }
}

async fn what_is_missing_is_said(store: &dyn Store) {
    let nobody = name("nobody");
    assert_eq!(store.stream(&nobody).await.unwrap(), None);
    assert_eq!(store.broadcasts(&nobody, 5).await.unwrap(), []);
    store.end_broadcast(BroadcastId::from_u64(99), 1, 1).await.unwrap();
    for result in [
        store.set_title(&nobody, "x").await,
        store.set_key(&nobody, &key(8)).await,
        store.set_state(&nobody, State::Live).await,
        store.start_broadcast(&nobody, BroadcastId::from_u64(98), 1).await,
    ] {
        assert!(matches!(result, Err(Error::NoStream(_))), "{result:?}");
    }
}
