//! The path: ICE, by the crate `is`, and who may speak to us on it.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use is::{IceAgent, IceAgentEvent, IceConnectionState, IceCreds};

use super::{Config, Transmit};
use crate::Error;
use crate::candidate::{Host, Local, Remote, leads_somewhere};
use crate::secret::Secrets;

/// Names that may be looked up at once.
const RESOLVING_MAX: usize = 16;

/// What the path wants.
pub(super) enum Output {
    Transmit(Transmit),
    Resolve(String),
    Found { local: SocketAddr, remote: SocketAddr },
    Lost,
    Nothing,
}

/// ICE and what it found.
pub(super) struct Path {
    ice: IceAgent,
    lite: bool,
    loopback: bool,
    /// Local, then remote address of what was nominated.
    current: Option<(SocketAddr, SocketAddr)>,
    /// From where authenticated checks came, or answers to ours.
    known: Vec<SocketAddr>,
    sources_max: usize,
    locals: usize,
    remotes: usize,
    remotes_max: usize,
    resolving: Vec<Remote>,
    asked: VecDeque<String>,
    /// The other side has been described: there is something to do.
    started: bool,
}

impl Path {
    pub(super) fn new(config: &Config, secrets: &mut Secrets) -> Self {
        let mut ice = IceAgent::new(credentials(secrets));
        ice.set_ice_lite(config.ice_lite);
        ice.set_timing_advance(config.check_interval);
        ice.set_max_candidate_pairs(config.pairs_max);
        ice.set_control_tie_breaker(secrets.number());
        Self {
            ice,
            lite: config.ice_lite,
            loopback: config.loopback,
            current: None,
            known: Vec::new(),
            sources_max: config.sources_max,
            locals: 0,
            remotes: 0,
            remotes_max: config.sdp.candidates_max,
            resolving: Vec::new(),
            asked: VecDeque::new(),
            started: false,
        }
    }

    /// Our name and password.
    pub(super) fn credentials(&self) -> &IceCreds {
        self.ice.local_credentials()
    }

    /// As signaling carries them.
    pub(super) fn local_texts(&self) -> Vec<String> {
        self.ice.local_candidates().map(|candidate| candidate.to_sdp_string()).collect()
    }

    /// The candidate as text, unless it is no better than one that is known.
    pub(super) fn add_local(&mut self, local: Local, max: usize) -> Result<Option<String>, Error> {
        if self.locals >= max {
            return Err(Error::TooMuch { what: "local_candidates_max", max });
        }
        let candidate = local.for_ice(self.loopback)?;
        let added = self.ice.add_local_candidate(candidate).map(is::Candidate::to_sdp_string);
        self.locals += usize::from(added.is_some());
        Ok(added)
    }

    /// Takes the other side's name and password. Its candidates come after.
    pub(super) fn start(&mut self, ufrag: &str, password: &str, controlling: bool) {
        let remote = IceCreds { ufrag: ufrag.to_owned(), pass: password.to_owned() };
        self.ice.set_controlling(controlling && !self.lite);
        self.ice.set_remote_credentials(remote);
        self.started = true;
    }

    /// As [`Path::start`] for a description that may say the same again.
    pub(super) fn remote_ufrag(&self) -> Option<&str> {
        self.ice.remote_credentials().map(|remote| remote.ufrag.as_str())
    }

    pub(super) fn controlling(&self) -> bool {
        self.ice.controlling()
    }

    /// Begins anew with another name and password, while the old path still carries (RFC 8445 §9).
    pub(super) fn restart(&mut self, secrets: &mut Secrets) {
        self.ice.ice_restart(credentials(secrets), true);
        self.remotes = 0;
        self.resolving.clear();
        self.asked.clear();
        self.started = false;
        // What came by the old path still may.
        let current = self.current.map(|(_, remote)| remote);
        self.known.retain(|source| Some(*source) == current);
    }

    /// Takes a candidate of the other side's.
    pub(super) fn add_remote(&mut self, remote: Remote) -> Result<(), Error> {
        let max = self.remotes_max;
        if self.remotes >= max {
            return Err(Error::TooMuch { what: "candidates_max", max });
        }
        self.remotes += 1;
        match &remote.host {
            Host::Address(ip) => self.add_at(&remote, *ip),
            Host::Name(name) => {
                if self.resolving.len() >= RESOLVING_MAX {
                    return Err(Error::TooMuch { what: "names to resolve", max: RESOLVING_MAX });
                }
                self.asked.push_back(name.clone());
                self.resolving.push(remote);
            }
        }
        Ok(())
    }

    /// A name was looked up.
    pub(super) fn resolved(&mut self, name: &str, ip: Option<IpAddr>) {
        let named = |remote: &Remote| remote.host == Host::Name(name.to_ascii_lowercase());
        while let Some(at) = self.resolving.iter().position(named) {
            let remote = self.resolving.swap_remove(at);
            if let Some(ip) = ip {
                self.add_at(&remote, ip);
            }
        }
    }

    /// Leaves out where nobody is to be sent to because a peer says so.
    fn add_at(&mut self, remote: &Remote, ip: IpAddr) {
        if leads_somewhere(ip, self.loopback) {
            self.ice.add_remote_candidate(remote.at(ip));
        }
    }

