//! Descriptions of a session: what of SDP (RFC 8866) JSEP (RFC 8829) needs for data channels.
//!
//! Reading is strict about what is used and blind to the rest. Sections of audio and video are
//! known by their lines only, so that an answer can refuse them in their places.

use core::fmt::Write as _;

use crate::Error;
use crate::candidate::ice_chars;
use crate::certificate::Fingerprint;

/// What bounds a description that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole. Chromium's with audio, video and 30 candidates have about 12 KiB.
    pub bytes_max: usize,
    /// Sections that begin with `m=`.
    pub media_max: usize,
    /// Candidates over all sections.
    pub candidates_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes_max: 64 * 1024, media_max: 32, candidates_max: 64 }
    }
}

/// An offer or an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// Of `o=`: the same for all descriptions of one session.
    pub session: u64,
    /// Of `o=`: one more with each description that differs.
    pub version: u64,
    /// The side answers checks and makes none (RFC 8445 §2.5).
    pub ice_lite: bool,
    /// The sections, in their order.
    pub media: Vec<Media>,
}

/// A section: what is sent, and over which transport.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Media {
    /// Its name, by which groups and candidates mean it; one word.
    pub mid: String,
    /// What it is.
    pub kind: Kind,
    /// How to reach who sent it. Nothing in a section that was refused.
    pub transport: Option<Transport>,
    /// `candidate:…` of each candidate, unread.
    pub candidates: Vec<String>,
    /// No more candidates will come (RFC 8840 §4.2).
    pub end_of_candidates: bool,
}

/// What a section carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Data channels (RFC 8841).
    Data {
        /// SCTP's port, over DTLS.
        sctp_port: u16,
        /// The longest message that its sender takes, in bytes; 0 for no limit.
        message_bytes_max: u64,
    },
    /// Something else: its `m=` line without the port, as `audio UDP/TLS/RTP/SAVPF 111`.
    Other(String),
}

impl Default for Kind {
    fn default() -> Self {
        Self::Data { sctp_port: 5_000, message_bytes_max: DEFAULT_MESSAGE_BYTES }
    }
}

/// What stands for `a=max-message-size` where it is missing (RFC 8841 §6.1).
const DEFAULT_MESSAGE_BYTES: u64 = 64 * 1024;

/// How to reach who sent a section and to know it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    /// Names this side's ICE session, in checks (RFC 8839 §5.4).
    pub ufrag: String,
    /// Proves checks to it.
    pub password: String,
    /// Of the certificate that it will show.
    pub fingerprint: Fingerprint,
    /// Who begins the DTLS handshake.
    pub setup: Setup,
}

/// Who begins the DTLS handshake (RFC 8842 §5.1): what the sender of a description will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Setup {
    /// Either: the answer decides.
    ActPass,
    /// The client.
    Active,
    /// The server.
    Passive,
}

impl Setup {
    const fn word(self) -> &'static str {
        match self {
            Self::ActPass => "actpass",
            Self::Active => "active",
            Self::Passive => "passive",
        }
    }
}

impl Description {
    /// Reads a description.
    ///
    /// # Errors
    /// It is malformed, over a limit, or its data section lacks ICE, a fingerprint or `a=setup`.
    pub fn parse(text: &str, limits: &Limits) -> Result<Self, Error> {
        if text.len() > limits.bytes_max {
            return Err(Error::TooMuch { what: "bytes_max of SDP", max: limits.bytes_max });
        }
        let mut lines = text.lines().filter(|line| !line.is_empty());
        if lines.next() != Some("v=0") {
            return Err(Error::Malformed { what: "the first line of SDP" });
        }
        let mut reader =
            Reader { description: Self::default(), session: Part::default(), media: vec![] };
        for line in lines {
            reader.line(line, limits)?;
        }
        reader.finish()
    }

