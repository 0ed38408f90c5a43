//! str0m as the other side, as a browser would be: full ICE, the offer its own.

use super::*;
use str0m::media::MediaTime;

const OURS: &str = "192.0.2.1:9";
const THEIRS: &str = "192.0.2.2:9";

struct Pair {
    origin: Instant,
    now: Time,
    other: Rtc,
    other_wait: Time,
    session: Session,
    events: Vec<Event>,
    heard: Vec<str0m::Event>,
    /// Every datagram to the session whose number this divides is lost.
    loss: u64,
    sent: u64,
}

fn other(now: Instant, rtp_mode: bool) -> Rtc {
    let mut rtc = RtcConfig::new()
        .set_crypto_provider(crypto::provider())
        .set_dtls_cert(Certificate::generate([2; 32]).for_dtls())
        .clear_codecs()
        .enable_h264(true)
        .enable_opus(true, false)
        .set_rtp_mode(rtp_mode)
        .build(now);
    let candidate = Candidate::host(THEIRS.parse().unwrap(), "udp").unwrap();
    rtc.add_local_candidate(candidate);
    rtc
}

impl Pair {
    fn new(role: Role, change: impl FnOnce(&mut Config)) -> Self {
        let origin = Instant::now();
        let mut config = Config::new(role, origin, Certificate::generate([1; 32]));
        change(&mut config);
        let mut other = other(origin, false);
        let direction = match role {
            Role::Receive => Direction::SendOnly,
            Role::Send => Direction::RecvOnly,
        };
        let mut api = other.sdp_api();
        api.add_media(MediaKind::Audio, direction, None, None, None);
        api.add_media(MediaKind::Video, direction, None, None, None);
        let (offer, pending) = api.apply().expect("there are changes");
        let locals = [OURS.parse().unwrap()];
        let answered =
            Session::answer(&config, Time::ZERO, [7; 32], &locals, &offer.to_sdp_string());
        let (session, answer) = answered.expect("it is answered");
        let answer = SdpAnswer::from_sdp_string(&answer).expect("well formed");
        other.sdp_api().accept_answer(pending, answer).expect("it fits");
        let (events, heard) = (Vec::new(), Vec::new());
        let (now, other_wait) = (Time::ZERO, Time::ZERO);
        let (loss, sent) = (u64::MAX, 0);
        Self { origin, now, other, other_wait, session, events, heard, loss, sent }
    }

    fn instant(&self) -> Instant {
        Clock(self.origin).instant(self.now)
    }

    /// Brings every datagram there until nothing is left to be done now.
    fn settle(&mut self) {
        loop {
            let mut idle = true;
            while let Ok(output) = self.other.poll_output() {
                match output {
                    str0m::Output::Timeout(next) => {
                        self.other_wait = Clock(self.origin).time(next);
                        break;
                    }
                    str0m::Output::Event(event) => self.heard.push(event),
                    str0m::Output::Transmit(out) => {
                        idle = false;
                        self.sent += 1;
                        if !self.sent.is_multiple_of(self.loss) {
                            self.session.handle_datagram(self.now, out.source, &out.contents);
                        }
                    }
                }
            }
            loop {
                match self.session.poll_output() {
                    Output::Wait(_) => break,
                    Output::Event(event) => self.events.push(event),
                    Output::Transmit(out) => {
                        idle = false;
                        let (from, to) = (out.from, out.to);
                        let received = Receive::new(Protocol::Udp, from, to, &out.data);
                        let input = Input::Receive(self.instant(), received.expect("ours"));
                        self.other.handle_input(input).expect("ours is well formed");
                    }
                }
            }
            if idle {
                return;
            }
        }
    }

    /// Lets time pass, a millisecond at a time.
    fn run(&mut self, millis: u64) {
        for _ in 0..millis {
            self.now += Duration::from_millis(1);
            let now = self.instant();
            if self.other_wait <= self.now {
                self.other.handle_input(Input::Timeout(now)).expect("time may pass");
            }
            self.session.handle_timeout(self.now);
            self.settle();
        }
    }

    fn connect(&mut self) {
        for _ in 0..5_000 {
            self.run(1);
            if self.events.contains(&Event::Connected) && self.other.is_connected() {
                return;
            }
        }
        panic!("never connected: {:?}", self.events);
    }

    fn mid(&self, kind: MediaKind) -> Mid {
        let Session { video, audio, .. } = &self.session;
        let track = if kind == MediaKind::Video { video } else { audio };
        track.as_ref().expect("it was agreed on").mid
    }

    /// The other side sends a frame.
    fn publish(&mut self, kind: MediaKind, ticks: u64, data: &[u8]) {
        let now = self.instant();
        let mid = self.mid(kind);
        let writer = self.other.writer(mid).expect("it may send");
        let pt = writer.payload_params().next().expect("a codec").pt();
        let rate = match kind {
            MediaKind::Video => Kind::Video,
            MediaKind::Audio => Kind::Audio,
        }
        .clock_rate();
        let time = MediaTime::new(ticks, str0m::media::Frequency::new(rate).unwrap());
        writer.write(pt, now, time, data).expect("it fits");
        self.settle();
    }

