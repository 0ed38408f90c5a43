//! The client: one allocation of one server, kept alive, and what goes through it.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;

use bytes::Bytes;
use psyne_core::Time;

use super::ask::{Ask, Asks, Due, Pending, Request};
use super::peers::{Peers, Route};
use super::{Credential, Family, Framer, channel_data, channel_header};
use crate::Seed;
use crate::secret::Secrets;
use crate::stun::{Builder, Class, Key, Message, Method, Transaction, attribute};

/// UDP, as REQUESTED-TRANSPORT names it.
const UDP: [u8; 4] = [17, 0, 0, 0];
/// What an allocation that does not say so lasts (RFC 8656 §3.2).
const LIFETIME_S: u32 = 600;
/// How often permissions and channels are looked after.
const UPKEEP: Duration = Duration::from_secs(30);
/// How often one request may meet a stale nonce.
const RENEWALS_MAX: u32 = 3;
/// REALM and NONCE that are believed; RFC 8489 §14.9 and §14.10 allow 763.
const TEXT_BYTES_MAX: usize = 763;
/// A longer USERNAME does not exist (RFC 8489 §14.3).
const USERNAME_BYTES_MAX: usize = 508;
/// Bytes of a datagram that still fits into an indication.
const DATAGRAM_BYTES_MAX: usize = 65_000;
/// Makes the first request as long as the answer that asks who we are: a server that never says
/// more to strangers than they said answers it. Any server passes over SOFTWARE.
const SOFTWARE: &[u8; 72] =
    b"psyne                                                                   ";

/// What carries frames to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Each datagram is a frame.
    Udp,
    /// TCP or TLS, which look the same from here.
    Stream,
}

/// With whom an allocation is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// The address of ours that speaks with the server: a UDP socket's, which may be a host
    /// candidate's too, or a connection's.
    pub base: SocketAddr,
    /// The server's address.
    pub server: SocketAddr,
    /// What lies between.
    pub transport: Transport,
    /// Who we are.
    pub credential: Credential,
    /// What kind of address is to be lent.
    pub family: Family,
    /// Peers, and addresses of peers, that are let through at a time. A session has at most as
    /// many as it takes candidates; beyond it, datagrams are dropped.
    pub peers_max: usize,
}

impl ClientConfig {
    /// An IPv4 allocation over UDP, for 64 peers.
    #[must_use]
    pub const fn new(base: SocketAddr, server: SocketAddr, credential: Credential) -> Self {
        let (transport, family, peers_max) = (Transport::Udp, Family::V4, 64);
        Self { base, server, transport, credential, family, peers_max }
    }
}

/// Why there is no allocation, or none any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// We gave it back.
    Local,
    /// The server does not answer, though asked for 39.5 s.
    Unreachable,
    /// The server does not know the user, or the password is wrong or too old.
    Credentials,
    /// The user has too many allocations (486).
    Quota,
    /// The server has no more to lend (508).
    Capacity,
    /// The server has an allocation for this socket that is not ours (437): take another socket.
    Mismatch,
    /// The server sends us to another one (300), where we do not go by ourselves: configure that.
    Redirected,
    /// The server refused with this code.
    Refused(u16),
    /// The server has forgotten the allocation, or no longer answers.
    Lost,
    /// What the server says breaks TURN's rules.
    Violation,
}

impl Failure {
    /// A name that stays the same for programs to match on, in every language.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Local => "turn.local",
            Self::Unreachable => "turn.unreachable",
            Self::Credentials => "turn.credentials",
            Self::Quota => "turn.quota",
            Self::Capacity => "turn.capacity",
            Self::Mismatch => "turn.mismatch",
            Self::Redirected => "turn.redirected",
            Self::Refused(_) => "turn.refused",
            Self::Lost => "turn.lost",
            Self::Violation => "turn.violation",
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// There is an allocation.
    Allocated {
        /// The address that is lent.
        relayed: SocketAddr,
        /// What the server sees of our address: over UDP, a server-reflexive candidate.
        mapped: Option<SocketAddr>,
    },
    /// A peer sent this to the relayed address.
    Data {
        /// Who.
        peer: SocketAddr,
        /// What.
        data: Bytes,
    },
    /// There is none, or none any more. The last event.
    Failed(Failure),
}

/// What the client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientOutput {
    /// Send this to the server: a datagram, or so many more bytes of the stream.
    Transmit(Bytes),
    /// Know this.
    Event(ClientEvent),
    /// Nothing until this time, or until the next input.
    Wait(Option<Time>),
}

