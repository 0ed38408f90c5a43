//! One session with one other side: signaling, path, secrecy and channels joined.

mod negotiation;
mod path;
mod relays;

use core::time::Duration;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use psyne_core::Time;

use crate::association;
use crate::candidate::Local;
use crate::certificate::Certificate;
use crate::channels::{self, ChannelId, Channels, Payload};
use crate::clock::Clock;
use crate::dcep::Open;
use crate::dtls::{self, Link, SrtpKeys, Versions};
use crate::secret::{Secrets, Seed};
use crate::turn::{ClientConfig, ClientEvent, Failure};
use crate::{Error, sctp, sdp};
use negotiation::Negotiation;
use path::Path;
use relays::Relays;

/// How a session is made.
#[derive(Clone, Debug)]
pub struct Config {
    /// The `Instant` that stands for `Time::ZERO`: the crates below speak `Instant`.
    pub origin: Instant,
    /// Who we are.
    pub certificate: Certificate,
    /// Versions of DTLS.
    pub versions: Versions,
    /// Answer checks and make none (RFC 8445 §2.5): for servers with public addresses.
    pub ice_lite: bool,
    /// Let candidates be of loopback, ours and theirs: for tests and measurements on one machine. A
    /// peer that is allowed to can have this machine send to itself.
    pub loopback: bool,
    /// Between two checks. 50 ms is what RFC 8445 §14.2 advises against flooding unknown paths;
    /// 5 ms is the least it allows, and connects before anybody notices.
    pub check_interval: Duration,
    /// From the answer until channels are up. Browsers give up ICE after 15 s, then 30 with
    /// trickling.
    pub connect_timeout: Duration,
    /// How long a session whose path was lost waits for a restart, before it is over.
    pub lost_timeout: Duration,
    /// What is read of descriptions. Its `candidates_max` also bounds those that are trickled.
    pub sdp: sdp::Limits,
    /// Local candidates.
    pub local_candidates_max: usize,
    /// Pairs of candidates that are checked; the best by priority. RFC 8445 §6.1.2.5 says 100.
    pub pairs_max: usize,
    /// Addresses from which authenticated checks may come: each makes a candidate.
    pub sources_max: usize,
    /// TURN servers at a time.
    pub relays_max: usize,
    /// Data channels.
    pub channels: channels::Config,
    /// SCTP. Its ports and `send_message_bytes_max` are what the other side says.
    pub association: association::Config,
}

impl Config {
    /// The defaults, for a certificate and the `Instant` that stands for `Time::ZERO`.
    #[must_use]
    pub fn new(origin: Instant, certificate: Certificate) -> Self {
        Self {
            origin,
            certificate,
            versions: Versions::default(),
            ice_lite: false,
            loopback: false,
            check_interval: Duration::from_millis(5),
            connect_timeout: Duration::from_secs(30),
            lost_timeout: Duration::from_secs(30),
            sdp: sdp::Limits::default(),
            local_candidates_max: 32,
            pairs_max: 100,
            sources_max: 64,
            relays_max: 8,
            channels: channels::Config::default(),
            association: association::Config::default(),
        }
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Closed {
    /// It was asked to here.
    Local,
    /// The other side closed it.
    Remote,
    /// Who answered does not hold the certificate whose fingerprint signaling brought: somebody
    /// stands between, or signaling mixed two sessions up.
    Fingerprint,
    /// No path was found, or no handshake done, within [`Config::connect_timeout`].
    Connect,
    /// The path was lost, by consent (RFC 7675), and not found again within
    /// [`Config::lost_timeout`].
    Lost,
    /// The handshake or the encrypted link broke: no version or cipher in common, or a bug.
    Dtls,
    /// The other side broke SCTP's rules or limits.
    Violation,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Tell the other side this candidate, by signaling. The description does not have it.
    Candidate(String),
    /// Look this `.local` name up by multicast DNS and answer with [`Session::resolved`].
    Resolve(String),
    /// Datagrams go this way from now on. May come again.
    Path {
        /// Our address: what [`Transmit::from`] will be.
        local: SocketAddr,
        /// Theirs.
        remote: SocketAddr,
    },
    /// A TURN server lends an address, which is a candidate now. What the server sees of our socket
    /// is one too.
    Relayed {
        /// Our address that speaks with the server.
        base: SocketAddr,
        /// The server.
        server: SocketAddr,
        /// What it lends.
        relayed: SocketAddr,
    },
    /// A TURN server lends nothing, or no longer.
    RelayFailed {
        /// Our address that speaks with the server.
        base: SocketAddr,
        /// The server.
        server: SocketAddr,
        /// Why.
        failure: Failure,
    },
    /// The path is lost and nothing is sent: find another, by [`Session::restart`].
    PathLost,
    /// Keys for SRTP.
    Keys(SrtpKeys),
    /// Channels can be used.
    Connected,
    /// Something happened to a channel.
    Channel(channels::Event),
    /// It is over. The last event.
    Closed(Closed),
}

/// A datagram to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// From which of our addresses: a socket's, or that of a connection to a TURN server, on which
    /// `data` are the next bytes.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// What.
    pub data: Bytes,
}

/// What a session wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this.
    Transmit(Transmit),
    /// Know this.
    Event(Event),
    /// Nothing until this time, or until the next input.
    Wait(Option<Time>),
}

