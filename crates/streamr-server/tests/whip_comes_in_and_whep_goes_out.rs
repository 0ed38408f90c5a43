//! Publishers by WHIP and viewers by WHEP, over real sockets: what they get, and what is refused.

mod serving;

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use psyne::media::{self, Closed, Event, Kind, Outgoing, Output, Role, Session};
use psyne::{Certificate, Time};
use serving::Serving;
use streamr_media::codec::nal;
use streamr_server::Config;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// Generous: a busy machine is no failure.
const PATIENCE: Duration = Duration::from_secs(60);
const OPUS_SILENCE: [u8; 3] = [0xF8, 0xFF, 0xFE];
const SDP: &str = "Content-Type: application/sdp\r\n";

/// A publisher or viewer: a session on a socket of its own.
struct Client {
    session: Session,
    socket: UdpSocket,
    origin: Instant,
    events: Vec<Event>,
    location: String,
    server: SocketAddr,
}

async fn serve() -> Serving {
    let mut config = Config::default();
    config.rtmp.listen = String::new();
    config.srt.listen = String::new();
    config.webrtc.listen = "127.0.0.1:0".to_owned();
    Serving::start(config).await
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}

/// A session that has offered, and its offer.
async fn offer(role: Role) -> (Session, UdpSocket, Instant, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let origin = Instant::now();
    let config = media::Config::new(role, origin, Certificate::generate(rand::random()));
    let locals = [socket.local_addr().expect("it is bound")];
    let (session, offer) =
        Session::offer(&config, Time::ZERO, rand::random(), &locals).expect("an address");
    (session, socket, origin, offer)
}

impl Client {
    /// Begins at `path`; the status if it is not begun.
    async fn begin(serving: &Serving, role: Role, path: &str, head: &str) -> Result<Self, String> {
        let (mut session, socket, origin, offer) = offer(role).await;
        let (head, answer) =
            serving.ask(&format!("POST {path}"), &format!("{SDP}{head}"), &offer).await;
        if !head.starts_with("HTTP/1.1 201") {
            return Err(format!("{head}\n{answer}"));
        }
        let location = header(&head, "location").expect("RFC 9725 wants one").to_owned();
        session.accept(Time::ZERO, &answer).expect("it answers what was offered");
        let candidate = answer.lines().find_map(|line| line.strip_prefix("a=candidate:"));
        let words: Vec<&str> = candidate.expect("an address").split(' ').collect();
        let server = format!("{}:{}", words[4], words[5]).parse().expect("an IPv4 address");
        Ok(Self { session, socket, origin, events: Vec::new(), location, server })
    }

    async fn publish(serving: &Serving) -> Self {
        let head = format!("Authorization: Bearer {}\r\n", serving.key);
        let begun = Self::begin(serving, Role::Send, "/whip", &head).await;
        let mut client = begun.expect("the key is right");
        client.until(|events| events.contains(&Event::Connected)).await;
        client
    }

    fn now(&self) -> Time {
        Time::from_micros(self.origin.elapsed().as_micros() as u64)
    }

    /// Sends and receives until the next thing to do is far, or `until`.
    async fn step(&mut self, until: Duration) {
        let wait = loop {
            match self.session.poll_output() {
                Output::Transmit(out) => {
                    let _ = self.socket.send_to(&out.data, out.to).await;
                }
                Output::Event(event) => self.events.push(event),
                Output::Wait(wait) => break wait,
            }
        };
        let wait = wait.map_or(until, |wait| wait.since(self.now()).min(until));
        let mut buffer = [0; 2_048];
        match timeout(wait, self.socket.recv_from(&mut buffer)).await {
            Ok(Ok((length, from))) => {
                let now = self.now();
                self.session.handle_datagram(now, from, &buffer[..length]);
            }
            _ => {
                let now = self.now();
                self.session.handle_timeout(now);
            }
        }
    }

    async fn until(&mut self, holds: impl Fn(&[Event]) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(&self.events) {
            assert!(Instant::now() < end, "waited in vain; heard {:?}", self.events);
            self.step(Duration::from_millis(10)).await;
        }
    }

    fn send(&mut self, kind: Kind, ticks: u32, payloads: &[Arc<[u8]>]) {
        let now = self.now();
        self.session.send(now, Outgoing { kind, ticks, payloads });
    }

    fn frames(&self, kind: Kind) -> Vec<&media::Frame> {
        let frames = self.events.iter().filter_map(|event| match event {
            Event::Frame(frame) => Some(frame),
            _ => None,
        });
        frames.filter(|frame| frame.kind == kind).collect()
    }
}