/// Who we are to the server, once it has told where.
#[derive(Debug)]
struct Auth {
    realm: String,
    nonce: String,
    key: Key,
}

/// A TURN client. It asks for an allocation when it is made.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    secrets: Secrets,
    framer: Option<Framer>,
    asks: Asks,
    auth: Option<Auth>,
    relayed: Option<SocketAddr>,
    refresh_at: Time,
    upkeep_at: Time,
    peers: Peers,
    dropped: u64,
    closed: bool,
    out: VecDeque<ClientOutput>,
}

impl Client {
    /// Asks for an allocation.
    #[must_use]
    pub fn new(config: ClientConfig, now: Time, seed: Seed) -> Self {
        let stream = config.transport == Transport::Stream;
        let mut client = Self {
            secrets: Secrets::new(seed),
            framer: stream.then(|| Framer::new(Framer::FRAME_BYTES_MAX)),
            asks: Asks::new(stream),
            auth: None,
            relayed: None,
            refresh_at: Time::MAX,
            upkeep_at: Time::MAX,
            peers: Peers::new(config.peers_max),
            dropped: 0,
            closed: false,
            out: VecDeque::new(),
            config,
        };
        if client.config.credential.username.len() > USERNAME_BYTES_MAX {
            client.fail(Failure::Credentials);
        } else {
            client.ask(now, Ask::Allocate, 0);
        }
        client
    }

    /// With whom it was made.
    #[must_use]
    pub const fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// The address that is lent.
    #[must_use]
    pub const fn relayed(&self) -> Option<SocketAddr> {
        self.relayed
    }

    /// Datagrams that went nowhere: no allocation, too many peers, or a peer that the server
    /// refused; and what came and was nothing.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Sends a datagram to a peer from the relayed address.
    pub fn send(&mut self, now: Time, peer: SocketAddr, data: &[u8]) {
        if self.closed || self.relayed.is_none() || data.len() > DATAGRAM_BYTES_MAX {
            self.dropped += 1;
            return;
        }
        let route = self.peers.route(now, peer);
        if let Route::Permit = route {
            self.ask(now, Ask::Permit(peer.ip()), 0);
        }
        match route {
            Route::Nowhere => self.dropped += 1,
            Route::Channel(number) => self.transmit_channel(number, data),
            // Right behind the request for a permission: it is there when this arrives.
            Route::Permit | Route::Indication => self.transmit_indication(peer, data),
            Route::Bind(number) => {
                self.transmit_indication(peer, data);
                self.ask(now, Ask::Bind(number, peer), 0);
            }
        }
    }

    fn transmit_channel(&mut self, number: u16, data: &[u8]) {
        let mut frame = Vec::with_capacity(data.len() + 8);
        frame.extend_from_slice(&channel_header(number, data.len()));
        frame.extend_from_slice(data);
        if self.framer.is_some() {
            frame.resize(frame.len().next_multiple_of(4), 0);
        }
        self.transmit(frame.into());
    }

    fn transmit_indication(&mut self, peer: SocketAddr, data: &[u8]) {
        let transaction = self.transaction();
        let message = Builder::new(Class::Indication, Method::Send, transaction)
            .address(attribute::XOR_PEER_ADDRESS, peer)
            .attribute(attribute::DATA, data);
        self.transmit(message.finish().into());
    }

    fn transmit(&mut self, bytes: Bytes) {
        self.out.push_back(ClientOutput::Transmit(bytes));
    }

    /// Gives the allocation back.
    pub fn close(&mut self, now: Time) {
        if self.relayed.is_some() && !self.closed {
            self.ask(now, Ask::Refresh { seconds: 0 }, 0);
        }
        self.fail(Failure::Local);
    }

    /// The connection to the server broke, or could not be made.
    pub fn disconnected(&mut self) {
        let had = self.relayed.is_some();
        self.fail(if had { Failure::Lost } else { Failure::Unreachable });
    }

    fn fail(&mut self, failure: Failure) {
        if !self.closed {
            self.closed = true;
            self.relayed = None;
            self.asks.clear();
            self.out.push_back(ClientOutput::Event(ClientEvent::Failed(failure)));
        }
    }

    /// A datagram came from the server, or some bytes of its stream.
    pub fn handle(&mut self, now: Time, bytes: &[u8]) {
        if self.closed {
            return;
        }
        let Some(framer) = &mut self.framer else { return self.handle_frame(now, bytes) };
        framer.push(bytes);
        while let Some(framer) = self.framer.as_mut().filter(|_| !self.closed) {
            match framer.next_frame() {
                Ok(Some(frame)) => self.handle_frame(now, &frame),
                Ok(None) => return,
                Err(_) => return self.fail(Failure::Violation),
            }
        }
    }

