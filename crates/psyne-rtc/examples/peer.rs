//! A session on one UDP socket, with signaling by lines of JSON on standard input and output: what
//! `web/tests` puts before Chromium.
//!
//! `peer 192.0.2.1 offer|answer` offers, or waits for an offer. It opens the channel `native`,
//! sends some messages on it and says when all have come back; on all other channels it sends back
//! what comes.

use std::io::{BufRead, Write, stdin, stdout};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::thread::spawn;
use std::time::{Duration, Instant};

use psyne_rtc::association::{Delivery, Reliability};
use psyne_rtc::{
    Certificate, ChannelEvent, ChannelId, Config, Event, Local, Open, Output, Payload, Seed,
    Session, Time,
};
use serde_json::{Value, json};

/// How long it sleeps at most, so that it hears standard input.
const SLEEP_MAX: Duration = Duration::from_millis(5);

fn main() {
    let mut args = std::env::args().skip(1);
    let ip: IpAddr = args.next().and_then(|ip| ip.parse().ok()).expect("an address of ours");
    let offers = args.next().as_deref() == Some("offer");
    let socket = UdpSocket::bind((ip, 0)).expect("a socket at that address");
    let mut peer = Peer::new(socket);
    if offers {
        let offer = peer.session.offer(peer.now()).expect("a first offer");
        say(&json!({"type": "offer", "sdp": offer}));
    }
    let lines = lines();
    while !peer.over {
        peer.drain();
        peer.hear(&lines);
        peer.receive();
    }
}

struct Peer {
    socket: UdpSocket,
    addr: SocketAddr,
    origin: Instant,
    session: Session,
    /// Ours, and what has not come back on it.
    ours: ChannelId,
    expected: Vec<Payload>,
    wait: Option<Time>,
    over: bool,
}

impl Peer {
    fn new(socket: UdpSocket) -> Self {
        let origin = Instant::now();
        let addr = socket.local_addr().expect("it is bound");
        let config = Config::new(origin, Certificate::generate(random(1)));
        let mut session = Session::new(config, Time::ZERO, random(2));
        session.add_local(Time::ZERO, Local::Host(addr)).expect("the first, and not loopback");
        let delivery = Delivery { ordered: true, reliability: Reliability::Reliable };
        let open = Open { label: "native".into(), protocol: String::new(), delivery };
        let ours = session.open(Time::ZERO, open).expect("the first");
        let text = Payload::Text;
        let binary = |bytes: usize| Payload::Binary(vec![7; bytes].into());
        let expected =
            vec![text("héllo".into()), text(String::new()), binary(0), binary(1), binary(200_000)];
        Self { socket, addr, origin, session, ours, expected, wait: None, over: false }
    }

    fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    fn drain(&mut self) {
        loop {
            match self.session.poll_output() {
                Output::Transmit(out) => {
                    // What the socket refuses is lost, as on any network.
                    let _ = self.socket.send_to(&out.data, out.to);
                }
                Output::Event(event) => self.note(event),
                Output::Wait(wait) => {
                    self.wait = wait;
                    return;
                }
            }
        }
    }

    fn note(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Candidate(candidate) => say(&json!({"candidate": candidate})),
            // Without multicast: the other side's checks show where it is.
            Event::Resolve(name) => self.session.resolved(now, &name, None),
            Event::Connected => say(&json!({"connected": true})),
            Event::Channel(event) => self.note_channel(now, event),
            Event::Closed(reason) => {
                say(&json!({"over": format!("{reason:?}")}));
                self.over = true;
            }
            Event::Path { .. } => say(&json!({"path": true})),
            _ => {}
        }
    }

    fn note_channel(&mut self, now: Time, event: ChannelEvent) {
        match event {
            ChannelEvent::Opened { channel, open } => {
                say(&json!({"opened": open.label, "ordered": open.delivery.ordered,
                            "reliability": format!("{:?}", open.delivery.reliability)}));
                if channel == self.ours {
                    for payload in self.expected.clone() {
                        self.session.send(now, channel, payload).expect("there is room");
                    }
                }
            }
            ChannelEvent::Message { channel, payload } if channel == self.ours => {
                assert_eq!(payload, self.expected.remove(0), "it comes back as it was");
                if self.expected.is_empty() {
                    say(&json!({"echoed": true}));
                }
            }
            ChannelEvent::Message { channel, payload } => {
                self.session.send(now, channel, payload).expect("there is room");
            }
            ChannelEvent::Closed { .. } => say(&json!({"closed": true})),
            ChannelEvent::Drained { .. } => {}
        }
    }

    /// Takes what signaling brought.
    fn hear(&mut self, lines: &Receiver<Value>) {
        for line in lines.try_iter() {
            let now = self.now();
            let text = |key: &str| line[key].as_str().unwrap_or_default();
            match text("type") {
                "offer" => {
                    let answer = self.session.answer(now, text("sdp")).expect("an offer");
                    say(&json!({"type": "answer", "sdp": answer}));
                }
                "answer" => self.session.accept(now, text("sdp")).expect("an answer"),
                "restart" => {
                    let offer = self.session.restart(now).expect("nothing is on offer");
                    say(&json!({"type": "offer", "sdp": offer}));
                }
                _ => self.session.add_remote(now, text("candidate")).expect("a candidate"),
            }
            self.drain();
        }
    }

    /// Sleeps until a datagram or a timer.
    fn receive(&mut self) {
        let wait = self.wait.map_or(SLEEP_MAX, |wait| wait.since(self.now()));
        // Nought would mean for ever.
        let wait = wait.clamp(Duration::from_millis(1), SLEEP_MAX);
        self.socket.set_read_timeout(Some(wait)).expect("it is not nought");
        let mut buffer = [0; 2_048];
        if let Ok((len, from)) = self.socket.recv_from(&mut buffer) {
            self.session.handle_datagram(self.now(), self.addr, from, &buffer[..len]);
        }
        if self.wait.is_some_and(|wait| wait <= self.now()) {
            self.session.handle_timeout(self.now());
        }
    }
}

/// Lines of standard input as they come. Its end ends the process.
fn lines() -> Receiver<Value> {
    let (sender, receiver) = channel();
    spawn(move || {
        for line in stdin().lock().lines().map_while(Result::ok) {
            let _ = sender.send(serde_json::from_str(&line).expect("a line of JSON"));
        }
        std::process::exit(0);
    });
    receiver
}

fn say(value: &Value) {
    writeln!(stdout(), "{value}").expect("somebody listens");
}

/// From the operating system. `which` keeps two apart.
fn random(which: u8) -> Seed {
    use std::io::Read;
    let mut seed = [which; 32];
    let source = std::fs::File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut seed));
    source.expect("randomness");
    seed
}
