//! Tests that play a hostile peer: it says anything at the door, and writes anything into its own
//! region, before and while a real end reads it. The end answers with values, and others go on.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::hello::{Answer, Hello};
use super::{Offer, Ring, socket};
use crate::address::Address;
use crate::broadcast::{Lag, bytes as cast};
use crate::desk::{Pattern, Terms};
use crate::raw::{CAST_WORDS, LINE, Other, Region, Rights, shared};
use crate::request::{Client, Server};
use crate::{Config, Error, Full, Layout, Message, Wait, bytes, mpsc, spsc};

pub(super) const SLOTS: usize = 8;

pub(super) type Line = [u64; 7];
pub(super) type Wide = [u64; 16];

pub(super) fn address(what: &str) -> String {
    static LAST: AtomicU32 = AtomicU32::new(0);
    format!("memory://hostile/{what}/{}", LAST.fetch_add(1, Ordering::Relaxed))
}

pub(super) fn config() -> Config {
    let full = Full::BlockFor(Duration::from_millis(1));
    Config { slots: SLOTS, wait: Wait::Park, full, ..Config::default() }
}

fn terms(layout: Layout) -> Terms {
    if layout.align == 1 {
        return Terms { pattern: Pattern::Bytes, layout, stride: LINE };
    }
    Terms { pattern: Pattern::Queue, layout, stride: layout.size.next_multiple_of(LINE) }
}

const STRINGS: Layout = Layout { hash: 0, size: 1, align: 1 };

/// What a sender of such messages would bring.
fn offer(layout: Layout) -> Offer {
    let terms = terms(layout);
    let (region, file) = shared(SLOTS, terms.stride, Rights::Maker).unwrap();
    let ring = Ring { region, file, slots: SLOTS, claim: None };
    Offer { terms, ring: Some(ring), others_max: 1, note: 0 }
}

/// Numbers that break things: small ones, great ones, and those around what is expected.
fn number() -> impl Strategy<Value = u64> {
    let edges = prop::sample::select(vec![1 << 62, 1 << 63, u64::MAX, (1 << 32) + 1, 1 << 20]);
    prop_oneof![0..20_u64, edges, any::<u64>()]
}

pub(super) fn connect(at: &str) -> OwnedFd {
    let at = Address::parse(at).unwrap();
    loop {
        if let Some(socket) = socket::connect(&at).unwrap() {
            return socket;
        }
    }
}

fn send(socket: &OwnedFd, bytes: &[u8], files: &[&OwnedFd]) {
    let mut space = [std::mem::MaybeUninit::uninit(); 256];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
    if !files.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&files));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let bytes = [std::io::IoSlice::new(bytes)];
    let _ = rustix::net::sendmsg(socket, &bytes, &mut control, flags);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_said_at_the_door_keeps_nobody_out(
        said in prop::collection::vec(
            (prop::option::of((0..10_usize, number())), 70..90_usize, 0..4_usize, any::<bool>()),
            1..12,
        ),
    ) {
        let at = address("door");
        let mut receiver = spsc::Receiver::<Line>::open(&at, &config()).unwrap();
        let mut kept = Vec::new();
        for (change, bytes, files, keep) in said {
            let offer = offer(Line::LAYOUT);
            let mut hello = Hello::new(Answer::Welcome, &offer, 0).to_bytes();
            if let Some((word, value)) = change {
                hello[word * 8..][..8].copy_from_slice(&value.to_ne_bytes());
            }
            let socket = connect(&at);
            let file = &offer.ring.as_ref().unwrap().file;
            let hello = &hello[..bytes.min(hello.len())];
            send(&socket, hello, &[file, &socket, file][..files]);
            kept.extend(keep.then_some(socket));
        }
        let mut sender = loop {
            match spsc::Sender::<Line>::open(&at, &config()) {
                // Some say what is right in another way, and were let in.
                Err(Error::Crowded(_)) => kept.clear(),
                other => break other.unwrap(),
            }
        };
        sender.send([5; 7]).unwrap();
        let received = std::iter::repeat_with(|| receiver.recv());
        let received = received.take(20).find(|got| !matches!(got, Err(Error::PeerDied { .. })));
        prop_assert_eq!(received, Some(Ok([5; 7])));
    }
}

/// A guest that is let in with a ring of its own, and the words of which it does what it likes.
fn guest(at: &str, offer: &Offer, start: u64) -> OwnedFd {
    let socket = connect(at);
    let hello = Hello::new(Answer::Welcome, offer, start);
    assert!(socket::say(socket.as_fd(), hello, offer.ring.as_ref().map(|ring| &ring.file)));
    socket
}

