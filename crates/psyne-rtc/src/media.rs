//! Audio and video with one other side: a session without I/O on `str0m`
//! ([decision 0110](../../../docs/decisions/0110-media-sessions-are-str0ms.md)).
//!
//! Who answers is a server with public addresses: it is ICE lite, takes candidates of nobody and
//! sends nothing before a check has proved the way. Who offers is a full ICE agent. A session
//! either receives ([`Role::Receive`]: whole frames, what was lost asked for again) or sends
//! ([`Role::Send`]: RTP payloads that were cut once for all receivers; header and encryption are
//! each receiver's own, and so are retransmissions, pace and bandwidth estimate).
//!
//! H.264 and Opus are spoken, what every browser and OBS speak.

mod crypto;

use core::time::Duration;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};

use psyne_core::Time;
use str0m::bwe::{Bitrate, BweKind};
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::config::DtlsVersion;
use str0m::media::{Direction, KeyframeRequestKind, MediaData, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpWrite, SeqNo};
use str0m::{Candidate, IceConnectionState, IceCreds, Input, Rtc, RtcConfig};

use crate::certificate::Certificate;
use crate::clock::Clock;
use crate::dtls::Versions;
use crate::secret::{Secrets, Seed};
pub use crate::session::{Closed, Transmit};
use crate::{Error, sdp};

/// Bytes of one RTP payload that fit into a datagram of 1,200 bytes, which every path carries:
/// behind an RTP header with extensions (32) and before an authentication tag (16).
pub const PAYLOAD_BYTES_MAX: usize = 1_150;

/// Of what a sender sends, as much may be for the second time: beyond that the path is full, and
/// sending more loses more.
const RESENT_SHARE_MAX: f32 = 0.25;
/// Of the name of a session: 6 bits each.
const NAME_CHARS: usize = 12;

const UNREACHABLE: Error = Error::Unsupported { what: "this address as a candidate" };
const REFUSED: Error = Error::Unsupported { what: "this offer" };
const NOTHING_AGREED: Error =
    Error::Unsupported { what: "an offer without H.264 or Opus that goes the right way" };

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The other side sends.
    Receive,
    /// This side sends.
    Send,
}

/// How a session is made.
#[derive(Clone, Debug)]
pub struct Config {
    /// The `Instant` that stands for `Time::ZERO`.
    pub origin: Instant,
    /// Who we are.
    pub certificate: Certificate,
    /// Versions of DTLS.
    pub versions: Versions,
    /// What it is for.
    pub role: Role,
    /// From the answer until media can flow. Browsers give up after 15 s.
    pub connect_timeout: Duration,
    /// Nothing came for so long: the other side is gone. It checks each 2.5 s, and sends media or
    /// reports of it.
    pub silent_timeout: Duration,
    /// What is read of descriptions.
    pub sdp: sdp::Limits,
    /// RTP packets that wait for one that is missing: as many as the largest picture has. 2,048 are
    /// 2.4 MB.
    pub reorder_packets_max: usize,
    /// What is kept for those who ask again, in packets and in time. Half a second is longer than
    /// any player waits.
    pub resend_packets_max: usize,
    /// See [`Config::resend_packets_max`].
    pub resend_for: Duration,
    /// Of what is sent: `profile_idc` (H.264 clause 7.4.2.1.1). Receivers offer several.
    pub h264_profile: Option<u8>,
    /// The bandwidth that a session which sends assumes until it knows, in bits a second.
    pub estimate_bits_per_second: u64,
}

impl Config {
    /// The defaults, for a certificate and the `Instant` that stands for `Time::ZERO`.
    #[must_use]
    pub fn new(role: Role, origin: Instant, certificate: Certificate) -> Self {
        Self {
            origin,
            certificate,
            versions: Versions::default(),
            role,
            connect_timeout: Duration::from_secs(15),
            silent_timeout: Duration::from_secs(10),
            sdp: sdp::Limits::default(),
            reorder_packets_max: 2_048,
            resend_packets_max: 512,
            resend_for: Duration::from_millis(500),
            h264_profile: None,
            estimate_bits_per_second: 5_000_000,
        }
    }
}

/// Pictures or sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// H.264, on a clock of 90 kHz.
    Video,
    /// Opus, on a clock of 48 kHz.
    Audio,
}