    /// As text. Words that hold spaces or line ends are a fault of the caller's.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::with_capacity(1_024);
        let (session, version) = (self.session, self.version);
        line(&mut out, format_args!("v=0"));
        line(&mut out, format_args!("o=- {session} {version} IN IP4 127.0.0.1"));
        line(&mut out, format_args!("s=-"));
        line(&mut out, format_args!("t=0 0"));
        let bundled = self.media.iter().filter(|media| media.transport.is_some());
        let mids = bundled.map(|media| format!(" {}", media.mid)).collect::<String>();
        line(&mut out, format_args!("a=group:BUNDLE{mids}"));
        line(&mut out, format_args!("a=ice-options:trickle"));
        if self.ice_lite {
            line(&mut out, format_args!("a=ice-lite"));
        }
        for media in &self.media {
            media.write(&mut out);
        }
        out
    }

    /// The section of data channels.
    #[must_use]
    pub fn data(&self) -> Option<&Media> {
        self.media.iter().find(|media| matches!(media.kind, Kind::Data { .. }))
    }
}

fn line(out: &mut String, text: core::fmt::Arguments<'_>) {
    write!(out, "{text}\r\n").expect("a string takes everything");
}

impl Media {
    fn write(&self, out: &mut String) {
        let port = if self.transport.is_some() { 9 } else { 0 };
        match &self.kind {
            Kind::Data { .. } => {
                line(out, format_args!("m=application {port} UDP/DTLS/SCTP webrtc-datachannel"));
            }
            Kind::Other(kind) => {
                let (kind, rest) = kind.split_once(' ').unwrap_or((kind, ""));
                line(out, format_args!("m={kind} {port} {rest}"));
            }
        }
        line(out, format_args!("c=IN IP4 0.0.0.0"));
        line(out, format_args!("a=mid:{}", self.mid));
        let Some(transport) = &self.transport else { return };
        line(out, format_args!("a=ice-ufrag:{}", transport.ufrag));
        line(out, format_args!("a=ice-pwd:{}", transport.password));
        line(out, format_args!("a=fingerprint:{}", transport.fingerprint));
        line(out, format_args!("a=setup:{}", transport.setup.word()));
        if let Kind::Data { sctp_port, message_bytes_max } = self.kind {
            line(out, format_args!("a=sctp-port:{sctp_port}"));
            line(out, format_args!("a=max-message-size:{message_bytes_max}"));
        }
        for candidate in &self.candidates {
            line(out, format_args!("a={candidate}"));
        }
        if self.end_of_candidates {
            line(out, format_args!("a=end-of-candidates"));
        }
    }
}

/// Attributes that may stand in a section, or before all and then hold for each.
#[derive(Clone, Default)]
struct Part {
    ufrag: Option<String>,
    password: Option<String>,
    fingerprint: Option<Fingerprint>,
    setup: Option<Setup>,
}

/// A section that is being read.
struct Section {
    media: Media,
    part: Part,
    refused: bool,
}

struct Reader {
    description: Description,
    session: Part,
    media: Vec<Section>,
}

impl Reader {
    fn line(&mut self, line: &str, limits: &Limits) -> Result<(), Error> {
        let malformed = Error::Malformed { what: "a line of SDP" };
        let (kind, value) = line.split_once('=').ok_or(malformed)?;
        match kind {
            "o" => self.origin(value),
            "m" if self.media.len() == limits.media_max => {
                Err(Error::TooMuch { what: "media_max of SDP", max: limits.media_max })
            }
            "m" => {
                self.media.push(section(value)?);
                Ok(())
            }
            "a" => self.attribute(value, limits),
            _ => Ok(()),
        }
    }

    fn origin(&mut self, value: &str) -> Result<(), Error> {
        let mut words = value.split(' ').skip(1);
        let mut number = || words.next().and_then(|word| word.parse().ok());
        let numbers = (number(), number());
        let (Some(session), Some(version)) = numbers else {
            return Err(Error::Malformed { what: "the origin of SDP" });
        };
        (self.description.session, self.description.version) = (session, version);
        Ok(())
    }

