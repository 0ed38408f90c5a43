//! The server: lends addresses to clients, and carries what goes to them and from them.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use psyne_core::Time;

use super::allocation::{Allocation, Caller};
use super::credential::Users;
use super::guard::{Nonces, Rate, Strangers};
use super::{CHANNELS_TAKEN, Family, Reach, channel_data, channel_header};
use crate::Seed;
use crate::secret::Secrets;
use crate::stun::{Builder, Class, Key, Message, Method, Transaction, attribute};

/// How often it is looked what has ended.
const SWEEP: Duration = Duration::from_secs(1);
/// Attributes that an answer names as unknown.
const UNKNOWN_MAX: usize = 8;
/// REALM is repeated to strangers: a short one keeps those answers short.
const REALM_BYTES_MAX: usize = 64;
/// From here on attributes need not be understood (RFC 8489 §14).
const OPTIONAL: u16 = 0x8000;

/// How a server serves.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// What clients sign with, besides name and password; at most 64 bytes.
    pub realm: String,
    /// Who may have allocations.
    pub users: Users,
    /// Seconds since 1970 at `Time::ZERO`: short-lived credentials end by that clock.
    pub unix_s_at_zero: u64,
    /// Where clients may have it send.
    pub reach: Reach,
    /// Addresses of this machine. There, only allocations of this server are reached, whatever
    /// `reach` allows.
    pub own: Vec<IpAddr>,
    /// What kinds of addresses it can lend.
    pub families: Vec<Family>,
    /// Allocations at a time. Each holds a socket, and up to 20 KB.
    pub allocations_max: usize,
    /// Allocations of one user at a time: a browser makes one for each network it has.
    pub user_allocations_max: usize,
    /// Permissions, and channels, of one allocation.
    pub allocation_peers_max: usize,
    /// Bytes that one allocation carries in a second, both ways together: 100 Mbit.
    pub allocation_bytes_per_s: u64,
    /// How long an allocation lives that does not say.
    pub lifetime_s: u32,
    /// How long it may live without a refresh (RFC 8656 §3.2).
    pub lifetime_s_max: u32,
    /// How long a nonce is taken.
    pub nonce_lifetime: Duration,
    /// Answers a second to an address that has shown no credential: 32 bytes or so of what it
    /// sent come back as up to twice that.
    pub stranger_answers_per_s: u64,
    /// The same for all addresses together.
    pub strangers_answers_per_s: u64,
    /// Let a stranger's datagram without an answer that would be longer than itself. Browsers'
    /// first requests are shorter than any answer can be: they are lost so. Ours are not.
    pub strict: bool,
}

impl ServerConfig {
    /// The defaults. `families` has IPv4 only.
    #[must_use]
    pub fn new(realm: String, users: Users, unix_s_at_zero: u64) -> Self {
        Self {
            realm,
            users,
            unix_s_at_zero,
            reach: Reach::default(),
            own: Vec::new(),
            families: vec![Family::V4],
            allocations_max: 4_096,
            user_allocations_max: 16,
            allocation_peers_max: 64,
            allocation_bytes_per_s: 12_500_000,
            lifetime_s: 600,
            lifetime_s_max: 3_600,
            nonce_lifetime: Duration::from_secs(600),
            stranger_answers_per_s: 32,
            strangers_answers_per_s: 20_000,
            strict: false,
        }
    }
}

/// By what a client speaks with the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Via {
    /// A UDP socket of the server's, by the driver's number.
    Datagrams(u64),
    /// A connection, TCP or TLS, by the driver's number, which is never used twice.
    Stream(u64),
}

/// A client's end: what RFC 8656 calls its 5-tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// The server's side.
    pub via: Via,
    /// The client's address.
    pub remote: SocketAddr,
}

/// An allocation's number, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AllocationId(u64);

/// A datagram that an allocation's socket is to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToPeer<'a> {
    /// Whose socket.
    pub allocation: AllocationId,
    /// To whom.
    pub to: SocketAddr,
    /// What.
    pub data: &'a [u8],
}

/// A datagram that came to an allocation's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FromPeer<'a> {
    /// Whose socket.
    pub allocation: AllocationId,
    /// From whom.
    pub from: SocketAddr,
    /// What.
    pub data: &'a [u8],
}