/// One thing that a hostile peer writes: which word, and what.
pub(super) type Scribble = (usize, u64);

pub(super) fn scribble(region: &Region, slots: usize, (which, value): Scribble) {
    let side = region.side();
    match which % (slots + 5) {
        0 => side.position().store(value, Ordering::Release),
        1 => side.count().store(value, Ordering::Release),
        2 => side.attention().store(value as u32, Ordering::Release),
        3 => side.bell().store(value as u32, Ordering::Release),
        4 => side.bulk().store(value, Ordering::Release),
        slot => {
            region.sequence(slot - 5).store(value, Ordering::Release);
            region.last(slot - 5).store(value, Ordering::Release);
        }
    }
}

/// Not only anything, but also what nearly is right: the next number, a header that skips.
pub(super) fn scribbles() -> impl Strategy<Value = Vec<Scribble>> {
    let header = prop_oneof![number(), Just(1 << 63), 40..600_u64];
    prop::collection::vec((0..SLOTS + 4, header), 1..60)
}

/// Whether it may be answered to who reads from a hostile sender, or sends to a hostile receiver.
pub(super) fn is_value(error: &Error) -> bool {
    matches!(
        error.code(),
        "corrupt" | "closed" | "peer_died" | "timed_out" | "full" | "layout_mismatch"
    )
}

fn read<T: Message>(receiver: &mut spsc::Receiver<T>) {
    let soon = Duration::from_micros(50);
    for error in [receiver.try_recv().err(), receiver.recv_timeout(soon).err()] {
        assert!(error.as_ref().is_none_or(is_value), "{error:?}");
    }
    assert!(receiver.drain().count() <= 4 * SLOTS, "as many as two rings have");
}

fn suffer<T: Message>(scribbles: &[Scribble], start: u64) {
    let at = address("sender");
    let mut receiver = spsc::Receiver::<T>::open(&at, &config()).unwrap();
    let offer = offer(T::LAYOUT);
    let connection = guest(&at, &offer, start);
    let region = &offer.ring.as_ref().unwrap().region;
    // At first it does as it should.
    region.last((start % SLOTS as u64) as usize).store(start + 1, Ordering::Release);
    region.side().position().store(start + 1, Ordering::Release);
    region.side().count().store(start + 1, Ordering::Release);
    receiver.recv().unwrap();
    for write in scribbles {
        scribble(region, SLOTS, *write);
        read(&mut receiver);
    }
    drop(connection);
    read(&mut receiver);
}