    fn attribute(&mut self, attribute: &str, limits: &Limits) -> Result<(), Error> {
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        let part = self.media.last_mut().map_or(&mut self.session, |section| &mut section.part);
        match name {
            "ice-lite" => self.description.ice_lite = true,
            "ice-ufrag" => part.ufrag = Some(ice_word(value, 4)?),
            "ice-pwd" => part.password = Some(ice_word(value, 22)?),
            "fingerprint" => match Fingerprint::parse(value) {
                // There may be others, of hashes that we do not know.
                Err(Error::Unsupported { .. }) => {}
                print => part.fingerprint = Some(print?),
            },
            "setup" => part.setup = Some(setup(value)?),
            "candidate" => return self.candidate(attribute, limits),
            _ => {
                if let Some(section) = self.media.last_mut() {
                    section.attribute(name, value)?;
                }
            }
        }
        Ok(())
    }

    fn candidate(&mut self, candidate: &str, limits: &Limits) -> Result<(), Error> {
        let count: usize = self.media.iter().map(|section| section.media.candidates.len()).sum();
        if count >= limits.candidates_max {
            let max = limits.candidates_max;
            return Err(Error::TooMuch { what: "candidates_max of SDP", max });
        }
        let malformed = Error::Malformed { what: "a candidate outside of all sections" };
        let section = self.media.last_mut().ok_or(malformed)?;
        section.media.candidates.push(candidate.to_owned());
        Ok(())
    }

    fn finish(self) -> Result<Description, Error> {
        let Self { mut description, session, media } = self;
        for section in media {
            description.media.push(section.finish(&session)?);
        }
        Ok(description)
    }
}