/// What the server wants, besides carrying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerOutput {
    /// Send this frame to a client.
    Reply {
        /// To whom.
        flow: Flow,
        /// What.
        frame: Bytes,
    },
    /// Open a socket at an address to lend, and say where by [`Server::opened`].
    Open {
        /// For which allocation.
        allocation: AllocationId,
        /// Of what kind.
        family: Family,
        /// At an even port.
        even: bool,
    },
    /// Close the socket of an allocation, if it has one.
    Close {
        /// Which.
        allocation: AllocationId,
    },
    /// Nothing until this time, or until the next input.
    Wait(Option<Time>),
}

/// What can be counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerMetrics {
    /// Allocations that live.
    pub allocations: u64,
    /// Allocations that were made.
    pub allocations_made: u64,
    /// Requests that were answered with an error, those that asked for a nonce too.
    pub requests_refused: u64,
    /// Requests of strangers that got no answer because there were too many, or because it would
    /// have been longer.
    pub strangers_unanswered: u64,
    /// Frames that were nothing, or of nobody.
    pub frames_dropped: u64,
    /// Datagrams without permission, from or to a peer.
    pub datagrams_forbidden: u64,
    /// Datagrams over an allocation's rate.
    pub datagrams_over_rate: u64,
    /// Datagrams carried to peers.
    pub to_peers: u64,
    /// Their bytes.
    pub to_peers_bytes: u64,
    /// Datagrams carried to clients.
    pub to_clients: u64,
    /// Their bytes.
    pub to_clients_bytes: u64,
}

/// What is answered: a success with some attributes, or later, or an error's code.
type Answer = Result<Option<Builder>, u16>;

/// A TURN server.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    nonces: Nonces,
    strangers: Strangers,
    rate: Rate,
    flows: BTreeMap<Flow, AllocationId>,
    allocations: BTreeMap<AllocationId, Allocation>,
    /// Addresses that are lent.
    lent: BTreeSet<SocketAddr>,
    users: BTreeMap<String, usize>,
    made: u64,
    /// Of indications.
    transactions: u64,
    sweep_at: Option<Time>,
    metrics: ServerMetrics,
    out: VecDeque<ServerOutput>,
}

impl Server {
    /// A server without clients.
    ///
    /// # Panics
    /// The realm is longer than 64 bytes.
    #[must_use]
    pub fn new(config: ServerConfig, seed: Seed) -> Self {
        assert!(config.realm.len() <= REALM_BYTES_MAX, "a realm has at most 64 bytes");
        let mut secrets = Secrets::new(seed);
        let (each, all) = (config.stranger_answers_per_s, config.strangers_answers_per_s);
        let pieces_per_s = config.allocation_bytes_per_s.div_ceil(64);
        Self {
            nonces: Nonces::new(secrets.block(), config.nonce_lifetime),
            strangers: Strangers::new(secrets.block(), each, all),
            // Pieces of 64 bytes; a quarter of a second of them at once.
            rate: Rate::new(pieces_per_s, pieces_per_s / 4),
            flows: BTreeMap::new(),
            allocations: BTreeMap::new(),
            lent: BTreeSet::new(),
            users: BTreeMap::new(),
            made: 0,
            transactions: secrets.number(),
            sweep_at: None,
            metrics: ServerMetrics::default(),
            out: VecDeque::new(),
            config,
        }
    }

    /// What was counted so far.
    #[must_use]
    pub fn metrics(&self) -> ServerMetrics {
        ServerMetrics { allocations: self.allocations.len() as u64, ..self.metrics }
    }