    /// Whether an address has proved to be the other side's.
    pub(super) fn knows(&self, remote: SocketAddr) -> bool {
        self.known.contains(&remote)
    }

    pub(super) fn current(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.current
    }

    /// Whether it was authentic. `between`: our address, theirs.
    pub(super) fn handle_stun(
        &mut self,
        now: Instant,
        between: (SocketAddr, SocketAddr),
        datagram: &[u8],
    ) -> bool {
        let (destination, source) = between;
        let Ok(message) = is::stun::StunMessage::parse(datagram) else { return false };
        if !self.knows(source) && self.known.len() >= self.sources_max {
            return false;
        }
        let proto = is::Protocol::Udp;
        let packet = is::stun::StunPacket { proto, source, destination, message };
        let taken = self.ice.handle_packet(now, packet);
        // What waits in ICE is answered at its timer, which must first run once.
        self.handle_timeout(now);
        taken
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.started && self.ice.poll_timeout().is_none_or(|wait| wait <= now) {
            self.ice.handle_timeout(now);
        }
    }

    pub(super) fn wait(&mut self) -> Option<Instant> {
        if self.started { self.ice.poll_timeout() } else { None }
    }

    pub(super) fn poll(&mut self) -> Output {
        if let Some(name) = self.asked.pop_front() {
            return Output::Resolve(name);
        }
        while let Some(event) = self.ice.poll_event() {
            match event {
                IceAgentEvent::DiscoveredRecv { source, .. } if !self.knows(source) => {
                    self.known.push(source);
                }
                IceAgentEvent::NominatedSend { source, destination, .. } => {
                    self.current = Some((source, destination));
                    return Output::Found { local: source, remote: destination };
                }
                IceAgentEvent::IceConnectionStateChange(IceConnectionState::Disconnected)
                    if self.current.take().is_some() =>
                {
                    // Nothing more may be sent without consent (RFC 7675 §5.1).
                    return Output::Lost;
                }
                _ => {}
            }
        }
        match self.ice.poll_transmit() {
            Some(transmit) => Output::Transmit(Transmit {
                from: transmit.source,
                to: transmit.destination,
                data: Vec::from(transmit.contents).into(),
            }),
            None => Output::Nothing,
        }
    }
}

impl core::fmt::Debug for Path {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Path").field("found", &self.current.is_some()).finish_non_exhaustive()
    }
}

fn credentials(secrets: &mut Secrets) -> IceCreds {
    IceCreds { ufrag: secrets.word(8), pass: secrets.word(24) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Certificate;
    use core::time::Duration;

    #[test]
    fn no_more_pairs_are_checked_than_are_allowed() {
        let now = Instant::now();
        let mut config = Config::new(now, Certificate::generate([1; 32]));
        config.pairs_max = 5;
        let mut path = Path::new(&config, &mut Secrets::new([1; 32]));
        path.add_local(Local::Host(SocketAddr::from(([192, 0, 2, 1], 9))), 1).expect("it fits");
        path.start("abcdefgh", "abcdefghijklmnopqrstuvwx", true);
        for n in 0..20 {
            let text = format!("candidate:{n} 1 udp {} 198.51.100.{n} 9 typ host", 9_000 + n);
            path.add_remote(Remote::parse(&text).expect("well formed").expect("UDP"))
                .expect("room");
        }
        let mut checked = std::collections::BTreeSet::new();
        for millis in 0..2_000 {
            path.handle_timeout(now + Duration::from_millis(millis));
            loop {
                match path.poll() {
                    Output::Transmit(out) => drop(checked.insert(out.to)),
                    Output::Nothing => break,
                    _ => {}
                }
            }
        }
        assert_eq!(checked.len(), 5);
    }

    /// Both sides believe that they control, as after two offers that crossed: one gives in
    /// (RFC 8445 §7.3.1.1), and both find the path.
    #[test]
    fn a_conflict_of_roles_is_solved() {
        let now = Instant::now();
        let addr = |n: u8| SocketAddr::new(IpAddr::from([192, 0, 2, n]), 9);
        let path = |n: u8| {
            let config = Config::new(now, Certificate::generate([n; 32]));
            let mut path = Path::new(&config, &mut Secrets::new([n; 32]));
            path.add_local(Local::Host(addr(n)), 1).expect("the first fits");
            path
        };
        let mut paths = [path(1), path(2)];
        for at in [0, 1] {
            let other = paths[1 - at].credentials().clone();
            let candidate = paths[1 - at].local_texts().remove(0);
            let remote = Remote::parse(&candidate).expect("ours").expect("UDP");
            paths[at].start(&other.ufrag, &other.pass, true);
            paths[at].add_remote(remote).expect("the first fits");
        }
        for millis in 0..5_000 {
            let now = now + Duration::from_millis(millis);
            for at in [0, 1] {
                paths[at].handle_timeout(now);
                loop {
                    match paths[at].poll() {
                        Output::Transmit(out) => {
                            paths[1 - at].handle_stun(now, (out.to, out.from), &out.data);
                        }
                        Output::Nothing => break,
                        _ => {}
                    }
                }
            }
        }
        assert!(paths.iter().all(|path| path.current().is_some()));
        assert_ne!(paths[0].controlling(), paths[1].controlling());
    }
}
