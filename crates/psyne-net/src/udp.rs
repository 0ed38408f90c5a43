//! `udp://HOST:PORT`: a message is a datagram, which may be lost, and is neither encrypted nor
//! authenticated (docs/wire/channel.md).

mod demux;
mod wire;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{interval, timeout};

use crate::Error;
use crate::channel::{self, Channel, Driver, Listener, Options, Path, Reliability, Wire};
use crate::frame::Frame;
use crate::pulse::{Pulse, TICK, every};
use crate::uri::{Scheme, Uri};
use wire::{Arrivals, DATAGRAM_BYTES_MAX, HEADER_BYTES, Hello, Packet};

/// Longest message: what the header and its kind leave.
const MESSAGE_BYTES_MAX: usize = DATAGRAM_BYTES_MAX - HEADER_BYTES - 1;
/// How often a hello is repeated that was not answered.
const AGAIN: Duration = Duration::from_millis(250);
/// How often a goodbye is said: once more than likely losses.
const GOODBYES: usize = 3;

pub(crate) fn connect(uri: &Uri, options: &Options) -> Result<(Channel, Driver), Error> {
    uri.allow(&[])?;
    may_be_lost(options)?;
    let (channel, wire) = channel::pair(options)?;
    let uri = uri.clone();
    let driver = Driver::new(async move {
        let limit = wire.options().handshake_timeout;
        let failed = |why: String| Error::Connect { uri: uri.to_string(), why };
        match timeout(limit, dial(&uri, wire.options())).await {
            Ok(Ok((line, bytes_max, path))) => {
                wire.open(bytes_max.min(MESSAGE_BYTES_MAX), path);
                line.run(wire).await;
            }
            Ok(Err(error)) => wire.end(failed(error.to_string())),
            Err(_) => wire.end(failed(format!("nobody answered in {limit:?}"))),
        }
    });
    Ok((channel, driver))
}

pub(crate) async fn listen(uri: &Uri, options: &Options) -> Result<(Listener, Driver), Error> {
    uri.allow(&[])?;
    may_be_lost(options)?;
    options.check()?;
    let failed = |error: io::Error| Error::Listen { uri: uri.to_string(), why: error.to_string() };
    let socket = UdpSocket::bind(uri.authority()).await.map_err(failed)?;
    let at = uri.moved(&socket.local_addr().map_err(failed)?);
    let (listener, acceptor) = channel::listener(at, options);
    let demux = demux::Demux::new(Arc::new(socket), acceptor, options.clone());
    Ok((listener, Driver::new(demux.run())))
}

fn may_be_lost(options: &Options) -> Result<(), Error> {
    let delivery = options.delivery;
    if !delivery.ordered && delivery.reliability == Reliability::Retransmits(0) {
        return Ok(());
    }
    Err(Error::Unsupported(
        "udp:// loses and reorders messages: ask for Delivery::UNRELIABLE, or use p2p:// or tcp://"
            .to_owned(),
    ))
}