    /// A client sent a frame. Says what is to be sent to a peer, if it was data for one.
    pub fn handle_client<'a>(
        &mut self,
        now: Time,
        flow: Flow,
        frame: &'a [u8],
    ) -> Option<ToPeer<'a>> {
        if frame.first().is_some_and(|byte| byte & 0xC0 == 0x40) {
            return self.handle_channel(now, flow, frame);
        }
        let Some(message) = Message::parse(frame) else {
            self.metrics.frames_dropped += 1;
            return None;
        };
        match (message.class, message.method) {
            (Class::Indication, Method::Send) => return self.handle_send(now, flow, &message),
            (Class::Request, _) => self.handle_request(now, flow, &message, frame.len()),
            _ => self.metrics.frames_dropped += 1,
        }
        None
    }

    fn handle_channel<'a>(&mut self, now: Time, flow: Flow, frame: &'a [u8]) -> Option<ToPeer<'a>> {
        let data = channel_data(frame);
        let id = self.flows.get(&flow).copied();
        let Some((id, (number, data))) = id.zip(data) else {
            self.metrics.frames_dropped += 1;
            return None;
        };
        let to = self.allocations.get(&id)?.peer(now, number);
        self.carry(now, id, to, data)
    }

    fn handle_send<'a>(
        &mut self,
        now: Time,
        flow: Flow,
        message: &Message<'a>,
    ) -> Option<ToPeer<'a>> {
        let id = self.flows.get(&flow).copied();
        let to = message.address(attribute::XOR_PEER_ADDRESS);
        let data = message.attribute(attribute::DATA);
        let unknown = self.unknown(message).next().is_some();
        let Some(((id, to), data)) = id.zip(to).zip(data).filter(|_| !unknown) else {
            self.metrics.frames_dropped += 1;
            return None;
        };
        self.carry(now, id, Some(to), data)
    }

    /// Data for a peer, if it may have it.
    fn carry<'a>(
        &mut self,
        now: Time,
        id: AllocationId,
        to: Option<SocketAddr>,
        data: &'a [u8],
    ) -> Option<ToPeer<'a>> {
        let allocation = self.allocations.get_mut(&id)?;
        let permitted = to.filter(|to| allocation.permits(now, to.ip()));
        let Some(to) = permitted.filter(|to| may_send(&self.config, &self.lent, *to)) else {
            self.metrics.datagrams_forbidden += 1;
            return None;
        };
        if !self.rate.take(&mut allocation.bucket, now, pieces(data)) {
            self.metrics.datagrams_over_rate += 1;
            return None;
        }
        self.metrics.to_peers += 1;
        self.metrics.to_peers_bytes += data.len() as u64;
        Some(ToPeer { allocation: id, to, data })
    }

    /// A datagram came to an allocation's socket. If it may pass, its frame is appended to
    /// `frames`, and whose it is is said.
    pub fn handle_peer(
        &mut self,
        now: Time,
        came: FromPeer<'_>,
        frames: &mut Vec<u8>,
    ) -> Option<Flow> {
        let FromPeer { allocation, from, data } = came;
        let allocation = self.allocations.get_mut(&allocation)?;
        if !allocation.permits(now, from.ip()) {
            self.metrics.datagrams_forbidden += 1;
            return None;
        }
        if !self.rate.take(&mut allocation.bucket, now, pieces(data)) {
            self.metrics.datagrams_over_rate += 1;
            return None;
        }
        self.metrics.to_clients += 1;
        self.metrics.to_clients_bytes += data.len() as u64;
        let flow = allocation.flow;
        let Some(number) = allocation.number(now, from) else {
            self.transactions = self.transactions.wrapping_add(1);
            let indication = data_indication(self.transactions, from, data);
            frames.extend_from_slice(&indication);
            return Some(flow);
        };
        frames.extend_from_slice(&channel_header(number, data.len()));
        frames.extend_from_slice(data);
        if let Via::Stream(_) = flow.via {
            frames.resize(frames.len() + data.len().next_multiple_of(4) - data.len(), 0);
        }
        Some(flow)
    }

    fn handle_request(&mut self, now: Time, flow: Flow, message: &Message<'_>, length: usize) {
        let known = self.flows.get(&flow).copied();
        if known.is_none() && !self.strangers.may_be_answered(now, flow.remote.ip()) {
            self.metrics.strangers_unanswered += 1;
            return;
        }
        let (caller, answer) = match message.method {
            Method::Binding => (None, self.binding(flow, message)),
            _ => match self.authenticate(now, flow, known, message) {
                Ok(caller) => {
                    let key = caller.key.clone();
                    (Some(key), self.handle_authentic(now, flow, caller, message))
                }
                Err(code) => (None, Err(code)),
            },
        };
        let frame = match answer {
            Ok(None) => return,
            Ok(Some(success)) => finish(success, caller.as_ref()),
            Err(code) => self.error(now, flow, message, (code, caller.as_ref())),
        };
        self.reply(flow, known.is_some() || caller.is_some(), length, frame);
    }

    /// To a stranger only the two answers that cannot be shorter are longer than the request: what
    /// asks for credentials, and what says an address.
    fn reply(&mut self, flow: Flow, trusted: bool, length: usize, frame: Vec<u8>) {
        let datagrams = matches!(flow.via, Via::Datagrams(_));
        if datagrams && !trusted && frame.len() > length && (self.config.strict || !brief(&frame)) {
            self.metrics.strangers_unanswered += 1;
            return;
        }
        self.out.push_back(ServerOutput::Reply { flow, frame: frame.into() });
    }

    fn error(
        &mut self,
        now: Time,
        flow: Flow,
        message: &Message<'_>,
        answer: (u16, Option<&Key>),
    ) -> Vec<u8> {
        let (code, key) = answer;
        self.metrics.requests_refused += 1;
        let mut error = Builder::new(Class::Error, message.method, message.transaction).error(code);
        if code == 401 || code == 438 {
            error = error
                .attribute(attribute::REALM, self.config.realm.as_bytes())
                .attribute(attribute::NONCE, self.nonces.issue(now, flow).as_bytes());
        }
        if code == 420 {
            let kinds = self.unknown(message).take(UNKNOWN_MAX).flat_map(u16::to_be_bytes);
            error = error.attribute(attribute::UNKNOWN_ATTRIBUTES, &kinds.collect::<Vec<u8>>());
        }
        finish(error, key)
    }

    fn binding(&self, flow: Flow, message: &Message<'_>) -> Answer {
        if self.unknown(message).next().is_some() {
            return Err(420);
        }
        let success = success(message);
        Ok(Some(success.address(attribute::XOR_MAPPED_ADDRESS, flow.remote)))
    }

    /// Attributes that must be understood and are not.
    fn unknown(&self, message: &Message<'_>) -> impl Iterator<Item = u16> {
        const KNOWN: [u16; 12] = [
            attribute::USERNAME,
            attribute::MESSAGE_INTEGRITY,
            attribute::CHANNEL_NUMBER,
            attribute::LIFETIME,
            attribute::XOR_PEER_ADDRESS,
            attribute::DATA,
            attribute::REALM,
            attribute::NONCE,
            attribute::REQUESTED_ADDRESS_FAMILY,
            attribute::EVEN_PORT,
            attribute::REQUESTED_TRANSPORT,
            attribute::RESERVATION_TOKEN,
        ];
        let kinds = message.attributes().map(|(kind, _)| kind);
        kinds.filter(|kind| *kind < OPTIONAL && !KNOWN.contains(kind))
    }

    /// Who asks, or the code to answer with.
    fn authenticate(
        &self,
        now: Time,
        flow: Flow,
        known: Option<AllocationId>,
        message: &Message<'_>,
    ) -> Result<Caller, u16> {
        if !message.is_signed() {
            return Err(401);
        }
        let text = |kind| message.text(kind).ok_or(400_u16);
        let username = text(attribute::USERNAME)?;
        let (realm, nonce) = (text(attribute::REALM)?, text(attribute::NONCE)?);
        if !self.nonces.is_fresh(now, flow, nonce) {
            return Err(438);
        }
        let holder = known.and_then(|id| self.allocations.get(&id)).map(|known| &known.caller);
        // Whoever has an allocation keeps it, though the credential that made it ends.
        if let Some(caller) = holder.filter(|caller| caller.username == username) {
            return if message.is_signed_by(&caller.key) { Ok(caller.clone()) } else { Err(401) };
        }
        let unix_s = self.config.unix_s_at_zero + now.as_micros() / 1_000_000;
        let passwords = self.config.users.passwords(username, unix_s);
        let keys = passwords.map(|it| Key::long_term(username, realm, &it));
        let key = keys.into_iter().find(|key| message.is_signed_by(key)).ok_or(401_u16)?;
        if realm != self.config.realm {
            return Err(401);
        }
        if holder.is_some() {
            return Err(441);
        }
        let user = self.config.users.user(username).to_owned();
        Ok(Caller { username: username.to_owned(), user, key })
    }

    fn handle_authentic(
        &mut self,
        now: Time,
        flow: Flow,
        caller: Caller,
        message: &Message<'_>,
    ) -> Answer {
        if self.unknown(message).next().is_some() {
            return Err(420);
        }
        let known = self.flows.get(&flow).copied();
        if message.method == Method::Allocate {
            return self.allocate(now, flow, caller, message);
        }
        let id = known.ok_or(437_u16)?;
        match message.method {
            Method::Refresh => self.refresh(now, id, message),
            Method::CreatePermission => self.permit(now, id, message),
            Method::ChannelBind => self.bind(now, id, message),
            _ => Err(400),
        }
    }

    fn allocate(&mut self, now: Time, flow: Flow, caller: Caller, message: &Message<'_>) -> Answer {
        if let Some(known) = self.flows.get(&flow).and_then(|id| self.allocations.get(id)) {
            return match known.relayed {
                _ if known.transaction != message.transaction => Err(437),
                // The answer to the first is still to come.
                None => Ok(None),
                Some(relayed) => Ok(Some(allocated(known, message.transaction, relayed))),
            };
        }
        let transport = message.word(attribute::REQUESTED_TRANSPORT).ok_or(400_u16)?;
        if transport >> 24 != 17 {
            return Err(442);
        }
        let family = self.family(message)?;
        let even = message.attribute(attribute::EVEN_PORT);
        let pair = even.is_some_and(|value| value.first().is_none_or(|first| first & 0x80 != 0));
        let pair = pair || message.attribute(attribute::RESERVATION_TOKEN).is_some();
        if pair || self.allocations.len() >= self.config.allocations_max {
            return Err(508);
        }
        let used = self.users.entry(caller.user.clone()).or_default();
        if *used >= self.config.user_allocations_max {
            return Err(486);
        }
        *used += 1;
        self.made += 1;
        let id = AllocationId(self.made);
        let mut allocation = Allocation::new(flow, caller, family);
        allocation.transaction = message.transaction;
        allocation.live(now, self.lifetime_s(message));
        self.allocations.insert(id, allocation);
        self.flows.insert(flow, id);
        self.sweep_at = self.sweep_at.or(Some(now + SWEEP));
        self.out.push_back(ServerOutput::Open { allocation: id, family, even: even.is_some() });
        Ok(None)
    }

    fn family(&self, message: &Message<'_>) -> Result<Family, u16> {
        let family = match message.word(attribute::REQUESTED_ADDRESS_FAMILY).map(|it| it >> 24) {
            None | Some(1) => Family::V4,
            Some(2) => Family::V6,
            Some(_) => return Err(440),
        };
        self.config.families.contains(&family).then_some(family).ok_or(440)
    }

    /// RFC 8656 §7.2: at least the default, at most the most.
    fn lifetime_s(&self, message: &Message<'_>) -> u32 {
        let asked = message.word(attribute::LIFETIME).unwrap_or(0);
        asked.clamp(self.config.lifetime_s, self.config.lifetime_s_max.max(self.config.lifetime_s))
    }

    /// The socket of an allocation is open at this address; or none could be opened.
    pub fn opened(&mut self, now: Time, id: AllocationId, relayed: Option<SocketAddr>) {
        let Some(allocation) = self.allocations.get_mut(&id) else { return };
        let (flow, transaction) = (allocation.flow, allocation.transaction);
        let key = allocation.caller.key.clone();
        let answer = match relayed {
            Some(relayed) => {
                allocation.relayed = Some(relayed);
                allocation.live(now, allocation.lifetime_s);
                self.lent.insert(relayed);
                self.metrics.allocations_made += 1;
                allocated(allocation, transaction, relayed)
            }
            None => {
                self.release(id);
                self.metrics.requests_refused += 1;
                Builder::new(Class::Error, Method::Allocate, transaction).error(508)
            }
        };
        let frame = answer.sign(&key).finish().into();
        self.out.push_back(ServerOutput::Reply { flow, frame });
    }

    fn refresh(&mut self, now: Time, id: AllocationId, message: &Message<'_>) -> Answer {
        if message.attribute(attribute::REQUESTED_ADDRESS_FAMILY).is_some() {
            let family = self.family(message)?;
            if self.allocations.get(&id).is_some_and(|known| known.family != family) {
                return Err(443);
            }
        }
        let seconds = match message.word(attribute::LIFETIME) {
            Some(0) => 0,
            _ => self.lifetime_s(message),
        };
        if seconds == 0 {
            self.release(id);
        } else if let Some(allocation) = self.allocations.get_mut(&id) {
            allocation.live(now, seconds);
        }
        Ok(Some(success(message).attribute(attribute::LIFETIME, &seconds.to_be_bytes())))
    }

    fn permit(&mut self, now: Time, id: AllocationId, message: &Message<'_>) -> Answer {
        let allocation = self.allocations.get_mut(&id).ok_or(437_u16)?;
        let max = self.config.allocation_peers_max;
        let peers: Option<Vec<_>> =
            message.addresses(attribute::XOR_PEER_ADDRESS).take(max + 1).collect();
        let peers = peers.filter(|peers| !peers.is_empty()).ok_or(400_u16)?;
        for peer in &peers {
            may_permit(&self.config, allocation.family, peer.ip())?;
        }
        let granted = peers.iter().all(|peer| allocation.permit(now, peer.ip(), max));
        if granted { Ok(Some(success(message))) } else { Err(508) }
    }

    fn bind(&mut self, now: Time, id: AllocationId, message: &Message<'_>) -> Answer {
        let allocation = self.allocations.get_mut(&id).ok_or(437_u16)?;
        let number = message.word(attribute::CHANNEL_NUMBER).ok_or(400_u16)?;
        let number = (number >> 16) as u16;
        let peer = message.address(attribute::XOR_PEER_ADDRESS).ok_or(400_u16)?;
        if !CHANNELS_TAKEN.contains(&number) {
            return Err(400);
        }
        may_permit(&self.config, allocation.family, peer.ip())?;
        allocation.bind(now, number, peer, self.config.allocation_peers_max)?;
        Ok(Some(success(message)))
    }

    /// Whether this client has an allocation.
    #[must_use]
    pub fn lends_to(&self, flow: Flow) -> bool {
        self.flows.contains_key(&flow)
    }

    /// A client's connection is over: so is what it had.
    pub fn disconnected(&mut self, flow: Flow) {
        if let Some(id) = self.flows.get(&flow).copied() {
            self.release(id);
        }
    }

    fn release(&mut self, id: AllocationId) {
        let Some(allocation) = self.allocations.remove(&id) else { return };
        self.flows.remove(&allocation.flow);
        if let Some(relayed) = allocation.relayed {
            self.lent.remove(&relayed);
        }
        if let Some(used) = self.users.get_mut(&allocation.caller.user) {
            *used -= 1;
            if *used == 0 {
                self.users.remove(&allocation.caller.user);
            }
        }
        self.out.push_back(ServerOutput::Close { allocation: id });
    }

    /// The time that [`ServerOutput::Wait`] named has come, or any other.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.sweep_at.is_none_or(|at| now < at) {
            return;
        }
        let over = self.allocations.iter().filter(|(_, it)| it.expires <= now);
        let over: Vec<_> = over.map(|(id, _)| *id).collect();
        over.into_iter().for_each(|id| self.release(id));
        self.sweep_at = Some(now + SWEEP).filter(|_| !self.allocations.is_empty());
    }

    /// What to do or wait for next.
    pub fn poll_output(&mut self) -> ServerOutput {
        self.out.pop_front().unwrap_or(ServerOutput::Wait(self.sweep_at))
    }
}

