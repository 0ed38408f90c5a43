//! One socket for many peers: who says hello with a cookie has a channel.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::wire::{DATAGRAM_BYTES_MAX, Hello, Packet};
use super::{Inbox, Line, MESSAGE_BYTES_MAX};
use crate::channel::{self, Acceptor, Driver, Options, Path};
use crate::pulse::{TICK, every};
use crate::uri::Scheme;

/// Channels of one listener: a gigabyte of queues, if all were full.
const CHANNELS_MAX: usize = 4096;
/// Datagrams of a peer that wait for its driver; more are lost.
const INBOX_MAX: usize = 256;
/// How long a cookie holds, at least.
const COOKIE_LIFE: Duration = Duration::from_secs(30);

/// A peer with a channel.
struct Peer {
    token: [u8; 8],
    inbox: mpsc::Sender<Bytes>,
}

/// The driver of a listener.
pub(super) struct Demux {
    socket: Arc<UdpSocket>,
    acceptor: Acceptor,
    options: Options,
    peers: HashMap<SocketAddr, Peer>,
    secret: [u8; 32],
    start: Instant,
}

impl Demux {
    pub(super) fn new(socket: Arc<UdpSocket>, acceptor: Acceptor, options: Options) -> Self {
        let (peers, secret, start) = (HashMap::new(), rand::random(), Instant::now());
        Self { socket, acceptor, options, peers, secret, start }
    }

    /// Runs while somebody listens, or a channel lives.
    pub(super) async fn run(mut self) {
        let (mut buffer, mut sweep) = ([0; DATAGRAM_BYTES_MAX], every(TICK));
        let mut is_open = true;
        while is_open || !self.peers.is_empty() {
            tokio::select! {
                came = self.socket.recv_from(&mut buffer) => {
                    // An error is the answer to something that was sent: nobody's business here.
                    let Ok((bytes, from)) = came else { continue };
                    let came = Bytes::copy_from_slice(buffer.get(..bytes).unwrap_or_default());
                    self.take(came, from, is_open).await;
                }
                _ = sweep.tick() => self.peers.retain(|_, peer| !peer.inbox.is_closed()),
                () = self.acceptor.closed(), if is_open => is_open = false,
            }
        }
    }

    async fn take(&mut self, came: Bytes, from: SocketAddr, is_open: bool) {
        match Packet::decode(came.clone()) {
            Some(Packet::Data { token, .. }) => {
                let peer = self.peers.get(&from).filter(|peer| peer.token == token);
                if let Some(peer) = peer {
                    drop(peer.inbox.try_send(came));
                }
            }
            Some(Packet::Hello(hello)) if is_open => {
                if let Some(answer) = self.hello(hello, from) {
                    drop(self.socket.send_to(&answer.encode(), from).await);
                }
            }
            _ => {}
        }
    }

    /// The answer to a hello: without its cookie, only that, and nothing is kept.
    fn hello(&mut self, hello: Hello, from: SocketAddr) -> Option<Packet> {
        let nonce = hello.nonce;
        let now = self.start.elapsed().as_secs() / COOKIE_LIFE.as_secs();
        let is_known = [now, now.saturating_sub(1)].iter().any(|time| {
            self.cookie(&hello, from, *time).verify_truncated_left(&hello.cookie).is_ok()
        });
        if !is_known {
            let whole = self.cookie(&hello, from, now).finalize().into_bytes();
            let cookie = whole.get(..16)?.try_into().ok()?;
            return Some(Packet::Cookie { nonce, cookie });
        }
        self.peers.retain(|at, peer| *at != from || !peer.inbox.is_closed());
        let token = match self.peers.get(&from) {
            Some(peer) => peer.token,
            None => self.accept(hello, from)?,
        };
        let message_bytes_max = self.options.message_bytes_max.min(MESSAGE_BYTES_MAX) as u32;
        Some(Packet::Welcome { nonce, token, message_bytes_max })
    }

    fn cookie(&self, hello: &Hello, from: SocketAddr, time: u64) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("any length is a key");
        mac.update(from.to_string().as_bytes());
        mac.update(&hello.nonce);
        mac.update(&time.to_be_bytes());
        mac
    }

    fn accept(&mut self, hello: Hello, from: SocketAddr) -> Option<[u8; 8]> {
        if self.peers.len() >= CHANNELS_MAX {
            return None;
        }
        let (channel, wire) = channel::pair(&self.options).ok()?;
        let (inbox, queue) = mpsc::channel(INBOX_MAX);
        let token = rand::random();
        let local = self.socket.local_addr().ok()?;
        let bytes_max = (hello.message_bytes_max as usize).min(MESSAGE_BYTES_MAX);
        wire.open(bytes_max, Path::direct(Scheme::Udp, local, from));
        let socket = self.socket.clone();
        let line = Line { socket, to: Some(from), token, inbox: Inbox::Queue(queue) };
        self.acceptor.try_offer(channel, Driver::new(line.run(wire))).ok()?;
        self.peers.insert(from, Peer { token, inbox });
        Some(token)
    }
}