/// Asks until a token is given.
async fn dial(uri: &Uri, options: &Options) -> io::Result<(Line, usize, Path)> {
    let none = || io::Error::other("the name has no address");
    let there = tokio::net::lookup_host(uri.authority()).await?.next().ok_or_else(none)?;
    let any: SocketAddr = match there {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(there).await?;
    let mut hello = Hello {
        nonce: rand::random(),
        cookie: [0; 16],
        message_bytes_max: options.message_bytes_max as u32,
    };
    let (mut again, mut buffer) = (interval(AGAIN), [0; DATAGRAM_BYTES_MAX]);
    loop {
        tokio::select! {
            _ = again.tick() => drop(socket.send(&Packet::Hello(hello).encode()).await?),
            came = socket.recv(&mut buffer) => {
                let came = Bytes::copy_from_slice(buffer.get(..came?).unwrap_or_default());
                match Packet::decode(came) {
                    Some(Packet::Cookie { nonce, cookie }) if nonce == hello.nonce => {
                        hello.cookie = cookie;
                        again.reset_immediately();
                    }
                    Some(Packet::Welcome { nonce, token, message_bytes_max })
                        if nonce == hello.nonce =>
                    {
                        let path = Path::direct(Scheme::Udp, socket.local_addr()?, there);
                        let socket = Arc::new(socket);
                        let line = Line { socket, to: None, token, inbox: Inbox::Socket };
                        return Ok((line, message_bytes_max as usize, path));
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Where datagrams come from.
enum Inbox {
    /// The socket, which has one peer.
    Socket,
    /// Who keeps the socket for many.
    Queue(mpsc::Receiver<Bytes>),
}

/// Two sides that have said hello.
struct Line {
    socket: Arc<UdpSocket>,
    /// None: the socket's peer.
    to: Option<SocketAddr>,
    token: [u8; 8],
    inbox: Inbox,
}

impl Line {
    /// Carries messages until the channel is over.
    async fn run(mut self, wire: Wire) {
        let pulse = Pulse::new();
        let inbox = std::mem::replace(&mut self.inbox, Inbox::Socket);
        let end = tokio::select! {
            end = self.read(inbox, &wire, &pulse) => end,
            end = self.write(&wire, &pulse) => end,
            why = pulse.watch(&wire) => Error::Lost { why },
        };
        wire.end(end);
    }

    async fn read(&self, mut inbox: Inbox, wire: &Wire, pulse: &Pulse) -> Error {
        let (mut arrivals, mut told) = (Arrivals::default(), every(TICK));
        let mut buffer = [0; DATAGRAM_BYTES_MAX];
        loop {
            let came = tokio::select! {
                came = self.receive(&mut inbox, &mut buffer) => came,
                _ = told.tick() => {
                    let (expected, lost) = arrivals.since();
                    wire.gauge().arrivals(expected, lost);
                    continue;
                }
            };
            let came = match came {
                Ok(came) => came,
                Err(error) => return Error::Lost { why: error.to_string() },
            };
            let Some(Packet::Data { token, number, frame }) = Packet::decode(came) else {
                wire.gauge().refused(1);
                continue;
            };
            if token != self.token || !arrivals.is_new(number) {
                wire.gauge().refused(1);
                continue;
            }
            pulse.heard();
            match Frame::decode_datagram(frame, wire.options().message_bytes_max) {
                Ok(Frame::Message(message)) => drop(wire.put(message)),
                Ok(Frame::Ping(number)) => pulse.asked(number),
                Ok(Frame::Pong(number)) => pulse.answered(wire, number),
                Ok(Frame::Close(reason)) => return Error::Closed { by_peer: true, reason },
                Err(_) => wire.gauge().refused(1),
            }
        }
    }

    async fn receive(&self, inbox: &mut Inbox, buffer: &mut [u8]) -> io::Result<Bytes> {
        match inbox {
            Inbox::Socket => {
                let bytes = self.socket.recv(buffer).await?;
                Ok(Bytes::copy_from_slice(buffer.get(..bytes).unwrap_or_default()))
            }
            Inbox::Queue(queue) => {
                let gone = || io::Error::other("the listener's driver was dropped");
                queue.recv().await.ok_or_else(gone)
            }
        }
    }

    async fn write(&self, wire: &Wire, pulse: &Pulse) -> Error {
        let (mut asking, mut ticking) = (every(wire.options().keepalive.every), every(TICK));
        let mut number = 0;
        loop {
            let mut closing = None;
            let frame = tokio::select! {
                next = wire.next() => match next {
                    Ok(message) => Some(Frame::Message(message)),
                    Err(reason) => {
                        closing = Some(reason.clone());
                        Some(Frame::Close(reason))
                    }
                },
                () = pulse.was_asked() => pulse.question().map(Frame::Pong),
                _ = asking.tick() => Some(Frame::Ping(pulse.number())),
                now = ticking.tick() => {
                    wire.gauge().tick(now);
                    None
                }
            };
            let Some(frame) = frame else { continue };
            for _ in 0..if closing.is_some() { GOODBYES } else { 1 } {
                let sent = self.send(number, &frame).await;
                number = number.wrapping_add(1);
                // Datagrams may be lost, here as anywhere; who is not there is found by silence.
                drop(sent);
            }
            if let Some(reason) = closing {
                return Error::Closed { by_peer: false, reason };
            }
        }
    }

    async fn send(&self, number: u32, frame: &Frame) -> io::Result<usize> {
        let mut bytes = BytesMut::new();
        frame.encode_datagram(&mut bytes);
        let packet = Packet::Data { token: self.token, number, frame: bytes.freeze() }.encode();
        match self.to {
            None => self.socket.send(&packet).await,
            Some(to) => self.socket.send_to(&packet, to).await,
        }
    }
}