    fn frames(&self, kind: Kind) -> Vec<&Frame> {
        let frames = self.events.iter().filter_map(|event| match event {
            Event::Frame(frame) => Some(frame),
            _ => None,
        });
        frames.filter(|frame| frame.kind == kind).collect()
    }
}

/// A picture of one slice, longer than a packet.
fn picture(number: u8) -> Vec<u8> {
    let kind = if number == 0 { 0x65 } else { 0x41 };
    [&[0, 0, 0, 1, kind][..], &[number | 0x80; 5_000]].concat()
}

#[test]
fn frames_arrive_whole_though_packets_are_lost() {
    let mut pair = Pair::new(Role::Receive, |_| {});
    pair.connect();
    for number in 0..100_u8 {
        // Who has heard nothing, or hears nothing after it, cannot know that something is missing.
        pair.loss = if (5..95).contains(&number) { 10 } else { u64::MAX };
        pair.publish(MediaKind::Video, 9_000 + u64::from(number) * 3_000, &picture(number));
        pair.publish(MediaKind::Audio, u64::from(number) * 960, &[0xFC, number, 1, 2]);
        pair.run(33);
    }
    pair.run(500);
    let pictures = pair.frames(Kind::Video);
    assert_eq!(pictures.len(), 100, "what was lost was asked for again");
    assert!(pictures.iter().all(|frame| frame.contiguous));
    for (number, frame) in pictures.iter().enumerate() {
        assert_eq!(&frame.data[..], &picture(number as u8)[..]);
        assert_eq!(frame.ticks - pictures[0].ticks, number as u64 * 3_000);
    }
    assert!(pictures[99].report.is_some(), "the other side reports each second");
    let sound = pair.frames(Kind::Audio);
    assert!(sound.len() > 50 && sound.iter().all(|frame| frame.data[0] == 0xFC));
}

#[test]
fn keyframes_are_asked_for_both_ways() {
    let mut pair = Pair::new(Role::Receive, |_| {});
    pair.connect();
    pair.publish(MediaKind::Video, 0, &picture(0));
    pair.session.request_keyframe(pair.now);
    pair.run(50);
    let asked = |event: &str0m::Event| matches!(event, str0m::Event::KeyframeRequest(_));
    assert!(pair.heard.iter().any(asked));

    let mut pair = Pair::new(Role::Send, |_| {});
    pair.connect();
    let payload: Arc<[u8]> = Arc::from(&[0x65, 1, 2, 3][..]);
    let frame = Outgoing { kind: Kind::Video, ticks: 5, payloads: &[payload] };
    pair.session.send(pair.now, frame);
    pair.settle();
    pair.run(50);
    let mid = pair.mid(MediaKind::Video);
    let mut writer = pair.other.writer(mid).expect("it was agreed on");
    writer.request_keyframe(None, KeyframeRequestKind::Pli).expect("it is possible");
    pair.run(50);
    assert!(pair.events.contains(&Event::KeyframeWanted));
}

#[test]
fn payloads_arrive_as_frames() {
    let mut pair = Pair::new(Role::Send, |_| {});
    pair.connect();
    for number in 0..50_u32 {
        let payloads = [Arc::from(&[0x65, number as u8, 9][..])];
        let frame = Outgoing { kind: Kind::Video, ticks: number * 3_000, payloads: &payloads };
        pair.session.send(pair.now, frame);
        let payloads = [Arc::from(&[0xFC, number as u8][..])];
        let frame = Outgoing { kind: Kind::Audio, ticks: number * 1_600, payloads: &payloads };
        pair.session.send(pair.now, frame);
        pair.run(33);
    }
    let data = |wanted: MediaKind| -> Vec<Vec<u8>> {
        let mid = pair.mid(wanted);
        let data = pair.heard.iter().filter_map(|event| match event {
            str0m::Event::MediaData(data) if data.mid == mid => Some(data.data.to_vec()),
            _ => None,
        });
        data.collect()
    };
    let pictures = data(MediaKind::Video);
    assert!(pictures.len() >= 49, "{}", pictures.len());
    for (number, picture) in pictures.iter().enumerate() {
        assert_eq!(picture[..], [0, 0, 0, 1, 0x65, number as u8, 9]);
    }
    let sound = data(MediaKind::Audio);
    assert!(sound.iter().enumerate().all(|(n, packet)| packet[..] == [0xFC, n as u8]));
    assert!(sound.len() >= 30, "{}", sound.len());
    assert!(pair.events.iter().any(|event| matches!(event, Event::Estimate(_))));
    assert!(pair.session.delay() < Duration::from_millis(100));
}