/// What can be counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Datagrams that came and were nothing, or from nobody that ICE knows.
    pub datagrams_dropped: u64,
    /// Bytes of datagrams sent.
    pub sent_bytes: u64,
    /// Bytes of datagrams that came, dropped ones too.
    pub received_bytes: u64,
}

/// A session. See the crate's documentation for the loop around it.
#[derive(Debug)]
pub struct Session {
    config: Config,
    clock: Clock,
    now: Time,
    secrets: Secrets,
    negotiation: Negotiation,
    path: Path,
    relays: Relays,
    relays_wait: Option<Time>,
    link: Option<Link>,
    link_wait: Time,
    channels: Channels,
    channels_wait: Option<Time>,
    /// Until when it must be connected.
    deadline: Option<Time>,
    connected: bool,
    closed: bool,
    /// DTLS that came from a known address before there was a path.
    early: Vec<Bytes>,
    metrics: Metrics,
    out: VecDeque<Output>,
}

/// Datagrams of a handshake that outran our own check: one flight has no more.
const EARLY_MAX: usize = 4;

impl Session {
    /// A session with one other side, not yet known.
    #[must_use]
    pub fn new(config: Config, now: Time, seed: Seed) -> Self {
        let clock = Clock(config.origin);
        let mut secrets = Secrets::new(seed);
        Self {
            clock,
            now,
            negotiation: Negotiation::new(&mut secrets),
            path: Path::new(&config, &mut secrets),
            relays: Relays::default(),
            relays_wait: None,
            secrets,
            link: None,
            link_wait: Time::MAX,
            channels: Channels::new(config.channels, config.association.streams_max),
            channels_wait: None,
            deadline: None,
            connected: false,
            closed: false,
            early: Vec::new(),
            metrics: Metrics::default(),
            out: VecDeque::new(),
            config,
        }
    }

    /// An address of ours, gathered at any time. It goes into the next description; after that,
    /// signaling carries it as [`Event::Candidate`].
    ///
    /// # Errors
    /// There are too many, or it is none that can be reached, such as loopback; the session is
    /// over.
    pub fn add_local(&mut self, now: Time, candidate: Local) -> Result<(), Error> {
        self.check(true, "a candidate after the end")?;
        self.now = now;
        let max = self.config.local_candidates_max;
        if let Some(text) = self.path.add_local(candidate, max)?
            && self.negotiation.described()
        {
            self.out.push_back(Output::Event(Event::Candidate(text)));
        }
        self.path.handle_timeout(self.clock.instant(now));
        Ok(())
    }

    /// Asks a TURN server for an address to lend: [`Event::Relayed`] or [`Event::RelayFailed`]
    /// follows. What comes from the server at `base`, datagrams or the bytes of a connection, is
    /// handed over by [`Session::handle_datagram`]; what goes to it is [`Output::Transmit`].
    ///
    /// # Errors
    /// There are too many, or one between the same addresses; the session is over.
    pub fn add_relay(&mut self, now: Time, relay: ClientConfig) -> Result<(), Error> {
        self.check(true, "a relay after the end")?;
        self.now = now;
        self.relays.add(now, relay, self.secrets.block(), self.config.relays_max)
    }