impl Section {
    fn attribute(&mut self, name: &str, value: &str) -> Result<(), Error> {
        match (name, &mut self.media.kind) {
            ("mid", _) => value.trim().clone_into(&mut self.media.mid),
            ("end-of-candidates", _) => self.media.end_of_candidates = true,
            ("sctp-port", Kind::Data { sctp_port, .. }) => {
                let port = value.trim().parse().ok().filter(|port| *port != 0);
                *sctp_port = port.ok_or(Error::Malformed { what: "a=sctp-port" })?;
            }
            ("max-message-size", Kind::Data { message_bytes_max, .. }) => {
                let size = value.trim().parse();
                *message_bytes_max =
                    size.map_err(|_| Error::Malformed { what: "a=max-message-size" })?;
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(self, session: &Part) -> Result<Media, Error> {
        let Self { mut media, part, refused } = self;
        if refused {
            return Ok(media);
        }
        let ufrag = part.ufrag.or_else(|| session.ufrag.clone());
        let password = part.password.or_else(|| session.password.clone());
        let fingerprint = part.fingerprint.or(session.fingerprint);
        let setup = part.setup.or(session.setup);
        match (ufrag, password, fingerprint, setup) {
            (Some(ufrag), Some(password), Some(fingerprint), Some(setup)) => {
                media.transport = Some(Transport { ufrag, password, fingerprint, setup });
            }
            // Sections of a bundle may leave their transport to the first (RFC 8843 §7.1.3).
            _ if matches!(media.kind, Kind::Other(_)) => {}
            _ => return Err(Error::Malformed { what: "a data section without its transport" }),
        }
        Ok(media)
    }
}

/// `application 9 UDP/DTLS/SCTP webrtc-datachannel`.
fn section(line: &str) -> Result<Section, Error> {
    let malformed = Error::Malformed { what: "a line m= of SDP" };
    let mut words = line.splitn(3, ' ');
    let (Some(kind), Some(port), Some(rest)) = (words.next(), words.next(), words.next()) else {
        return Err(malformed);
    };
    let port: u16 = port.parse().map_err(|_| malformed)?;
    let data = kind == "application"
        && matches!(rest, "UDP/DTLS/SCTP webrtc-datachannel" | "TCP/DTLS/SCTP webrtc-datachannel");
    let kind = if data { Kind::default() } else { Kind::Other(format!("{kind} {rest}")) };
    let media = Media { kind, ..Media::default() };
    Ok(Section { media, part: Part::default(), refused: port == 0 })
}

fn setup(value: &str) -> Result<Setup, Error> {
    let all = [Setup::ActPass, Setup::Active, Setup::Passive];
    let found = all.into_iter().find(|setup| setup.word() == value.trim());
    found.ok_or(Error::Malformed { what: "a=setup" })
}

fn ice_word(value: &str, min: usize) -> Result<String, Error> {
    let word = value.trim();
    let fits = ice_chars(word, min..=256);
    fits.then(|| word.to_owned()).ok_or(Error::Malformed { what: "an ICE name or password" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description() -> Description {
        let transport = Transport {
            ufrag: "abcd".into(),
            password: "p".repeat(22),
            fingerprint: Fingerprint::of(b"certificate"),
            setup: Setup::ActPass,
        };
        let media = Media {
            mid: "0".into(),
            transport: Some(transport),
            candidates: vec!["candidate:1 1 udp 1 192.0.2.7 9 typ host".into()],
            end_of_candidates: true,
            ..Media::default()
        };
        let audio = Kind::Other("audio UDP/TLS/RTP/SAVPF 111 63".into());
        let audio = Media { kind: audio, mid: "1".into(), ..Media::default() };
        Description { session: 1, version: 2, ice_lite: true, media: vec![audio, media] }
    }

    #[test]
    fn descriptions_are_read_as_they_are_written() {
        let written = description();
        let text = written.to_text();
        assert_eq!(Description::parse(&text, &Limits::default()), Ok(written.clone()));
        let unix = text.replace("\r\n", "\n");
        assert_eq!(Description::parse(&unix, &Limits::default()), Ok(written));
    }

    #[test]
    fn a_transport_before_all_sections_holds_for_each() {
        let text = description().to_text();
        let moved: Vec<&str> = text.lines().filter(|line| line.starts_with("a=ice-")).collect();
        let rest: Vec<&str> = text.lines().filter(|line| !line.starts_with("a=ice-")).collect();
        let text = format!("v=0\n{}\n{}", moved.join("\n"), rest[1..].join("\n"));
        assert_eq!(Description::parse(&text, &Limits::default()), Ok(description()));
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let good = description().to_text();
        for (from, to) in [
            ("v=0", "v=1"),
            ("o=- 1 2", "o=- x 2"),
            ("m=application 9", "m=application 99999"),
            ("a=setup:actpass", "a=setup:holdconn"),
            ("a=setup:actpass\r\n", ""),
            ("a=ice-ufrag:abcd", "a=ice-ufrag:abc"),
            ("a=ice-ufrag:abcd", "a=ice-ufrag:ab\u{e4}cd"),
            ("a=fingerprint:sha-256", "a=fingerprint:sha-1"),
            ("a=fingerprint:sha-256 ", "a=fingerprint:sha-256 0"),
            ("a=sctp-port:5000", "a=sctp-port:0"),
            ("a=max-message-size:65536", "a=max-message-size:-1"),
            ("s=-", "nothing"),
        ] {
            assert!(good.contains(from), "{from}");
            let bad = good.replace(from, to);
            assert!(Description::parse(&bad, &Limits::default()).is_err(), "{from} {to}");
        }
    }

    #[test]
    fn each_limit_is_reached() {
        let text = description().to_text();
        let parse = |limits: Limits| Description::parse(&text, &limits).map(drop);
        let fits = Limits { bytes_max: text.len(), media_max: 2, candidates_max: 1 };
        assert_eq!(parse(fits), Ok(()));
        for over in [
            Limits { bytes_max: text.len() - 1, ..fits },
            Limits { media_max: 1, ..fits },
            Limits { candidates_max: 0, ..fits },
        ] {
            assert!(matches!(parse(over), Err(Error::TooMuch { .. })), "{over:?}");
        }
    }
}
