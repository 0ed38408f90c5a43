//! A host: one session on one socket, with a relay, and signaling through memory.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use psyne_rtc::association::{Delivery, Reliability};
use psyne_rtc::turn::{ClientConfig, Credential, Transport};
use psyne_rtc::{
    Certificate, ChannelEvent, Config, Event, Local, Open, Output, Payload, Session, Time,
};

/// How it got through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Direct,
    Relayed,
    Nowhere,
}

/// What signaling carries.
pub(crate) enum Signal {
    Offer(String),
    Answer(String),
    Candidate(String),
}

/// How long it may take. Nothing takes a tenth of it.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a way through the relay is given to become a direct one, where none is expected.
const SETTLE: Duration = Duration::from_secs(3);
/// How long it sleeps at most, so that it hears signaling.
const SLEEP: Duration = Duration::from_millis(2);

pub(crate) struct Peer {
    socket: UdpSocket,
    /// To the server, where no datagram passes.
    stream: Option<TcpStream>,
    session: Session,
    origin: Instant,
    wait: Option<Time>,
    out: Sender<Signal>,
    server: SocketAddr,
    relayed: bool,
    path: Option<(SocketAddr, SocketAddr)>,
    heard: bool,
    since: Option<Instant>,
}

impl Peer {
    pub(crate) fn new(
        who: u8,
        ip: IpAddr,
        server: (SocketAddr, bool),
        credential: Credential,
        out: Sender<Signal>,
    ) -> Self {
        let (server, by_stream) = server;
        let socket = UdpSocket::bind((ip, 0)).expect("a socket");
        socket.set_read_timeout(Some(SLEEP)).expect("a timeout");
        let local = socket.local_addr().expect("it is bound");
        let origin = Instant::now();
        let config = Config::new(origin, Certificate::generate([who; 32]));
        let mut seed = [who; 32];
        seed[1..3].copy_from_slice(&local.port().to_be_bytes());
        let mut session = Session::new(config, Time::ZERO, seed);
        session.add_local(Time::ZERO, Local::Host(local)).expect("the first");
        let mut relay = ClientConfig::new(local, server, credential);
        let stream = by_stream.then(|| {
            let stream = TcpStream::connect(server).expect("the server listens");
            stream.set_nonblocking(true).expect("it can be");
            stream.set_nodelay(true).expect("it can be");
            relay.base = stream.local_addr().expect("it is connected");
            relay.transport = Transport::Stream;
            stream
        });
        session.add_relay(Time::ZERO, relay).expect("the first");
        let (wait, path, since) = (None, None, None);
        let (relayed, heard) = (false, false);
        Self { socket, stream, session, origin, wait, out, server, relayed, path, heard, since }
    }

    fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    /// Runs until a message has come and the way is settled.
    pub(crate) fn run(mut self, offers: bool, signals: &Receiver<Signal>, direct: bool) -> Way {
        let delivery = Delivery { ordered: true, reliability: Reliability::Reliable };
        if offers {
            let open = Open { label: "lab".into(), protocol: String::new(), delivery };
            self.session.open(self.now(), open).expect("the first");
            let offer = self.session.offer(self.now()).expect("a first offer");
            self.say(Signal::Offer(offer));
        }
        while self.origin.elapsed() < PATIENCE {
            self.drain();
            let way = self.way();
            let settled = match self.since {
                Some(_) if way == Way::Direct => true,
                Some(since) => !direct && since.elapsed() > SETTLE,
                None => false,
            };
            if settled {
                // The other side may still want an answer.
                let end = Instant::now() + SETTLE / 3;
                while Instant::now() < end {
                    self.step(signals);
                }
                return self.way();
            }
            self.step(signals);
        }
        if self.heard { self.way() } else { Way::Nowhere }
    }

    fn step(&mut self, signals: &Receiver<Signal>) {
        while let Ok(signal) = signals.try_recv() {
            self.hear(signal);
        }
        self.receive();
        self.drain();
    }

    fn way(&self) -> Way {
        match self.path {
            None => Way::Nowhere,
            Some((local, remote)) => {
                let relayed = [local.ip(), remote.ip()].contains(&self.server.ip());
                if relayed { Way::Relayed } else { Way::Direct }
            }
        }
    }

    fn say(&self, signal: Signal) {
        // The other side may have ended.
        let _ = self.out.send(signal);
    }

    fn hear(&mut self, signal: Signal) {
        let now = self.now();
        match signal {
            Signal::Offer(text) => {
                let answer = self.session.answer(now, &text).expect("an offer of ours");
                self.say(Signal::Answer(answer));
            }
            Signal::Answer(text) => self.session.accept(now, &text).expect("an answer of ours"),
            Signal::Candidate(text) => {
                self.session.add_remote(now, &text).expect("a candidate of ours");
            }
        }
    }

    fn receive(&mut self) {
        let mut buffer = [0; 2_048];
        match self.socket.recv_from(&mut buffer) {
            Ok((count, from)) => {
                let local = self.socket.local_addr().expect("it is bound");
                self.session.handle_datagram(self.now(), local, from, &buffer[..count]);
            }
            Err(_) => {
                if self.wait.is_some_and(|wait| wait <= self.now()) {
                    self.session.handle_timeout(self.now());
                }
            }
        }
        if let Some(stream) = &mut self.stream {
            let base = stream.local_addr().expect("it is connected");
            match stream.read(&mut buffer) {
                Ok(count) if count > 0 => {
                    self.session.handle_datagram(self.now(), base, self.server, &buffer[..count]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                _ => panic!("the server closed the connection"),
            }
        }
        if self.wait.is_some_and(|wait| wait <= self.now()) {
            self.session.handle_timeout(self.now());
        }
    }

    fn drain(&mut self) {
        loop {
            match self.session.poll_output() {
                Output::Transmit(out) => match &mut self.stream {
                    Some(stream) if stream.local_addr().ok() == Some(out.from) => {
                        stream.write_all(&out.data).expect("room for some frames");
                    }
                    // What the socket refuses is lost, as on any network.
                    _ => drop(self.socket.send_to(&out.data, out.to)),
                },
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
            Event::Candidate(text) => self.say(Signal::Candidate(text)),
            Event::Path { local, remote } => self.path = Some((local, remote)),
            Event::PathLost => self.path = None,
            Event::Relayed { .. } => self.relayed = true,
            Event::Channel(ChannelEvent::Opened { channel, .. }) => {
                let hello = Payload::Text("hello".into());
                self.session.send(now, channel, hello).expect("there is room");
            }
            Event::Channel(ChannelEvent::Message { .. }) => {
                self.heard = true;
                self.since = Some(Instant::now());
            }
            Event::Closed(reason) => panic!("the session ended: {reason:?}"),
            _ => {}
        }
    }
}