fn success(message: &Message<'_>) -> Builder {
    Builder::new(Class::Success, message.method, message.transaction)
}

fn finish(answer: Builder, key: Option<&Key>) -> Vec<u8> {
    match key {
        Some(key) => answer.sign(key).finish(),
        None => answer.finish(),
    }
}

fn allocated(known: &Allocation, transaction: Transaction, relayed: SocketAddr) -> Builder {
    Builder::new(Class::Success, Method::Allocate, transaction)
        .address(attribute::XOR_RELAYED_ADDRESS, relayed)
        .attribute(attribute::LIFETIME, &known.lifetime_s.to_be_bytes())
        .address(attribute::XOR_MAPPED_ADDRESS, known.flow.remote)
}

fn data_indication(transaction: u64, from: SocketAddr, data: &[u8]) -> Vec<u8> {
    let mut id = [0; 12];
    id.iter_mut().zip(transaction.to_be_bytes()).for_each(|(to, byte)| *to = byte);
    // A datagram that fits into no indication is cut nowhere: IP's own limit is below it.
    Builder::new(Class::Indication, Method::Data, id)
        .address(attribute::XOR_PEER_ADDRESS, from)
        .attribute(attribute::DATA, data.get(..65_000).unwrap_or(data))
        .finish()
}

/// Whether it is one of the two answers to strangers that cannot be shorter than their request.
fn brief(frame: &[u8]) -> bool {
    Message::parse(frame).is_some_and(|message| {
        message.method == Method::Binding && message.class == Class::Success
            || message.error_code() == Some(401)
    })
}

/// Pieces of a datagram that its rate counts; an empty one is a piece too.
fn pieces(data: &[u8]) -> u32 {
    (data.len() / 64) as u32 + 1
}

fn may_permit(config: &ServerConfig, family: Family, ip: IpAddr) -> Result<(), u16> {
    if Family::of(ip) != family {
        return Err(443);
    }
    // Of our own addresses only what is lent is reached; which port that is, data says.
    let may = config.own.contains(&ip.to_canonical()) || config.reach.includes(ip);
    if may { Ok(()) } else { Err(403) }
}

fn may_send(config: &ServerConfig, lent: &BTreeSet<SocketAddr>, to: SocketAddr) -> bool {
    !config.own.contains(&to.ip().to_canonical()) || lent.contains(&to)
}