#[test]
fn a_side_that_vanishes_or_never_comes_is_an_event() {
    let mut pair = Pair::new(Role::Receive, |_| {});
    pair.loss = 1;
    pair.run(15_001);
    assert_eq!(pair.events.last(), Some(&Event::Closed(Closed::Connect)));

    let mut pair = Pair::new(Role::Receive, |_| {});
    pair.connect();
    pair.loss = 1;
    pair.run(12_000);
    assert_eq!(pair.events.last(), Some(&Event::Closed(Closed::Lost)));
    assert_eq!(pair.session.poll_output(), Output::Wait(None));

    let mut pair = Pair::new(Role::Receive, |_| {});
    pair.connect();
    pair.other.close().expect("it is open");
    pair.run(100);
    assert_eq!(pair.events.last(), Some(&Event::Closed(Closed::Remote)));

    let mut pair = Pair::new(Role::Receive, |_| {});
    pair.connect();
    pair.session.close(pair.now);
    pair.settle();
    assert_eq!(pair.events.last(), Some(&Event::Closed(Closed::Local)));
    assert!(pair.heard.iter().any(|event| matches!(event, str0m::Event::Closed)));
}

#[test]
fn garbage_and_replays_change_nothing() {
    let mut pair = Pair::new(Role::Receive, |_| {});
    pair.connect();
    pair.publish(MediaKind::Audio, 0, &[0xFC, 1]);
    pair.run(10);
    let before = pair.frames(Kind::Audio).len();
    let stranger = "198.51.100.7:9".parse().unwrap();
    let them = THEIRS.parse().unwrap();
    for first in 0..=255_u8 {
        for len in [1, 2, 12, 20, 60, 1_200] {
            let mut datagram = vec![first; len];
            datagram[1..].iter_mut().enumerate().for_each(|(n, byte)| *byte = n as u8 ^ first);
            pair.session.handle_datagram(pair.now, stranger, &datagram);
            pair.session.handle_datagram(pair.now, them, &datagram);
        }
    }
    // What was heard once is not heard again.
    let mid = pair.mid(MediaKind::Audio);
    let now = pair.instant();
    let writer = pair.other.writer(mid).expect("it may send");
    let pt = writer.payload_params().next().expect("a codec").pt();
    let time = MediaTime::new(960, str0m::media::Frequency::FORTY_EIGHT_KHZ);
    writer.write(pt, now, time, [0xFC, 2]).expect("it fits");
    pair.other.handle_input(Input::Timeout(now)).expect("time may pass");
    let mut copies = Vec::new();
    loop {
        match pair.other.poll_output().expect("nothing went wrong") {
            str0m::Output::Transmit(out) => copies.push(out.contents.to_vec()),
            str0m::Output::Event(_) => {}
            str0m::Output::Timeout(_) => break,
        }
    }
    assert!(!copies.is_empty());
    for _ in 0..3 {
        for copy in &copies {
            pair.session.handle_datagram(pair.now, them, copy);
        }
    }
    pair.settle();
    pair.run(1_500);
    assert_eq!(pair.frames(Kind::Audio).len(), before + 1);
    assert!(!pair.events.iter().any(|event| matches!(event, Event::Closed(_))));
}

#[test]
fn datagrams_find_their_session_by_its_name() {
    let mut pair = Pair::new(Role::Receive, |_| {});
    let now = pair.instant();
    pair.other.handle_input(Input::Timeout(now)).expect("time may pass");
    let mut found = None;
    while let Ok(str0m::Output::Transmit(out)) = pair.other.poll_output() {
        found = found.or(addressee(&out.contents));
    }
    if found.is_none() {
        pair.run(1);
    }
    assert!(found.is_none_or(|name| name == pair.session.name()));
    assert_eq!(addressee(b""), None);
    assert_eq!(addressee(&[0; 20]), None);
    assert_eq!(addressee(&[0x80; 20]), None);
}

#[test]
fn offers_that_cannot_be_answered_are_refused() {
    let config = Config::new(Role::Receive, Instant::now(), Certificate::generate([1; 32]));
    let locals = ["192.0.2.1:9".parse().unwrap()];
    let answer = |offer: &str| Session::answer(&config, Time::ZERO, [7; 32], &locals, offer);
    let mut rtc = other(Instant::now(), false);
    let mut api = rtc.sdp_api();
    api.add_media(MediaKind::Video, Direction::SendOnly, None, None, None);
    let good = api.apply().expect("there are changes").0.to_sdp_string();
    assert!(answer(&good).is_ok());
    assert!(good.contains("H264"));
    for (bad, code) in [
        (String::new(), "rtc.malformed"),
        ("v=0\r\n".to_owned(), "rtc.malformed"),
        (good.replace("H264", "VP8"), "rtc.unsupported"),
        (good.replace("a=sendonly", "a=recvonly"), "rtc.unsupported"),
        (good.replace("a=fingerprint", "a=x"), "rtc.unsupported"),
        (good.replace("a=ice-pwd", "a=x"), "rtc.unsupported"),
        ("v".repeat(1 << 20), "rtc.too_much"),
    ] {
        let error = answer(&bad).expect_err("it is refused");
        assert_eq!(error.code(), code, "{bad:.200}");
    }
    let error = Session::answer(&config, Time::ZERO, [7; 32], &[], &good).expect_err("no address");
    assert_eq!(error.code(), "rtc.state");
}