fn suffer_strings(scribbles: &[Scribble], start: u64) {
    let at = address("strings");
    let mut receiver = bytes::Receiver::open(&at, &config()).unwrap();
    let offer = offer(STRINGS);
    let _connection = guest(&at, &offer, start);
    // At first it does as it should.
    let region = &offer.ring.as_ref().unwrap().region;
    region.sequence((start % SLOTS as u64) as usize).store(3, Ordering::Release);
    region.side().position().store(start + 1, Ordering::Release);
    assert_eq!(receiver.recv().unwrap()[..], [0; 3]);
    for write in scribbles {
        scribble(&offer.ring.as_ref().unwrap().region, SLOTS, *write);
        for time in [0, 50] {
            let got = receiver.recv_timeout(Duration::from_micros(time));
            let got = got.map(|string| string.iter().map(|byte| u64::from(*byte)).sum::<u64>());
            assert!(got.as_ref().err().is_none_or(is_value), "{got:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_sender_writes_is_answered_by_values(
        scribbles in scribbles(),
        start in 0..(1_u64 << 62),
    ) {
        for start in [0, start] {
            suffer::<Line>(&scribbles, start);
            suffer::<[u64; 8]>(&scribbles, start);
            suffer::<Wide>(&scribbles, start);
            suffer_strings(&scribbles, start);
        }
    }

    #[test]
    fn whatever_a_receiver_writes_is_answered_by_values(scribbles in scribbles()) {
        let at = address("receiver");
        let listener = socket::listen(&Address::parse(&at).unwrap()).unwrap();
        let (words, file) = shared(0, LINE, Rights::Maker).unwrap();
        let mut offer = offer(Line::LAYOUT);
        offer.ring = None;
        let host = std::thread::spawn(move || {
            let socket = loop {
                if let Some(socket) = socket::accept(&listener) {
                    break socket;
                }
            };
            let hello = Hello::new(Answer::Welcome, &offer, 0);
            assert!(socket::say(socket.as_fd(), hello, Some(&file)));
            (socket, listener)
        });
        let mut sender = spsc::Sender::<Line>::open(&at, &config()).unwrap();
        let connection = host.join().unwrap();
        for write in scribbles {
            scribble(&words, 0, write);
            for error in [sender.try_send([1; 7]).err(), sender.send([2; 7]).err()] {
                prop_assert!(error.as_ref().is_none_or(is_value), "{:?}", error);
            }
            let unread = sender.unread();
            prop_assert!(unread.as_ref().err().is_none_or(is_value), "{:?}", unread);
        }
        drop(connection);
        prop_assert!(sender.send([3; 7]).err().as_ref().is_none_or(is_value));
    }
}

/// What a peer of such a pattern would bring, whose messages are lines.
fn offer_of(terms: Terms, slots: usize) -> Offer {
    let (region, file) = shared(slots, terms.stride, terms.pattern.rights()).unwrap();
    let ring = Ring { region, file, slots, claim: None };
    Offer { terms, ring: Some(ring), others_max: 1, note: slots as u64 }
}

/// A host that is what a test makes of it, and its first guest's region.
fn host(at: &str, terms: Terms) -> std::thread::JoinHandle<(OwnedFd, OwnedFd, Region, Other)> {
    let listener = socket::listen(&Address::parse(at).unwrap()).unwrap();
    std::thread::spawn(move || {
        let guest = loop {
            if let Some(guest) = socket::accept(&listener) {
                break guest;
            }
        };
        let (hello, files) = loop {
            if let socket::Heard::Hello(hello, files) = socket::hear(guest.as_fd()) {
                break (hello, files);
            }
        };
        let offer = Offer { terms, ring: None, others_max: 1, note: 0 };
        let theirs = hello.meet(&offer, &files).unwrap().other;
        let (words, file) = shared(0, LINE, Rights::Maker).unwrap();
        let hello = Hello::new(Answer::Welcome, &offer, 0);
        assert!(socket::say(guest.as_fd(), hello, Some(&file)));
        (guest, listener, words, theirs)
    })
}

/// States that requests have, and numbers near those of a first call.
fn states() -> impl Strategy<Value = Vec<Scribble>> {
    let state = prop_oneof![
        number(),
        (0..4_u64, 0..3_u64, 0..6_u64)
            .prop_map(|(number, server, state)| number << 16 | server << 3 | state)
    ];
    prop::collection::vec((0..SLOTS + 4, state), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_sender_that_lies_harms_no_other_sender(
        scribbles in scribbles(),
        start in 0..(1_u64 << 62),
    ) {
        let at = address("beside");
        let mut receiver = mpsc::Receiver::<Wide>::open(&at, &config()).unwrap();
        let terms = Terms { pattern: Pattern::Lanes, ..terms(Wide::LAYOUT) };
        let liar = offer_of(terms, SLOTS);
        let _connection = guest(&at, &liar, start);
        let mut honest = mpsc::Sender::<Wide>::open(&at, &config()).unwrap();
        for (number, write) in (0..).zip(scribbles) {
            scribble(&liar.ring.as_ref().unwrap().region, SLOTS, write);
            honest.send([number; 16]).unwrap();
            let got = std::iter::repeat_with(|| receiver.recv()).take(4 * SLOTS).find(|got| {
                assert!(got.as_ref().err().is_none_or(is_value), "{got:?}");
                *got == Ok([number; 16])
            });
            prop_assert!(got.is_some(), "what the other sent is there");
        }
    }

    #[test]
    fn a_client_that_lies_harms_no_other_client(scribbles in states()) {
        let at = address("asks");
        let mut server = Server::<Line, Line>::open(&at, &config()).unwrap();
        let terms = crate::request::terms::<Line, Line>();
        let liar = offer_of(terms, SLOTS);
        let _connection = guest(&at, &liar, 0);
        let mut honest = Client::<Line, Line>::open(&at, &config()).unwrap();
        for write in scribbles {
            scribble(&liar.ring.as_ref().unwrap().region, SLOTS, write);
            let mut call = Some(honest.begin([7; 7]).unwrap());
            let answered = (0..8 * SLOTS).any(|_| {
                match server.next_timeout(Duration::from_secs(60)) {
                    Ok(request) => request.reply([8; 7]),
                    Err(error) => assert!(is_value(&error), "{error:?}"),
                }
                let tried = honest.try_finish(call.take().unwrap()).unwrap();
                let reply = tried.map_err(|again| call = Some(again));
                reply.is_ok_and(|reply| reply == [8; 7])
            });
            prop_assert!(answered);
        }
    }

    #[test]
    fn whatever_a_server_writes_is_answered_by_values(scribbles in states()) {
        let at = address("answers");
        let terms = crate::request::terms::<Line, Line>();
        let host = host(&at, terms);
        let mut client = Client::<Line, Line>::open(&at, &config()).unwrap();
        let (connection, _listener, words, slots) = host.join().unwrap();
        for write in scribbles {
            scribble(&words, 0, write);
            scribble(slots.region(), SLOTS, write);
            let call = client.call_timeout([1; 7], Duration::from_micros(50));
            let refused = call == Err(Error::Refused);
            prop_assert!(refused || call.as_ref().err().is_none_or(is_value), "{:?}", call);
        }
        drop(connection);
        let call = client.call_timeout([1; 7], Duration::from_micros(50));
        prop_assert!(call.is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_caster_writes_is_answered_by_values(
        scribbles in prop::collection::vec((0..SLOTS + CAST_WORDS + 4, number()), 1..60),
        admitted in any::<bool>(),
    ) {
        for lag in [Lag::Block, Lag::Skip, Lag::SkipToMark] {
            let at = address("casts");
            let region = caster(&at);
            let mut receiver = cast::Receiver::open_at_mark(&at, lag, &config()).unwrap();
            region.sequence(3).store(u64::from(admitted), Ordering::Release);
            for write in &scribbles {
                scribble(&region, SLOTS + CAST_WORDS, *write);
                let got = receiver.recv_timeout(Duration::from_micros(50));
                let got = got.map(|string| string.iter().map(|byte| u64::from(*byte)).sum::<u64>());
                let lagged = matches!(got, Err(Error::Lagged(_)));
                prop_assert!(lagged || got.as_ref().err().is_none_or(is_value), "{:?}", got);
            }
        }
    }

    #[test]
    fn a_listener_that_lies_harms_no_other_listener(scribbles in scribbles()) {
        let at = address("listens");
        let mut sender = cast::Sender::open(&at, &config()).unwrap();
        let mut honest = sender.subscribe(Lag::Block).unwrap();
        let terms = crate::broadcast::bytes::TERMS;
        let (words, file) = shared(0, LINE, Rights::Maker).unwrap();
        let offer = Offer { terms, ring: None, others_max: 1, note: 1 };
        let connection = connect(&at);
        let hello = Hello::new(Answer::Welcome, &offer, 0);
        assert!(socket::say(connection.as_fd(), hello, Some(&file)));
        let mut connection = Some(connection);
        while sender.receivers() < 2 {
            std::thread::yield_now();
        }
        for (number, write) in (0..).zip(scribbles) {
            scribble(&words, 0, write);
            while let Err(error) = sender.send(&[number; 40]) {
                // It holds the ring up, as who blocks may: until it is gone.
                assert_eq!(error, Error::TimedOut);
                drop(connection.take());
            }
            prop_assert_eq!(&honest.recv().unwrap()[..], &[number; 40]);
        }
    }
}

/// A sender of strings that is what a test makes of it: its ring, whose threads end with the test.
fn caster(at: &str) -> Region {
    let terms = crate::broadcast::bytes::TERMS;
    let (region, file) = shared(SLOTS + CAST_WORDS, LINE, Rights::Maker).unwrap();
    let listener = socket::listen(&Address::parse(at).unwrap()).unwrap();
    let ring = Some(Ring { region: region.clone(), file, slots: SLOTS, claim: None });
    let offer = Offer { terms, ring, others_max: 1, note: 0 };
    std::thread::spawn(move || {
        let guest = loop {
            if let Some(guest) = socket::accept(&listener) {
                break guest;
            }
        };
        let mut hello = Hello::new(Answer::Welcome, &offer, 0);
        hello.note = 0;
        let _ = socket::say(guest.as_fd(), hello, offer.ring.as_ref().map(|ring| &ring.file));
        while !matches!(socket::hear(guest.as_fd()), socket::Heard::End) {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    region
}

/// The same while the receiver reads.
#[test]
fn a_sender_that_writes_all_the_time_is_answered_by_values() {
    let at = address("race");
    let mut strings = bytes::Receiver::open(&at, &config()).unwrap();
    let offer = offer(STRINGS);
    let _connection = guest(&at, &offer, 0);
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, region) = (stop.clone(), offer.ring.unwrap().region);
    let writer = std::thread::spawn(move || {
        let mut number = 1_u64;
        while !stopped.load(Ordering::Relaxed) {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let value = [number >> 60, 1 << 63, number >> 55, number][(number >> 40) as usize % 4];
            scribble(&region, SLOTS, ((number >> 33) as usize, value));
        }
    });
    for _ in 0..5_000 {
        let got = strings.recv_timeout(Duration::from_micros(5)).map(|string| string.len());
        assert!(got.as_ref().err().is_none_or(is_value), "{got:?}");
        assert!(got.is_err() || got.is_ok_and(|bytes| bytes <= SLOTS * LINE));
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
}