    fn handle_frame(&mut self, now: Time, frame: &[u8]) {
        let taken = match Message::parse(frame) {
            Some(message) => self.handle_message(now, &message),
            None => self.handle_channel(frame),
        };
        self.dropped += u64::from(taken.is_none());
    }

    fn handle_channel(&mut self, frame: &[u8]) -> Option<()> {
        let (number, data) = channel_data(frame)?;
        let peer = self.peers.peer(number)?;
        self.data(peer, data);
        Some(())
    }

    fn data(&mut self, peer: SocketAddr, data: &[u8]) {
        let data = Bytes::copy_from_slice(data);
        self.out.push_back(ClientOutput::Event(ClientEvent::Data { peer, data }));
    }

    fn handle_message(&mut self, now: Time, message: &Message<'_>) -> Option<()> {
        match (message.class, message.method) {
            (Class::Indication, Method::Data) => {
                let peer = message.address(attribute::XOR_PEER_ADDRESS)?;
                self.data(peer, message.attribute(attribute::DATA)?);
            }
            (Class::Success, _) => {
                let ask = self.answered(message)?;
                self.succeeded(now, ask, message);
            }
            (Class::Error, _) => self.handle_error(now, message)?,
            _ => return None,
        }
        Some(())
    }

    /// Which request it answers, if it is signed as that was.
    fn answered(&mut self, message: &Message<'_>) -> Option<Ask> {
        let Pending { ask, signed, .. } = *self.asks.find(&message.transaction)?;
        let key = self.auth.as_ref().map(|auth| &auth.key);
        if method(ask) != message.method || signed && !message.is_signed_by(key?) {
            return None;
        }
        self.asks.end(&message.transaction);
        Some(ask)
    }

    fn succeeded(&mut self, now: Time, ask: Ask, message: &Message<'_>) {
        match ask {
            Ask::Allocate => {
                let Some(relayed) = message.address(attribute::XOR_RELAYED_ADDRESS) else {
                    return self.fail(Failure::Violation);
                };
                self.lives(now, message);
                self.upkeep_at = now + UPKEEP;
                self.relayed = Some(relayed);
                let mapped = message.address(attribute::XOR_MAPPED_ADDRESS);
                let event = ClientEvent::Allocated { relayed, mapped };
                self.out.push_back(ClientOutput::Event(event));
            }
            Ask::Refresh { .. } => self.lives(now, message),
            Ask::Permit(ip) => self.peers.permitted(now, ip),
            Ask::Bind(number, peer) => self.peers.bound(now, number, peer),
        }
    }

    /// Half of what it lives is over before it is refreshed: there is time to ask twice.
    fn lives(&mut self, now: Time, message: &Message<'_>) {
        let seconds = message.word(attribute::LIFETIME).unwrap_or(LIFETIME_S);
        self.refresh_at = now + Duration::from_secs(u64::from(seconds / 2).max(1));
    }

    fn handle_error(&mut self, now: Time, message: &Message<'_>) -> Option<()> {
        let code = message.error_code()?;
        let pending = self.asks.find(&message.transaction)?;
        let (ask, signed, renewed) = (pending.ask, pending.signed, pending.renewed);
        // These two are how a server says by whom a request must be signed (RFC 8489 §9.2.5).
        let asks_who = code == 401 && !signed || code == 438;
        if asks_who && renewed < RENEWALS_MAX {
            self.introduce(message)?;
            self.asks.end(&message.transaction);
            self.ask(now, ask, renewed + 1);
            return Some(());
        }
        if code == 401 || code == 438 {
            self.asks.end(&message.transaction);
            self.fail(if code == 401 { Failure::Credentials } else { Failure::Refused(code) });
            return Some(());
        }
        self.answered(message)?;
        self.refused(now, ask, code);
        Some(())
    }

    fn refused(&mut self, now: Time, ask: Ask, code: u16) {
        match (ask, code) {
            (Ask::Allocate, 437) => self.fail(Failure::Mismatch),
            (_, 437) => self.fail(Failure::Lost),
            (Ask::Permit(ip), _) => self.peers.forbidden(now, ip),
            (Ask::Bind(_, peer), _) => self.peers.unbound(peer),
            (_, 300) => self.fail(Failure::Redirected),
            (_, 486) => self.fail(Failure::Quota),
            (_, 508) => self.fail(Failure::Capacity),
            (_, code) => self.fail(Failure::Refused(code)),
        }
    }

