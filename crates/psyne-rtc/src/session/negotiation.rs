//! Offer and answer (JSEP, RFC 8829), as far as data channels go.

use psyne_core::Time;

use super::Session;
use crate::Error;
use crate::association;
use crate::candidate::Remote;
use crate::certificate::Fingerprint;
use crate::sdp::{Description, Kind, Media, Setup, Transport};
use crate::secret::Secrets;
use std::net::IpAddr;

/// What the other side said of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) fingerprint: Fingerprint,
    /// We begin the DTLS handshake.
    pub(super) client: bool,
    sctp_port: u16,
    message_bytes_max: u64,
}

impl Peer {
    /// Our limits, and the other side's.
    pub(super) fn association(&self, ours: &association::Config) -> association::Config {
        let theirs = usize::try_from(self.message_bytes_max).unwrap_or(usize::MAX);
        // 0 means that it takes any (RFC 8841 §6.1): what our buffer holds.
        let theirs = if theirs == 0 { ours.send_buffer_bytes_max } else { theirs };
        association::Config {
            remote_port: self.sctp_port,
            send_message_bytes_max: theirs.min(ours.send_buffer_bytes_max),
            ..ours.clone()
        }
    }
}

/// Where signaling stands.
#[derive(Debug)]
pub(super) struct Negotiation {
    session: u64,
    version: u64,
    /// We have offered and wait for the answer.
    offered: bool,
    /// The name of our section, and what stands before and after it in the other side's offers.
    sections: Vec<Media>,
    peer: Option<Peer>,
}

impl Negotiation {
    pub(super) fn new(secrets: &mut Secrets) -> Self {
        let media = Media { mid: "0".into(), ..Media::default() };
        Self {
            // RFC 8829 §5.2.1: 63 bits.
            session: secrets.number() >> 1,
            version: 0,
            offered: false,
            sections: vec![media],
            peer: None,
        }
    }

    /// Whether the other side has, or will have, a description of ours.
    pub(super) const fn described(&self) -> bool {
        self.version > 0
    }

    pub(super) const fn peer(&self) -> Option<Peer> {
        self.peer
    }
}

impl Session {
    /// Offers a session, or the same again. Hand the text to the other side, and what it answers to
    /// [`Session::accept`].
    ///
    /// # Errors
    /// The session is over, or an offer waits for its answer.
    pub fn offer(&mut self, now: Time) -> Result<String, Error> {
        self.check(!self.negotiation.offered, "an offer")?;
        self.now = now;
        self.negotiation.offered = true;
        Ok(self.describe(Setup::ActPass))
    }

    /// Offers the session anew with another ICE name and password: candidates are gathered and
    /// paths checked from the beginning, while the old path carries on (RFC 8445 §9).
    ///
    /// # Errors
    /// As [`Session::offer`].
    pub fn restart(&mut self, now: Time) -> Result<String, Error> {
        self.check(!self.negotiation.offered, "a restart")?;
        if self.negotiation.peer.is_some() {
            self.path.restart(&mut self.secrets);
        }
        self.offer(now)
    }

    /// Answers an offer.
    ///
    /// # Errors
    /// It is malformed, over a limit, or has no data channels; it comes from another peer than
    /// before; we have offered ourselves, or the session is over.
    pub fn answer(&mut self, now: Time, offer: &str) -> Result<String, Error> {
        self.check(!self.negotiation.offered, "an offer while ours waits")?;
        let offer = Description::parse(offer, &self.config.sdp)?;
        let theirs = offer.data().ok_or(Error::Unsupported { what: "a session without data" })?;
        let transport = theirs.transport.clone();
        let transport = transport.ok_or(Error::Unsupported { what: "a session without data" })?;
        let client = match (transport.setup, self.negotiation.peer) {
            (Setup::ActPass, Some(peer)) => peer.client,
            (setup, _) => setup != Setup::Active,
        };
        let first = self.negotiation.peer.is_none();
        self.meet(now, theirs, &transport, client)?;
        if !first && self.path.remote_ufrag() != Some(transport.ufrag.as_str()) {
            self.path.restart(&mut self.secrets);
        }
        let controlling = if first { offer.ice_lite } else { self.path.controlling() };
        let sections = offer.media.iter().map(|media| Media {
            mid: media.mid.clone(),
            kind: media.kind.clone(),
            ..Media::default()
        });
        self.negotiation.sections = sections.collect();
        self.begin(now, theirs, &transport, controlling);
        Ok(self.describe(if client { Setup::Active } else { Setup::Passive }))
    }