impl Kind {
    /// Ticks of its RTP clock in a second.
    #[must_use]
    pub const fn clock_rate(self) -> u32 {
        match self {
            Self::Video => 90_000,
            Self::Audio => 48_000,
        }
    }
}

/// A frame that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// Its RTP time, unwrapped, in ticks of [`Kind::clock_rate`].
    pub ticks: u64,
    /// When its first packet came.
    pub arrived: Time,
    /// Which wall time a time of this track is, if the sender has said so by now.
    pub report: Option<Report>,
    /// Nothing is missing between the frame before and this one.
    pub contiguous: bool,
    /// Video: NAL units behind start codes (Annex B). Audio: an Opus packet.
    pub data: Arc<[u8]>,
}

/// A sender report (RFC 3550 §6.4.1): tracks of one sender are put in step by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The sender's wall clock, in microseconds since 1970.
    pub unix_us: i64,
    /// The same moment as RTP time, unwrapped.
    pub ticks: u64,
}

/// A frame to send, cut into payloads.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its RTP time, wrapped.
    pub ticks: u32,
    /// RTP payloads (RFC 6184, RFC 7587) of at most [`PAYLOAD_BYTES_MAX`] bytes. They are shared by
    /// all receivers, and until they are out of date for resending.
    pub payloads: &'a [Arc<[u8]>],
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Media can flow.
    Connected,
    /// A frame came.
    Frame(Frame),
    /// The other side cannot go on without a keyframe.
    KeyframeWanted,
    /// What the path is thought to carry now, in bits a second.
    Estimate(u64),
    /// It is over. The last event.
    Closed(Closed),
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

/// A track that was agreed on.
#[derive(Clone, Copy, Debug)]
struct Track {
    mid: Mid,
    pt: Pt,
    next: u64,
}

/// A session.
pub struct Session {
    config: Config,
    rtc: Rtc,
    clock: Clock,
    now: Time,
    name: String,
    local: SocketAddr,
    pending: Option<SdpPendingOffer>,
    video: Option<Track>,
    audio: Option<Track>,
    /// When something last came.
    heard: Time,
    /// Until when it must be connected.
    deadline: Option<Time>,
    /// Until when str0m has nothing to do.
    wait: Time,
    closed: bool,
    out: VecDeque<Output>,
}

/// The name, which is ours, of the session to which a STUN message is addressed; `None` if it is
/// none, or names nobody. Nothing is authentic yet: that is the session's to find out.
#[must_use]
pub fn addressee(datagram: &[u8]) -> Option<String> {
    // RFC 7983 §7.
    if !matches!(datagram.first(), Some(0..=3)) {
        return None;
    }
    let message = is::stun::StunMessage::parse(datagram).ok()?;
    message.split_username().map(|(ours, _)| ours.to_owned())
}

impl Session {
    /// Answers an offer. `locals` are the addresses at which the other side reaches us: what it
    /// sends is handed in as having come to the first.
    ///
    /// # Errors
    /// The offer is malformed or over a limit; it has neither sound nor pictures that go the right
    /// way, or none in a codec that is spoken; there is no local address.
    pub fn answer(
        config: &Config,
        now: Time,
        seed: Seed,
        locals: &[SocketAddr],
        offer: &str,
    ) -> Result<(Self, String), Error> {
        let described = sdp::Description::parse(offer, &config.sdp)?;
        let mut session = Self::new(config, now, seed, (locals, true))?;
        let offer = SdpOffer::from_sdp_string(&without_candidates(offer))
            .map_err(|_| Error::Malformed { what: "the offer" })?;
        let answer = session.rtc.sdp_api().accept_offer(offer).map_err(|_| REFUSED)?;
        session.agree(&described)?;
        session.drain();
        Ok((session, answer.to_sdp_string()))
    }

    /// Offers pictures and sound, as who publishes or watches does. Hand the text to the other
    /// side, and what it answers to [`Session::accept`]. This side is a full ICE agent.
    ///
    /// # Errors
    /// There is no local address, or one that cannot be reached.
    pub fn offer(
        config: &Config,
        now: Time,
        seed: Seed,
        locals: &[SocketAddr],
    ) -> Result<(Self, String), Error> {
        let mut session = Self::new(config, now, seed, (locals, false))?;
        let direction = match config.role {
            Role::Receive => Direction::RecvOnly,
            Role::Send => Direction::SendOnly,
        };
        let mut api = session.rtc.sdp_api();
        for kind in [MediaKind::Audio, MediaKind::Video] {
            api.add_media(kind, direction, None, None, None);
        }
        let (offer, pending) = api.apply().expect("two tracks are a change");
        session.pending = Some(pending);
        Ok((session, offer.to_sdp_string()))
    }