    /// Takes from the server what it wants to see from now on.
    fn introduce(&mut self, message: &Message<'_>) -> Option<()> {
        let text = |kind| message.text(kind).filter(|text| text.len() <= TEXT_BYTES_MAX);
        let nonce = text(attribute::NONCE)?.to_owned();
        let known = self.auth.take();
        let realm = match (text(attribute::REALM), &known) {
            (Some(realm), _) => realm.to_owned(),
            (None, Some(auth)) => auth.realm.clone(),
            (None, None) => return None,
        };
        let Credential { username, password } = &self.config.credential;
        let key = match known.filter(|auth| auth.realm == realm) {
            Some(auth) => auth.key,
            None => Key::long_term(username, &realm, password),
        };
        self.auth = Some(Auth { realm, nonce, key });
        Some(())
    }

    fn ask(&mut self, now: Time, ask: Ask, renewed: u32) {
        let transaction = self.transaction();
        let bytes: Bytes = self.request(ask, transaction).into();
        let signed = self.auth.is_some();
        self.transmit(bytes.clone());
        self.asks.begin(now, ask, Request { transaction, bytes, signed, renewed });
    }

    fn request(&self, ask: Ask, transaction: Transaction) -> Vec<u8> {
        let request = Builder::new(Class::Request, method(ask), transaction);
        let request = match ask {
            Ask::Allocate => self.allocate(request),
            Ask::Refresh { seconds } => {
                request.attribute(attribute::LIFETIME, &seconds.to_be_bytes())
            }
            Ask::Permit(ip) => request.address(attribute::XOR_PEER_ADDRESS, SocketAddr::new(ip, 0)),
            Ask::Bind(number, peer) => request
                .attribute(attribute::CHANNEL_NUMBER, &(u32::from(number) << 16).to_be_bytes())
                .address(attribute::XOR_PEER_ADDRESS, peer),
        };
        let Some(auth) = &self.auth else { return request.finish() };
        request
            .attribute(attribute::USERNAME, self.config.credential.username.as_bytes())
            .attribute(attribute::REALM, auth.realm.as_bytes())
            .attribute(attribute::NONCE, auth.nonce.as_bytes())
            .sign(&auth.key)
            .finish()
    }

    fn allocate(&self, request: Builder) -> Builder {
        let mut request = request.attribute(attribute::REQUESTED_TRANSPORT, &UDP);
        if self.config.family == Family::V6 {
            let family = [self.config.family.number(), 0, 0, 0];
            request = request.attribute(attribute::REQUESTED_ADDRESS_FAMILY, &family);
        }
        if self.auth.is_none() {
            request = request.attribute(attribute::SOFTWARE, SOFTWARE);
        }
        request
    }

    fn transaction(&mut self) -> Transaction {
        let mut transaction = [0; 12];
        transaction.iter_mut().zip(self.secrets.block()).for_each(|(to, byte)| *to = byte);
        transaction
    }

    /// The time that [`ClientOutput::Wait`] named has come, or any other.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(due) = self.asks.due(now) {
            match due {
                Due::Again(bytes) => self.transmit(bytes),
                Due::Over(Ask::Allocate) => self.fail(Failure::Unreachable),
                Due::Over(Ask::Refresh { .. }) => self.fail(Failure::Lost),
                Due::Over(Ask::Permit(ip)) => self.peers.forbidden(now, ip),
                Due::Over(Ask::Bind(_, peer)) => self.peers.unbound(peer),
            }
        }
        if self.closed {
            return;
        }
        if self.refresh_at <= now {
            // The answer sets it.
            self.refresh_at = Time::MAX;
            self.ask(now, Ask::Refresh { seconds: LIFETIME_S }, 0);
        }
        if self.upkeep_at <= now {
            self.upkeep_at = now + UPKEEP;
            for ask in self.peers.upkeep(now) {
                self.ask(now, ask, 0);
            }
        }
    }

    /// What to send, know or wait for next.
    pub fn poll_output(&mut self) -> ClientOutput {
        if let Some(output) = self.out.pop_front() {
            return output;
        }
        let timers = [self.refresh_at, self.upkeep_at].into_iter().filter(|at| *at < Time::MAX);
        let next = timers.chain(self.asks.next()).min();
        ClientOutput::Wait(next.filter(|_| !self.closed))
    }
}

const fn method(ask: Ask) -> Method {
    match ask {
        Ask::Allocate => Method::Allocate,
        Ask::Refresh { .. } => Method::Refresh,
        Ask::Permit(_) => Method::CreatePermission,
        Ask::Bind(..) => Method::ChannelBind,
    }
}