    /// The connection to a TURN server broke, or could not be made.
    pub fn relay_disconnected(&mut self, now: Time, base: SocketAddr, server: SocketAddr) {
        self.now = now;
        self.relays.disconnected(base, server);
    }

    /// Opens a channel. Before the session is connected it waits for that.
    ///
    /// # Errors
    /// A limit on channels or labels is reached; the session is over.
    pub fn open(&mut self, now: Time, open: Open) -> Result<ChannelId, Error> {
        self.check(true, "a channel after the end")?;
        self.now = now;
        self.channels.open(now, open, None)
    }

    /// Opens a channel on a stream that both sides know from elsewhere: nothing is said by DCEP
    /// (`negotiated` in browsers).
    ///
    /// # Errors
    /// A limit is reached, or the stream is taken; the session is over.
    pub fn open_negotiated(
        &mut self,
        now: Time,
        open: Open,
        stream: u16,
    ) -> Result<ChannelId, Error> {
        self.check(true, "a channel after the end")?;
        self.now = now;
        self.channels.open(now, open, Some(stream))
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`Error::NotOpen`], [`Error::Full`] until [`channels::Event::Drained`], or
    /// [`Error::TooMuch`] if the other side takes no message that long.
    pub fn send(&mut self, now: Time, channel: ChannelId, payload: Payload) -> Result<(), Error> {
        self.now = now;
        self.channels.send(now, channel, payload)
    }

    /// Closes a channel when what it was given has been sent; [`channels::Event::Closed`] follows.
    pub fn close_channel(&mut self, now: Time, channel: ChannelId) {
        self.now = now;
        self.channels.close(now, channel);
    }

    /// Bytes of a channel that wait to be sent or acknowledged.
    pub fn buffered_bytes(&mut self, channel: ChannelId) -> usize {
        self.channels.buffered_bytes(channel)
    }

    /// Ends the session and tells the other side.
    pub fn close(&mut self, now: Time) {
        self.now = now;
        self.end(Closed::Local);
    }

    /// Keeps messages back (`true`) until the application can take more. When as many wait as the
    /// receive window holds, the other side stops sending.
    pub fn hold_messages(&mut self, hold: bool) {
        self.channels.hold_messages(hold);
    }

    /// Our ICE name: checks that carry it first are for this session. [`Session::restart`] and an
    /// offer that restarts change it.
    #[must_use]
    pub fn ufrag(&self) -> &str {
        &self.path.credentials().ufrag
    }

    /// What was counted so far.
    #[must_use]
    pub const fn metrics(&self) -> Metrics {
        self.metrics
    }

    /// What was measured and counted below the channels.
    #[must_use]
    pub fn association_metrics(&self) -> association::Metrics {
        self.channels.metrics()
    }

    /// A datagram came to one of our addresses. Says whether it was this session's, as its password
    /// or an address that knew it proves; what is not is dropped and counted.
    pub fn handle_datagram(
        &mut self,
        now: Time,
        local: SocketAddr,
        remote: SocketAddr,
        datagram: &[u8],
    ) -> bool {
        self.now = now;
        self.metrics.received_bytes += datagram.len() as u64;
        let relay = !self.closed && self.relays.handle(now, (local, remote), datagram);
        relay || self.take(local, remote, datagram)
    }

    /// A datagram, however it came. Whether it was ours.
    fn take(&mut self, local: SocketAddr, remote: SocketAddr, datagram: &[u8]) -> bool {
        let taken = match datagram.first() {
            _ if self.closed => false,
            // RFC 7983 §7.
            Some(0..=3) => {
                let now = self.clock.instant(self.now);
                self.path.handle_stun(now, (local, remote), datagram)
            }
            Some(20..=63) => self.path.knows(remote) && self.handle_dtls(datagram),
            _ => false,
        };
        self.metrics.datagrams_dropped += u64::from(!taken);
        taken
    }