    /// Takes the answer to [`Session::offer`].
    ///
    /// # Errors
    /// It is malformed or over a limit; it agrees to nothing; nobody has offered.
    pub fn accept(&mut self, now: Time, answer: &str) -> Result<(), Error> {
        self.now = now;
        let described = sdp::Description::parse(answer, &self.config.sdp)?;
        let pending = self.pending.take().ok_or(Error::State { what: "an answer" })?;
        let answer = SdpAnswer::from_sdp_string(answer)
            .map_err(|_| Error::Malformed { what: "the answer" })?;
        self.rtc.sdp_api().accept_answer(pending, answer).map_err(|_| REFUSED)?;
        self.agree(&described)?;
        self.drain();
        Ok(())
    }

    fn new(
        config: &Config,
        now: Time,
        seed: Seed,
        (locals, lite): (&[SocketAddr], bool),
    ) -> Result<Self, Error> {
        let local = *locals.first().ok_or(Error::State { what: "a session without an address" })?;
        let clock = Clock(config.origin);
        let mut secrets = Secrets::new(seed);
        let name = secrets.word(NAME_CHARS);
        let credentials = IceCreds { ufrag: name.clone(), pass: secrets.word(24) };
        let mut rtc = build(config, credentials).set_ice_lite(lite).build(clock.instant(now));
        for address in locals {
            let candidate = Candidate::host(*address, "udp");
            rtc.add_local_candidate(candidate.map_err(|_| UNREACHABLE)?);
        }
        Ok(Self {
            rtc,
            clock,
            now,
            name,
            local,
            pending: None,
            video: None,
            audio: None,
            wait: now,
            heard: now,
            deadline: Some(now + config.connect_timeout),
            closed: false,
            out: VecDeque::new(),
            config: config.clone(),
        })
    }

    /// What [`addressee`] gives for datagrams that are for this session.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether this kind was agreed on.
    #[must_use]
    pub const fn has(&self, kind: Kind) -> bool {
        self.track(kind).is_some()
    }

    /// A datagram came from `remote`.
    pub fn handle_datagram(&mut self, now: Time, remote: SocketAddr, datagram: &[u8]) {
        self.now = now;
        let received = Receive::new(Protocol::Udp, remote, self.local, datagram);
        let Ok(received) = received else { return };
        let input = Input::Receive(self.clock.instant(now), received);
        if self.closed || !self.rtc.accepts(&input) {
            return;
        }
        self.heard = now;
        self.input(input);
    }

    /// The time that [`Output::Wait`] named has come, or any other.
    pub fn handle_timeout(&mut self, now: Time) {
        self.now = now;
        if self.closed {
            return;
        }
        let late = self.deadline.is_some_and(|deadline| deadline <= now);
        if late || self.heard + self.config.silent_timeout <= now {
            self.end(Closed::Lost);
        } else {
            self.input(Input::Timeout(self.clock.instant(now)));
        }
    }

    /// Sends a frame. What was not agreed on is left out, and so is everything before
    /// [`Event::Connected`].
    pub fn send(&mut self, now: Time, frame: Outgoing<'_>) {
        self.now = now;
        let wallclock = self.clock.instant(now);
        let track = match frame.kind {
            Kind::Video => &mut self.video,
            Kind::Audio => &mut self.audio,
        };
        let Some(track) = track.as_mut().filter(|_| !self.closed && self.deadline.is_none()) else {
            return;
        };
        let mut api = self.rtc.direct_api();
        let Some(stream) = api.stream_tx_by_mid(track.mid, None) else { return };
        for (index, payload) in frame.payloads.iter().enumerate() {
            let sequence = SeqNo::from(track.next);
            track.next += 1;
            let last = index + 1 == frame.payloads.len();
            let packet =
                RtpWrite::new(track.pt, sequence, frame.ticks, wallclock, Arc::clone(payload))
                    .marker(last && frame.kind == Kind::Video)
                    .nackable(frame.kind == Kind::Video);
            stream.write_rtp(packet);
        }
        self.input(Input::Timeout(wallclock));
    }