    /// Takes the answer to our offer.
    ///
    /// # Errors
    /// It is malformed, over a limit, refuses data channels or does not fit the offer; it comes
    /// from another peer than before; we have not offered.
    pub fn accept(&mut self, now: Time, answer: &str) -> Result<(), Error> {
        self.check(self.negotiation.offered, "an answer")?;
        let answer = Description::parse(answer, &self.config.sdp)?;
        let refused = Error::Unsupported { what: "data channels, by the other side" };
        let theirs = answer.data().ok_or(refused.clone())?;
        let transport = theirs.transport.clone().ok_or(refused)?;
        let client = match transport.setup {
            Setup::Active => false,
            Setup::Passive => true,
            Setup::ActPass => return Err(Error::Malformed { what: "a=setup of an answer" }),
        };
        // Whoever offered first controls, unless the other side cannot (RFC 8445 §6.1.1).
        let controlling = self.negotiation.peer.is_none() || self.path.controlling();
        self.meet(now, theirs, &transport, client)?;
        self.negotiation.offered = false;
        self.begin(now, theirs, &transport, controlling || answer.ice_lite);
        Ok(())
    }

    /// Takes a candidate that was trickled; an empty text says that there are no more.
    ///
    /// # Errors
    /// It is malformed, there are too many, or nothing was described yet.
    pub fn add_remote(&mut self, now: Time, candidate: &str) -> Result<(), Error> {
        self.check(self.path.remote_ufrag().is_some(), "a candidate before its description")?;
        self.now = now;
        if candidate.is_empty() {
            return Ok(());
        }
        if let Some(remote) = Remote::parse(candidate)? {
            let known = self.path.remote_ufrag();
            // What belongs to the time before a restart comes too late.
            if remote.ufrag.as_deref().is_none_or(|ufrag| Some(ufrag) == known) {
                self.path.add_remote(remote)?;
            }
        }
        self.path.handle_timeout(self.clock.instant(now));
        Ok(())
    }

    /// Says what [`super::Event::Resolve`] asked: the address of a name, or that there is none.
    pub fn resolved(&mut self, now: Time, name: &str, ip: Option<IpAddr>) {
        self.now = now;
        self.path.resolved(name, ip);
        self.path.handle_timeout(self.clock.instant(now));
    }

    /// Whether a command fits, which none does after the end.
    pub(super) fn check(&self, fits: bool, what: &'static str) -> Result<(), Error> {
        if fits && !self.closed { Ok(()) } else { Err(Error::State { what }) }
    }

    /// Notes who the other side is, or that it is still the same.
    fn meet(
        &mut self,
        now: Time,
        theirs: &Media,
        transport: &Transport,
        client: bool,
    ) -> Result<(), Error> {
        let Kind::Data { sctp_port, message_bytes_max } = theirs.kind else {
            return Err(Error::Unsupported { what: "a session without data" });
        };
        match &self.negotiation.peer {
            Some(peer) if peer.fingerprint != transport.fingerprint || peer.client != client => {
                return Err(Error::Unsupported { what: "another certificate or role mid-session" });
            }
            Some(_) => {}
            None => {
                let fingerprint = transport.fingerprint;
                let peer = Peer { fingerprint, client, sctp_port, message_bytes_max };
                self.negotiation.peer = Some(peer);
                self.deadline = Some(now + self.config.connect_timeout);
            }
        }
        self.now = now;
        Ok(())
    }

    /// Starts or goes on to look for a path.
    fn begin(&mut self, now: Time, theirs: &Media, transport: &Transport, controlling: bool) {
        self.path.start(&transport.ufrag, &transport.password, controlling);
        for candidate in &theirs.candidates {
            // One that is unusable or too many must not cost the others.
            if let Ok(Some(remote)) = Remote::parse(candidate) {
                let _ = self.path.add_remote(remote);
            }
        }
        self.path.handle_timeout(self.clock.instant(now));
    }

    /// Our side's description.
    fn describe(&mut self, setup: Setup) -> String {
        self.negotiation.version += 1;
        let credentials = self.path.credentials();
        let transport = Transport {
            ufrag: credentials.ufrag.clone(),
            password: credentials.pass.clone(),
            fingerprint: self.config.certificate.fingerprint(),
            setup,
        };
        let data = Media {
            kind: Kind::Data {
                sctp_port: self.config.association.local_port,
                message_bytes_max: self.config.association.receive_message_bytes_max as u64,
            },
            transport: Some(transport),
            candidates: self.path.local_texts(),
            ..Media::default()
        };
        let mut taken = false;
        let section = |section: &Media| {
            let ours = matches!(section.kind, Kind::Data { .. }) && !taken;
            taken |= ours;
            let section = section.clone();
            if ours { Media { mid: section.mid, ..data.clone() } } else { section }
        };
        let media = self.negotiation.sections.iter().map(section).collect();
        let Negotiation { session, version, .. } = self.negotiation;
        Description { session, version, ice_lite: self.config.ice_lite, media }.to_text()
    }
}