    /// Whether there was room for it.
    fn handle_dtls(&mut self, datagram: &[u8]) -> bool {
        match &mut self.link {
            Some(link) => {
                link.handle_datagram(self.now, datagram);
                // It keeps but a few until it is asked, and a driver may bring many at once.
                while self.advance_link() {}
            }
            None if self.early.len() < EARLY_MAX => {
                self.early.push(Bytes::copy_from_slice(datagram));
            }
            None => return false,
        }
        true
    }

    /// The time that [`Output::Wait`] named has come, or any other.
    pub fn handle_timeout(&mut self, now: Time) {
        self.now = now;
        if self.closed {
            return;
        }
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.end(if self.connected { Closed::Lost } else { Closed::Connect });
            return;
        }
        self.path.handle_timeout(self.clock.instant(now));
        if self.relays_wait.is_some_and(|wait| wait <= now) {
            self.relays.handle_timeout(now);
        }
        if let Some(link) = self.link.as_mut().filter(|_| self.link_wait <= now) {
            link.handle_timeout(now);
        }
        if self.channels_wait.is_some_and(|wait| wait <= now) {
            self.channels.handle_timeout(now);
        }
    }

    /// What to send, know or wait for next.
    pub fn poll_output(&mut self) -> Output {
        loop {
            if let Some(output) = self.out.pop_front() {
                if let Output::Transmit(transmit) = &output {
                    self.metrics.sent_bytes += transmit.data.len() as u64;
                }
                return output;
            }
            if self.closed {
                return Output::Wait(None);
            }
            if !self.advance_path()
                && !self.advance_link()
                && !self.advance_channels()
                && !self.advance_relays()
            {
                return Output::Wait(self.wait());
            }
        }
    }

    fn wait(&mut self) -> Option<Time> {
        let path = self.path.wait().map(|instant| self.clock.time(instant));
        let link = Some(self.link_wait).filter(|wait| self.link.is_some() && *wait < Time::MAX);
        [path, link, self.channels_wait, self.relays_wait, self.deadline]
            .into_iter()
            .flatten()
            .min()
    }

    /// Takes one thing from ICE. Whether there was one.
    fn advance_path(&mut self) -> bool {
        match self.path.poll() {
            path::Output::Transmit(transmit) => self.dispatch(transmit),
            path::Output::Resolve(name) => self.event(Event::Resolve(name)),
            path::Output::Found { local, remote } => {
                if self.connected {
                    self.deadline = None;
                }
                self.event(Event::Path { local, remote });
                self.begin_link();
            }
            path::Output::Lost => {
                let lost = self.now + self.config.lost_timeout;
                self.deadline = self.deadline.or(Some(lost).filter(|_| self.connected));
                self.event(Event::PathLost);
            }
            path::Output::Nothing => return false,
        }
        true
    }

    /// Starts DTLS on the first path.
    fn begin_link(&mut self) {
        let Some(peer) = self.negotiation.peer().filter(|_| self.link.is_none()) else { return };
        let of = dtls::Of {
            certificate: &self.config.certificate,
            expected: peer.fingerprint,
            versions: self.config.versions,
            client: peer.client,
        };
        let mut link = Link::new(&of, self.clock, self.now);
        for datagram in self.early.drain(..) {
            link.handle_datagram(self.now, &datagram);
        }
        self.link = Some(link);
    }

    /// Takes one thing from DTLS. Whether there was one.
    fn advance_link(&mut self) -> bool {
        let Some(link) = &mut self.link else { return false };
        match link.poll_output() {
            dtls::Output::Transmit(data) => self.transmit(data),
            dtls::Output::Connected => self.begin_association(),
            dtls::Output::Data(packet) => self.channels.handle_packet(self.now, packet),
            dtls::Output::Keys(keys) => self.event(Event::Keys(keys)),
            dtls::Output::Stranger => self.end(Closed::Fingerprint),
            dtls::Output::Closed => self.end(Closed::Remote),
            dtls::Output::Failed => self.end(Closed::Dtls),
            dtls::Output::Wait(next) => {
                self.link_wait = next;
                return false;
            }
        }
        true
    }

    /// Without a path it is lost, as on any: who wants it will say so again.
    fn transmit(&mut self, data: Bytes) {
        if let Some((from, to)) = self.path.current() {
            self.dispatch(Transmit { from, to, data });
        }
    }

    /// By the relay that lends its address, or by the socket that has it.
    fn dispatch(&mut self, transmit: Transmit) {
        if !self.relays.send(self.now, &transmit) {
            self.out.push_back(Output::Transmit(transmit));
        }
    }

    /// Takes one thing from the relays. Whether there was one.
    fn advance_relays(&mut self) -> bool {
        match self.relays.poll_output() {
            relays::Output::Transmit(transmit) => self.out.push_back(Output::Transmit(transmit)),
            relays::Output::Data { relayed, peer, data } => {
                self.take(relayed, peer, &data);
            }
            relays::Output::Event(relay, event) => self.note_relay(&relay, &event),
            relays::Output::Wait(next) => {
                self.relays_wait = next;
                return false;
            }
        }
        true
    }

    fn note_relay(&mut self, relay: &ClientConfig, event: &ClientEvent) {
        let (base, server) = (relay.base, relay.server);
        match *event {
            ClientEvent::Allocated { relayed, mapped } => {
                self.event(Event::Relayed { base, server, relayed });
                let local = Local::Relayed { addr: relayed, base };
                let nat = mapped.filter(|mapped| relays::shows_nat(relay, *mapped));
                let nat = nat.map(|addr| Local::Reflexive { addr, base });
                for candidate in nat.into_iter().chain([local]) {
                    // One that leads nowhere, or is one too many, is none: others may serve.
                    let _ = self.add_local(self.now, candidate);
                }
            }
            ClientEvent::Failed(failure) => {
                self.event(Event::RelayFailed { base, server, failure });
            }
            ClientEvent::Data { .. } => {}
        }
    }

    fn begin_association(&mut self) {
        let Some(peer) = self.negotiation.peer() else { return };
        // Whether the other side lives is ICE's to say, and the session's deadlines.
        let (repeats_max, init_repeats_max) = (u32::MAX, u32::MAX);
        let common = peer.association(&self.config.association);
        let config =
            sctp::Config { common, repeats_max, init_repeats_max, ..sctp::Config::default() };
        let association = sctp::Association::new(config, self.now, self.secrets.number());
        self.channels.attach(self.now, Box::new(association), peer.client);
    }

    /// Takes one thing from the channels. Whether there was one.
    fn advance_channels(&mut self) -> bool {
        match self.channels.poll_output(self.now) {
            channels::Output::Transmit(packet) => {
                if let Some(link) = &mut self.link {
                    link.send(&packet);
                }
            }
            channels::Output::Event(event) => self.event(Event::Channel(event)),
            channels::Output::Connected => {
                self.connected = true;
                self.deadline = None;
                self.event(Event::Connected);
            }
            channels::Output::Closed(reason) => self.end(match reason {
                association::Closed::Local => Closed::Local,
                association::Closed::Remote => Closed::Remote,
                association::Closed::Silent => Closed::Lost,
                association::Closed::Violation => Closed::Violation,
            }),
            channels::Output::Wait(next) => {
                self.channels_wait = next;
                return false;
            }
        }
        true
    }

    fn event(&mut self, event: Event) {
        self.out.push_back(Output::Event(event));
    }

    fn end(&mut self, reason: Closed) {
        if self.closed {
            return;
        }
        self.channels.abort(self.now);
        if let Some(mut link) = self.link.take() {
            link.close();
            while let dtls::Output::Transmit(data) = link.poll_output() {
                self.transmit(data);
            }
        }
        self.relays.close(self.now);
        loop {
            match self.relays.poll_output() {
                relays::Output::Transmit(it) => self.out.push_back(Output::Transmit(it)),
                relays::Output::Wait(_) => break,
                _ => {}
            }
        }
        self.closed = true;
        self.event(Event::Closed(reason));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_that_outruns_our_check_is_kept_up_to_its_limit() {
        let config = Config::new(Instant::now(), Certificate::generate([1; 32]));
        let mut session = Session::new(config, Time::ZERO, [1; 32]);
        let taken = (0..10).filter(|_| session.handle_dtls(&[22; 100])).count();
        assert_eq!((taken, session.early.len()), (EARLY_MAX, EARLY_MAX));
    }
}