    /// How long the oldest picture that is not on its way yet has waited: the path carries less
    /// than it is given.
    #[must_use]
    pub fn delay(&mut self) -> Duration {
        let Some(track) = self.video else { return Duration::ZERO };
        let now = self.clock.instant(self.now);
        let mut api = self.rtc.direct_api();
        let stream = api.stream_tx_by_mid(track.mid, None);
        let first = stream.and_then(|stream| stream.queue_info()?.first_unsent());
        first.map_or(Duration::ZERO, |first| now.saturating_duration_since(first))
    }

    /// Says how much there is to send, in bits a second: the estimate is sought up to there.
    pub fn set_desired(&mut self, now: Time, bits_per_second: u64) {
        self.now = now;
        self.rtc.bwe().set_bitrate(Bitrate::ZERO, Bitrate::bps(bits_per_second));
    }

    /// Asks the other side for a keyframe.
    pub fn request_keyframe(&mut self, now: Time) {
        self.now = now;
        let Some(track) = self.video.filter(|_| !self.closed) else { return };
        let asked = self
            .rtc
            .writer(track.mid)
            .map(|mut writer| writer.request_keyframe(None, KeyframeRequestKind::Pli));
        if matches!(asked, Some(Ok(()))) {
            self.input(Input::Timeout(self.clock.instant(now)));
        }
    }

    /// Ends the session and tells the other side.
    pub fn close(&mut self, now: Time) {
        self.now = now;
        if !self.closed {
            // Fails if there is nobody to be told yet.
            let _ = self.rtc.close();
            self.drain();
            self.end(Closed::Local);
        }
    }

    /// What to send, know or wait for next.
    pub fn poll_output(&mut self) -> Output {
        if let Some(output) = self.out.pop_front() {
            return output;
        }
        let silent = Some(self.heard + self.config.silent_timeout);
        let wait = [Some(self.wait), self.deadline, silent].into_iter().flatten().min();
        Output::Wait(wait.filter(|_| !self.closed))
    }

    const fn track(&self, kind: Kind) -> Option<&Track> {
        match kind {
            Kind::Video => self.video.as_ref(),
            Kind::Audio => self.audio.as_ref(),
        }
    }

    /// Finds out what the answer has agreed on.
    fn agree(&mut self, described: &sdp::Description) -> Result<(), Error> {
        for media in &described.media {
            let sdp::Kind::Other(what) = &media.kind else { continue };
            let kind = match what.split(' ').next() {
                Some("video") => Kind::Video,
                Some("audio") => Kind::Audio,
                _ => continue,
            };
            let mid = Mid::from(&media.mid[..]);
            let taken = self.track(kind).is_some();
            let track = self.agreed(mid, kind).filter(|_| !taken);
            match (kind, track) {
                (_, None) => {}
                (Kind::Video, track) => self.video = track,
                (Kind::Audio, track) => self.audio = track,
            }
        }
        if self.video.is_none() && self.audio.is_none() {
            return Err(NOTHING_AGREED);
        }
        let (packets_max, age_max) = (self.config.resend_packets_max, self.config.resend_for);
        if let Some(track) = self.video
            && let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(track.mid, None)
        {
            stream.set_rtx_cache(packets_max, age_max, Some(RESENT_SHARE_MAX));
        }
        Ok(())
    }

    fn agreed(&mut self, mid: Mid, kind: Kind) -> Option<Track> {
        let media = self.rtc.media(mid).filter(|media| !media.disabled())?;
        let profile = self.config.h264_profile;
        let right = match self.config.role {
            Role::Receive => media.direction().is_receiving(),
            Role::Send => media.direction().is_sending(),
        };
        let offered = media.remote_pts();
        let config = self.rtc.codec_config();
        let known = |pt: &&Pt| config.params().iter().find(|params| params.pt() == **pt);
        // The other side's favourite among those that say the truth, or else its favourite.
        let rank = |pt: &&Pt| {
            let format = known(pt).map(|params| params.spec().format);
            let said = format.and_then(|format| format.profile_level_id).map(|id| (id >> 16) as u8);
            let whole = format.and_then(|format| format.packetization_mode) == Some(1);
            (kind == Kind::Video).then_some((!whole, said != profile))
        };
        let pt = offered.iter().filter(|pt| known(pt).is_some()).min_by_key(rank)?;
        // Sequence numbers begin where they do not soon run over (RFC 3550 §5.1, RFC 3711 §3.3.1).
        right.then_some(Track { mid, pt: *pt, next: 1 })
    }