/// The pictures of a second of ffmpeg's test picture, each as it stands behind start codes.
fn pictures(settings: &[&str]) -> Vec<Vec<u8>> {
    let made = Command::new("ffmpeg")
        .args(["-loglevel", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30:d=1"])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "30"])
        .args(settings)
        .args(["-bsf:v", "h264_metadata=aud=insert", "-f", "h264", "-"])
        .output()
        .expect("ffmpeg is installed");
    let mut found: Vec<Vec<u8>> = Vec::new();
    for unit in nal::annex_b(&made.stdout) {
        if unit[0] & 0x1F == 9 {
            found.push(Vec::new());
        }
        let picture = found.last_mut().expect("a delimiter comes first");
        picture.extend_from_slice(&[0, 0, 0, 1]);
        picture.extend_from_slice(unit);
    }
    assert_eq!(found.len(), 30);
    found
}

/// The payloads of a picture: each unit in pieces of at most a packet.
fn payloads(picture: &[u8]) -> Vec<Arc<[u8]>> {
    let mut found: Vec<Arc<[u8]>> = Vec::new();
    for unit in nal::annex_b(picture) {
        if unit.len() <= media::PAYLOAD_BYTES_MAX {
            found.push(unit.into());
            continue;
        }
        let pieces: Vec<&[u8]> = unit[1..].chunks(media::PAYLOAD_BYTES_MAX - 2).collect();
        for (index, piece) in pieces.iter().enumerate() {
            let marks = u8::from(index == 0) << 7 | u8::from(index + 1 == pieces.len()) << 6;
            let head = [unit[0] & 0x60 | 28, marks | unit[0] & 0x1F];
            found.push([&head[..], piece].concat().into());
        }
    }
    found
}

/// Publishes `pictures` with sound in real time, again and again, until `done`.
async fn stream(client: &mut Client, pictures: &[Vec<u8>], mut done: impl FnMut(u32) -> bool) {
    let cut: Vec<_> = pictures.iter().map(|picture| payloads(picture)).collect();
    let began = Instant::now();
    for number in 0_u32.. {
        if done(number) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "never done; heard {:?}", client.events);
        client.send(Kind::Video, number * 3_000, &cut[number as usize % cut.len()]);
        client.send(Kind::Audio, number * 1_600, &[Arc::from(&OPUS_SILENCE[..])]);
        let next = began + Duration::from_micros(u64::from(number + 1) * 33_333);
        while let Some(left) = next.checked_duration_since(Instant::now()) {
            client.step(left).await;
        }
        if client.events.iter().any(|event| matches!(event, Event::Closed(_))) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_is_watched_by_hls_and_by_whep() {
    let serving = serve().await;
    let mut publisher = Client::publish(&serving).await;
    let pictures = pictures(&["-bf", "0"]);
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let clip = pictures.clone();
    let publishing = tokio::spawn(async move {
        stream(&mut publisher, &clip, |_| *stopped.borrow_and_update()).await;
        publisher
    });

    let list = serving
        .wait_for("/hls/main/index.m3u8", |list| list.contains("opus") && list.contains("avc1."))
        .await;
    assert!(list.contains("avc1.") && list.contains("RESOLUTION=320x180"), "{list}");
    serving.wait_for("/hls/main/source/video0.m3u8", |list| list.contains("#EXTINF")).await;
    serving.wait_for("/hls/main/source/audio0.m3u8", |list| list.contains("#EXTINF")).await;

    let mut viewer = Client::begin(&serving, Role::Receive, "/whep/main", "").await.expect("live");
    viewer
        .until(|events| {
            let frames = |wanted| {
                let is = |event: &&Event| matches!(event, Event::Frame(f) if f.kind == wanted);
                events.iter().filter(is).count()
            };
            frames(Kind::Video) >= 30 && frames(Kind::Audio) >= 30
        })
        .await;
    let seen = viewer.frames(Kind::Video);
    assert!(nal::annex_b(&seen[0].data).any(|unit| unit[0] & 0x1F == 7), "it begins anew");
    let units = |picture: &[u8]| -> Vec<Vec<u8>> {
        let kept = nal::annex_b(picture).filter(|unit| (1..=5).contains(&(unit[0] & 0x1F)));
        kept.map(<[u8]>::to_vec).collect()
    };
    for frame in &seen {
        assert!(frame.contiguous);
        assert!(pictures.iter().any(|picture| units(picture) == units(&frame.data)));
    }
    assert!(viewer.frames(Kind::Audio).iter().all(|frame| frame.data[..] == OPUS_SILENCE));
    let metrics = serving.get("/metrics").await;
    assert!(metrics.contains("streamr_players_webrtc 1\n"), "{metrics}");

    let location = viewer.location.clone();
    let (head, _) = serving.ask(&format!("DELETE {location}"), "", "").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    viewer.until(|events| events.contains(&Event::Closed(Closed::Remote))).await;
    stop.send_replace(true);
    let mut publisher = publishing.await.expect("it ends");
    let (head, _) = serving.ask(&format!("DELETE {}", publisher.location), "", "").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    publisher.until(|events| events.contains(&Event::Closed(Closed::Remote))).await;
    serving.wait_for("/metrics", |text| text.contains("streamr_webrtc_sessions 0\n")).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b_frames_end_the_session_and_nothing_else() {
    let serving = serve().await;
    let mut publisher = Client::publish(&serving).await;
    let clip = pictures(&["-bf", "0"]);
    let cut = payloads(&clip[0]);
    for ticks in [0, 3_000, 9_000, 6_000, 12_000] {
        publisher.send(Kind::Video, ticks, &cut);
        publisher.step(Duration::from_millis(30)).await;
    }
    publisher.until(|events| events.contains(&Event::Closed(Closed::Remote))).await;
    let mut again = Client::publish(&serving).await;
    stream(&mut again, &clip, |number| number >= 15).await;
    serving.wait_for("/hls/main/index.m3u8", |list| list.contains("avc1.")).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_says_why() {
    let serving = serve().await;
    let (_, _, _, good) = offer(Role::Send).await;
    let key = format!("{SDP}Authorization: Bearer {}\r\n", serving.key);
    let other = format!("{SDP}Authorization: Bearer sk_{}\r\n", "0".repeat(40));
    let vp8 = good.replace("H264", "VP8").replace("opus", "nosuch");
    for (what, head, body, status, words) in [
        ("POST /whip", SDP, &good[..], 401, "wrong_key"),
        ("POST /whip", &other, &good, 401, "wrong_key"),
        ("POST /whip", &key[SDP.len()..], &good, 415, "application/sdp"),
        ("POST /whip", &key, "nonsense", 400, "malformed"),
        ("POST /whip", &key, &"v=0\r\n".repeat(20_000), 413, "bad_body"),
        ("POST /whip", &key, &vp8, 422, "H.264 or Opus"),
        ("POST /whep/main", SDP, &good, 404, "not live"),
        ("POST /whep/main", "", &good, 415, "application/sdp"),
        ("DELETE /whip/nobody", "", "", 404, "not_found"),
        ("PATCH /whip/nobody", "", "", 404, "not_found"),
        ("GET /whip", "", "", 405, "method_not_allowed"),
        ("PUT /whep/main", "", "", 405, "method_not_allowed"),
    ] {
        let (got, text) = serving.ask(what, head, body).await;
        assert!(got.starts_with(&format!("HTTP/1.1 {status} ")), "{what} {head}: {got}\n{text}");
        assert!(text.contains(words), "{what}: {text}");
    }
    let (head, _) = serving.ask("OPTIONS /whip", "", "").await;
    assert!(head.starts_with("HTTP/1.1 204"), "{head}");
    assert_eq!(header(&head, "access-control-allow-origin"), Some("*"));
    assert!(header(&head, "access-control-allow-methods").is_some_and(|all| all.contains("POST")));

    let publisher = Client::publish(&serving).await;
    let (head, text) = serving.ask("POST /whip", &key, &good).await;
    assert!(head.starts_with("HTTP/1.1 409") && text.contains("somebody is publishing"), "{text}");
    let fragment = "Content-Type: application/trickle-ice-sdpfrag\r\n";
    let patch = format!("PATCH {}", publisher.location);
    for (more, status) in [("", 428), ("If-Match: \"x\"\r\n", 412), ("If-Match: *\r\n", 422)] {
        let (head, _) = serving.ask(&patch, &format!("{fragment}{more}"), "a=x").await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{more}: {head}");
    }
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_sessions_begin_than_may_be() {
    let mut config = Config::default();
    config.rtmp.listen = String::new();
    config.srt.listen = String::new();
    config.webrtc.listen = "127.0.0.1:0".to_owned();
    config.webrtc.sessions_max = 1;
    config.webrtc.ice_servers = vec!["stun:stun.example.org:3478".to_owned()];
    let serving = Serving::start(config).await;
    let publisher = Client::publish(&serving).await;
    let (_, _, _, offer) = offer(Role::Receive).await;
    let (head, text) = serving.ask("POST /whep/main", SDP, &offer).await;
    assert!(head.starts_with("HTTP/1.1 503") && text.contains("sessions_max"), "{head}\n{text}");
    assert!(header(&head, "retry-after").is_some(), "{head}");
    // Garbage and strangers cost nothing but a count.
    let stranger = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let server = publisher.server;
    for first in 0..=255_u8 {
        stranger.send_to(&[first; 40], server).await.expect("it is sent");
    }
    let dropped = |text: &str| !text.contains("streamr_webrtc_dropped_total 0\n");
    serving.wait_for("/metrics", dropped).await;
    let (head, _) = serving.ask(&format!("DELETE {}", publisher.location), "", "").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    serving.wait_for("/metrics", |text| text.contains("streamr_webrtc_sessions 0\n")).await;
    drop(publisher);
    Client::publish(&serving).await;
    serving.stop().await;
}
