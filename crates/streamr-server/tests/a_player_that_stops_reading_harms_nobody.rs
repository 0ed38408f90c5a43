//! RTMP and HTTP-FLV players over real sockets.

mod engine;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::time::Duration;

use engine::{Broadcast, Engine, Player, Shelf, number_of};
use streamr_media::fanout::{Config, Role};
use streamr_media::flv::{self, Muxer, Tag};
use streamr_media::media::{Demux, Event, Frame, TrackId};
use streamr_media::mp4;
use streamr_media::rtmp::ClientEvent;
use streamr_server::egress::{self, Stream};

/// Players may lag for less time than the test lets one of them sleep.
fn tight() -> Config {
    Config { lag_max: Duration::from_secs(2), ..Config::default() }
}

/// Publishes `pictures` of 100 kB, every tenth a key frame, at a pace that one who reads keeps.
fn play_out(broadcast: &mut Broadcast, stream: &Stream, pictures: u32) {
    for n in 0..pictures {
        broadcast.picture(stream, n % 10 == 0, 100_000);
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn frames(tags: &[Tag]) -> Vec<u32> {
    let is_frame = |tag: &&Tag| !matches!(Role::of(tag), Role::Header { .. });
    tags.iter().filter(is_frame).map(number_of).collect()
}

#[test]
fn who_stops_reading_goes_on_at_a_keyframe_and_others_miss_nothing() {
    for ring in [true, false] {
        let config = egress::Config { shards: 1, ring, ..Default::default() };
        one_stops_reading(&Engine::start(config, Shelf::default()));
    }
}

fn one_stops_reading(engine: &Engine) {
    let stream = engine.live("s", tight());
    let mut broadcast = Broadcast::default();
    broadcast.headers(&stream);
    let mut lazy = Player::join(engine, &stream);
    let mut eager = Player::join(engine, &stream);
    let watching = std::thread::spawn(move || {
        eager.until(|events| events.contains(&ClientEvent::Ended));
        eager
    });
    // 35 MB: more than the kernel's buffers for one socket.
    play_out(&mut broadcast, &stream, 350);
    let buffered = stream.buffered_bytes();
    assert!(buffered <= tight().window_bytes_max + 200_000, "{buffered}");
    // It was ready, then the kernel held the headers and at least two pictures for it.
    lazy.until(|events| events.len() >= 5);
    play_out(&mut broadcast, &stream, 100);
    stream.end();
    let eager = watching.join().expect("it saw the end");
    lazy.until(|events| events.contains(&ClientEvent::Ended));

    let seen = frames(&eager.tags());
    assert_eq!(seen, (2..452).collect::<Vec<_>>(), "who reads gets everything");
    let tags = lazy.tags();
    let seen = frames(&tags);
    assert!(seen.is_sorted() && seen.len() < 450, "{seen:?}");
    assert!(engine.metrics().skips >= 1);
    let keys: BTreeSet<u32> =
        tags.iter().filter(|t| Role::of(t) == Role::Keyframe).map(number_of).collect();
    for pair in seen.windows(2) {
        assert!(pair[1] == pair[0] + 1 || keys.contains(&pair[1]), "{pair:?} skips to a key frame");
    }
    engine.until("the engine closes them", |m| (m.players_rtmp, m.connections) == (0, 0));
}

#[test]
fn the_end_of_a_stream_is_said_and_then_the_connection_ends() {
    let engine = Engine::plain();
    let stream = engine.live("s", Config::default());
    let mut broadcast = Broadcast::default();
    broadcast.headers(&stream);
    broadcast.picture(&stream, true, 5_000);
    let mut players: Vec<_> = (0..20).map(|_| Player::join(&engine, &stream)).collect();
    for player in &mut players {
        player.until(|events| events.iter().any(|e| matches!(e, ClientEvent::Media(_))));
    }
    broadcast.picture(&stream, false, 5_000);
    stream.end();
    for player in &mut players {
        player.until(|_| false);
        assert_eq!(frames(&player.tags()), [2, 3], "what was published before the end came first");
        assert!(player.events.contains(&ClientEvent::Ended), "{:?}", player.events.last());
    }
    engine.until("all are gone", |m| (m.players_rtmp, m.connections) == (0, 0));
}

#[test]
fn who_pauses_is_sent_nothing_and_who_resumes_goes_on() {
    let engine = Engine::plain();
    let stream = engine.live("s", Config::default());
    let mut broadcast = Broadcast::default();
    broadcast.headers(&stream);
    broadcast.picture(&stream, true, 500);
    let mut player = Player::join(&engine, &stream);
    let media = |count: usize| {
        move |events: &[ClientEvent]| {
            events.iter().filter(|e| matches!(e, ClientEvent::Media(_))).count() >= count
        }
    };
    player.until(media(3));
    player.client.pause(true);
    let mut witness = Player::join(&engine, &stream);
    player.until(|_| true);
    // Its pause is heard before anything that is published after a later player's join.
    std::thread::sleep(Duration::from_millis(100));
    broadcast.picture(&stream, false, 500);
    witness.until(media(4));
    player.client.pause(false);
    player.until(media(4));
    assert_eq!(frames(&player.tags()), [2, 3]);
}

#[test]
fn a_player_that_sends_garbage_is_disconnected_alone() {
    let engine = Engine::plain();
    let stream = engine.live("s", Config::default());
    let mut broadcast = Broadcast::default();
    broadcast.headers(&stream);
    let (mut bad, mut good) = (Player::join(&engine, &stream), Player::join(&engine, &stream));
    bad.socket.write_all(&[0xff; 20_000]).expect("it is read");
    engine.until("it is gone", |m| (m.players_rtmp, m.malformed) == (1, 1));
    broadcast.picture(&stream, true, 500);
    good.until(|events| events.len() >= 4);
    assert_eq!(frames(&good.tags()), [2]);
}

/// The frames of a file, as media and as tags.
fn sample() -> (Vec<Frame>, Vec<Tag>) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../streamr-media/tests/data/h264_aac.mp4");
    let file = mp4::File::parse(std::fs::read(path).expect("it is there").into()).expect("an MP4");
    let frames: Vec<Frame> = file.frames().map(|frame| frame.expect("whole frames")).collect();
    let tracks = file.tracks().cloned().map(Event::Track);
    let (mut muxer, mut tags) = (Muxer::new(), Vec::new());
    for event in tracks.chain(frames.iter().cloned().map(Event::Frame)) {
        muxer.push(&event, &mut tags);
    }
    (frames, tags)
}

fn watch_flv(engine: &Engine) -> std::thread::JoinHandle<Vec<Event>> {
    let mut socket = engine.ask("GET /flv/s.flv HTTP/1.1\r\nHost: h\r\n\r\n");
    std::thread::spawn(move || {
        let head = engine::receive(&mut socket, true);
        assert_eq!((head.status, head.header("content-type")), (200, Some("video/x-flv")));
        let mut file = Vec::new();
        socket.read_to_end(&mut file).expect("it ends in order");
        let mut demuxer = flv::Demuxer::new(flv::Config::default());
        demuxer.push(&file).expect("it is FLV");
        std::iter::from_fn(|| demuxer.poll_event()).collect()
    })
}

#[test]
fn http_flv_is_what_was_published() {
    let engine = Engine::plain();
    let stream = engine.live("s", Config::default());
    let watchers: Vec<_> = (0..3).map(|_| watch_flv(&engine)).collect();
    engine.until("they wait", |m| m.players_flv == 3);
    let (published, tags) = sample();
    for tag in &tags {
        stream.publish(tag).expect("within the limits");
    }
    stream.end();
    let said =
        |frame: &Frame| (frame.track, frame.keyframe, frame.dts_us / 1_000, frame.data.clone());
    let published: Vec<_> = published.iter().map(said).collect();
    for watcher in watchers {
        let events = watcher.join().expect("it saw the end");
        let tracks = events.iter().filter(|e| matches!(e, Event::Track(_))).count();
        let frames = events.iter().filter_map(|event| match event {
            Event::Frame(frame) => Some(said(frame)),
            _ => None,
        });
        let got: Vec<_> = frames.collect();
        assert_eq!(tracks, 2);
        // When a watcher is seated, the newest key frame may be a later one than the first.
        assert!(matches!(got[..], [(TrackId::VIDEO, true, ..), ..]), "it starts at a key frame");
        assert!(published.ends_with(&got), "it is what was published, to the end");
    }
}