    fn input(&mut self, input: Input<'_>) {
        if self.rtc.handle_input(input).is_err() {
            self.end(Closed::Violation);
        } else {
            self.drain();
        }
    }

    /// Takes everything that str0m has to say.
    fn drain(&mut self) {
        while !self.closed {
            match self.rtc.poll_output() {
                Ok(str0m::Output::Transmit(transmit)) => {
                    self.out.push_back(Output::Transmit(Transmit {
                        from: transmit.source,
                        to: transmit.destination,
                        data: Vec::from(transmit.contents).into(),
                    }));
                }
                Ok(str0m::Output::Event(event)) => self.note(event),
                Ok(str0m::Output::Timeout(next)) => {
                    self.wait = self.clock.time(next);
                    return;
                }
                Err(_) => self.end(Closed::Violation),
            }
        }
    }

    fn note(&mut self, event: str0m::Event) {
        use str0m::Event as Theirs;
        match event {
            Theirs::Connected => {
                self.deadline = None;
                self.event(Event::Connected);
            }
            Theirs::MediaData(data) => self.frame(data),
            Theirs::KeyframeRequest(_) => self.event(Event::KeyframeWanted),
            Theirs::EgressBitrateEstimate(
                BweKind::Twcc { estimate, .. } | BweKind::Remb { estimate, .. },
            ) => self.event(Event::Estimate(estimate.as_u64())),
            Theirs::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                self.end(Closed::Lost);
            }
            Theirs::Closed => self.end(Closed::Remote),
            _ => {}
        }
    }

    fn frame(&mut self, data: MediaData) {
        let kinds = [(Kind::Video, self.video), (Kind::Audio, self.audio)];
        let found = kinds.into_iter().find(|(_, track)| track.is_some_and(|t| t.mid == data.mid));
        // What was not agreed on cannot come; a second track of a kind is not carried.
        let Some((kind, _)) = found else { return };
        let report = data.last_sender_info.and_then(|info| {
            let since = info.ntp_time.duration_since(UNIX_EPOCH).ok()?;
            let unix_us = i64::try_from(since.as_micros()).ok()?;
            Some(Report { unix_us, ticks: info.rtp_time.numer() })
        });
        self.event(Event::Frame(Frame {
            kind,
            ticks: data.time.numer(),
            arrived: self.clock.time(data.network_time),
            report,
            contiguous: data.contiguous,
            data: data.data,
        }));
    }

    fn event(&mut self, event: Event) {
        self.out.push_back(Output::Event(event));
    }

    fn end(&mut self, why: Closed) {
        if !self.closed {
            self.closed = true;
            let never = self.deadline.is_some() && why == Closed::Lost;
            let why = if never { Closed::Connect } else { why };
            self.event(Event::Closed(why));
        }
    }
}

impl core::fmt::Debug for Session {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Session").field("role", &self.config.role).finish_non_exhaustive()
    }
}

fn build(config: &Config, credentials: IceCreds) -> RtcConfig {
    let sends = config.role == Role::Send;
    let estimate = Bitrate::bps(config.estimate_bits_per_second);
    RtcConfig::new()
        .set_crypto_provider(crypto::provider())
        .set_dtls_cert(config.certificate.for_dtls())
        .set_dtls_version(match config.versions {
            Versions::Both => DtlsVersion::Auto,
            Versions::Only12 => DtlsVersion::Dtls12,
            Versions::Only13 => DtlsVersion::Dtls13,
        })
        .set_local_ice_credentials(credentials)
        .clear_codecs()
        .enable_h264(true)
        .enable_opus(true, false)
        .set_rtp_mode(sends)
        .enable_bwe(sends.then_some(estimate))
        .set_reordering_size_video(config.reorder_packets_max)
}

/// The offer without addresses: who is ICE lite sends to whoever has proved to be the other side,
/// and to nobody whom an offer names.
fn without_candidates(offer: &str) -> String {
    let lines = offer.lines().filter(|line| !line.starts_with("a=candidate:"));
    lines.flat_map(|line| [line, "\r\n"]).collect()
}

#[cfg(test)]
#[path = "media/tests.rs"]
mod tests;
