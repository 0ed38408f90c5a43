//! One struct for the file, the environment and the flags. `deploy/streamr.toml` is its manual.

mod merge;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use streamr_core::lifecycle;

use crate::Error;
use crate::live::ladder;

pub use merge::{Layer, environment, flags};

/// The commented example file: every key with its default.
pub const EXAMPLE: &str = include_str!("../../../deploy/streamr.toml");

/// How a server is set up. The example file says what each key means and argues its default; here
/// stand the types. Empty text means "off" or "choose for me" where the example says so.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where everything that outlives the process is kept.
    pub data: Data,
    /// The API and the pages.
    pub http: Http,
    /// HTTPS and RTMPS.
    pub tls: Tls,
    /// Who may administer.
    pub admin: Admin,
    /// RTMP and RTMPS ingest and play.
    pub rtmp: Rtmp,
    /// SRT ingest.
    pub srt: Srt,
    /// WHIP ingest and WHEP playback.
    pub webrtc: Webrtc,
    /// Lives of streams.
    pub stream: Stream,
    /// Low-latency HLS.
    pub hls: Hls,
    /// Adaptive bitrate by ffmpeg.
    pub ladder: Ladder,
    /// The log.
    pub log: Log,
}

/// Where everything that outlives the process is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// The folder; made if absent.
    pub dir: PathBuf,
    /// Streams, archived ones too, that can be made.
    pub streams_max: u32,
}

/// The API and the pages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// `address:port` for HTTP.
    pub listen: String,
    /// `address:port` for HTTPS; empty is off.
    pub tls_listen: String,
    /// How people reach the pages, e.g. `https://live.example.org`; empty is guessed.
    pub public_url: String,
    /// Addresses of reverse proxies whose `X-Forwarded-For` is believed.
    pub proxies: Vec<IpAddr>,
    /// Connections at once.
    pub connections_max: u32,
    /// Bytes of a request's body.
    pub body_bytes_max: u32,
    /// Milliseconds for a request's headers to come.
    pub header_timeout_ms: u32,
    /// Milliseconds for an API request to be answered.
    pub request_timeout_ms: u32,
}

/// HTTPS and RTMPS.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the certificate chain.
    pub cert_file: PathBuf,
    /// PEM file with its private key.
    pub key_file: PathBuf,
    /// Make a certificate that nobody trusts, for development.
    pub self_signed: bool,
}

/// Who may administer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// The bearer token; empty makes one at the first start.
    pub token: String,
    /// Wrong tokens that one address may show in a minute.
    pub wrong_tokens_max: u32,
}

impl std::fmt::Debug for Srt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { listen, latency_ms, .. } = self;
        write!(f, "Srt {{ listen: {listen:?}, passphrase: …, latency_ms: {latency_ms}, … }}")
    }
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Admin { token: … }")
    }
}

/// RTMP and RTMPS ingest and play.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rtmp {
    /// `address:port` for RTMP; empty is off.
    pub listen: String,
    /// `address:port` for RTMPS; empty is off.
    pub tls_listen: String,
    /// Connections at once, publishers and players.
    pub connections_max: u32,
}

/// SRT ingest.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Srt {
    /// `address:port` (UDP) for SRT; empty is off.
    pub listen: String,
    /// Callers must encrypt with it: 10 to 79 bytes. Empty is no encryption.
    pub passphrase: String,
    /// Milliseconds that SRT waits for what was lost.
    pub latency_ms: u32,
    /// Publishers at once.
    pub connections_max: u32,
}

/// WHIP ingest and WHEP playback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webrtc {
    /// `address:port` (UDP) for media; empty is off.
    pub listen: String,
    /// Further addresses of this machine that browsers are told.
    pub public_addresses: Vec<IpAddr>,
    /// STUN and TURN servers that clients are told, e.g. `stun:stun.example.org:3478`.
    pub ice_servers: Vec<String>,
    /// Publishers and viewers at once.
    pub sessions_max: u32,
}

/// Lives of streams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// Seconds that a broadcast waits for a publisher that was lost.
    pub grace_s: u32,
    /// The same for one that said goodbye.
    pub goodbye_grace_s: u32,
    /// Seconds offline until a stream is stale.
    pub stale_after_s: u32,
    /// Publishing starts a test; the creator goes live by the API.
    pub test_first: bool,
    /// Bytes in the largest frame.
    pub frame_bytes_max: u32,
}

/// Low-latency HLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hls {
    /// Length of a part in milliseconds.
    pub part_ms: u32,
    /// Shortest length of a segment in milliseconds; it ends at the next keyframe.
    pub segment_ms: u32,
    /// Segments listed in a playlist.
    pub segments: u32,
}

/// Adaptive bitrate by ffmpeg.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ladder {
    /// Renditions beside the source, e.g. `["720p", "480p"]`; none is off.
    pub renditions: Vec<String>,
    /// The program.
    pub ffmpeg: PathBuf,
    /// Streams transcoded at once.
    pub streams_max: u32,
    /// Make thumbnails.
    pub thumbnails: bool,
}

/// The log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// `text` or `json`.
    pub format: LogFormat,
    /// What is logged, in the words of `tracing_subscriber::EnvFilter`: `info`, `info,sqlx=debug`.
    pub filter: String,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines, one object a line.
    Json,
}

impl Default for Data {
    fn default() -> Self {
        Self { dir: "streamr-data".into(), streams_max: 10_000 }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: "0.0.0.0:8080".to_owned(),
            tls_listen: String::new(),
            public_url: String::new(),
            proxies: Vec::new(),
            connections_max: 20_000,
            body_bytes_max: 65_536,
            header_timeout_ms: 10_000,
            request_timeout_ms: 10_000,
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { token: String::new(), wrong_tokens_max: 10 }
    }
}

impl Default for Rtmp {
    fn default() -> Self {
        Self {
            listen: "0.0.0.0:1935".to_owned(),
            tls_listen: String::new(),
            connections_max: 20_000,
        }
    }
}

impl Default for Srt {
    fn default() -> Self {
        Self {
            listen: "0.0.0.0:8890".to_owned(),
            passphrase: String::new(),
            latency_ms: 120,
            connections_max: 1_000,
        }
    }
}

impl Default for Webrtc {
    fn default() -> Self {
        Self {
            listen: "0.0.0.0:8189".to_owned(),
            public_addresses: Vec::new(),
            ice_servers: Vec::new(),
            sessions_max: 5_000,
        }
    }
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            grace_s: 30,
            goodbye_grace_s: 3,
            stale_after_s: 3_600,
            test_first: false,
            frame_bytes_max: 16 << 20,
        }
    }
}

impl Default for Hls {
    fn default() -> Self {
        Self { part_ms: 200, segment_ms: 2_000, segments: 8 }
    }
}

impl Default for Ladder {
    fn default() -> Self {
        Self { renditions: Vec::new(), ffmpeg: "ffmpeg".into(), streams_max: 4, thumbnails: true }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".to_owned() }
    }
}

impl Config {
    /// The default, then each layer over it: later ones win. Pure.
    ///
    /// # Errors
    /// `Error::Config` names the layer and the key, says what is wrong with it and what was meant.
    pub fn from_layers(layers: &[Layer]) -> Result<Self, Error> {
        let config = merge::merge(layers)?;
        config.check()?;
        Ok(config)
    }

    /// As a commented file would hold it, secrets replaced by dots.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut shown = self.clone();
        if !shown.admin.token.is_empty() {
            shown.admin.token = "…".to_owned();
        }
        if !shown.srt.passphrase.is_empty() {
            shown.srt.passphrase = "…".to_owned();
        }
        toml::to_string(&shown).unwrap_or_else(|error| panic!("a config is always TOML: {error}"))
    }

    /// How patient streams are.
    #[must_use]
    pub fn lifecycle(&self) -> lifecycle::Config {
        lifecycle::Config {
            grace: Duration::from_secs(self.stream.grace_s.into()),
            goodbye_grace: Duration::from_secs(self.stream.goodbye_grace_s.into()),
            stale_after: Duration::from_secs(self.stream.stale_after_s.into()),
            test_first: self.stream.test_first,
        }
    }

    /// The addresses that are on, with the name of the part and of the key.
    ///
    /// # Errors
    /// `Error::Config` if one is no address.
    pub fn listeners(&self) -> Result<Vec<Listen>, Error> {
        let all = [
            (Part::Http, "http.listen", &self.http.listen),
            (Part::Https, "http.tls_listen", &self.http.tls_listen),
            (Part::Rtmp, "rtmp.listen", &self.rtmp.listen),
            (Part::Rtmps, "rtmp.tls_listen", &self.rtmp.tls_listen),
            (Part::Srt, "srt.listen", &self.srt.listen),
            (Part::Webrtc, "webrtc.listen", &self.webrtc.listen),
        ];
        let on = all.into_iter().filter(|(_, _, text)| !text.is_empty());
        on.map(|(part, key, text)| Ok(Listen { part, key, address: address(key, text)? })).collect()
    }

    /// The address of one part, if it is on.
    ///
    /// # Errors
    /// As `listeners`.
    pub fn listener(&self, part: Part) -> Result<Option<Listen>, Error> {
        Ok(self.listeners()?.into_iter().find(|listen| listen.part == part))
    }

    fn check(&self) -> Result<(), Error> {
        let listeners = self.listeners()?;
        for (index, one) in listeners.iter().enumerate() {
            let same = |two: &&Listen| {
                two.part.is_udp() == one.part.is_udp()
                    && two.address == one.address
                    && one.address.port() != 0
            };
            if let Some(two) = listeners[..index].iter().find(same) {
                let (one, two) = (one.key, two.key);
                return Err(Error::Config(format!(
                    "{two} and {one} are the same address: give one of them another port"
                )));
            }
        }
        self.check_tls(&listeners)?;
        if let Some(name) = self.ladder.renditions.iter().find(|n| ladder::height(n).is_none()) {
            return Err(Error::Config(format!(
                "ladder.renditions has \"{name}\", but wants heights such as 720p and 480p"
            )));
        }
        let passphrase = self.srt.passphrase.len();
        if passphrase > 0 && !(10..=79).contains(&passphrase) {
            return Err(Error::Config(format!(
                "srt.passphrase has {passphrase} bytes, but SRT wants 10 to 79"
            )));
        }
        let unknown = |server: &&String| {
            let schemes = ["stun:", "stuns:", "turn:", "turns:"];
            !schemes.iter().any(|scheme| server.starts_with(scheme))
                || server.bytes().any(|byte| !(0x21..0x7F).contains(&byte) || byte == b'>')
        };
        if let Some(server) = self.webrtc.ice_servers.iter().find(unknown) {
            return Err(Error::Config(format!(
                "webrtc.ice_servers has \"{server}\", but wants addresses such as \
                 stun:stun.example.org:3478"
            )));
        }
        self.check_numbers()
    }

    fn check_tls(&self, listeners: &[Listen]) -> Result<(), Error> {
        let files = !self.tls.cert_file.as_os_str().is_empty();
        let key = !self.tls.key_file.as_os_str().is_empty();
        let wanted = listeners.iter().find(|l| matches!(l.part, Part::Https | Part::Rtmps));
        let fault = match wanted {
            _ if files != key => "tls.cert_file and tls.key_file go together: set both".to_owned(),
            Some(listen) if !files && !self.tls.self_signed => format!(
                "{} needs a certificate: set tls.cert_file and tls.key_file, or tls.self_signed \
                 for development",
                listen.key
            ),
            _ => return Ok(()),
        };
        Err(Error::Config(fault))
    }

    fn check_numbers(&self) -> Result<(), Error> {
        for (key, value, least, most) in [
            ("hls.part_ms", self.hls.part_ms, 20, 5_000),
            ("hls.segment_ms", self.hls.segment_ms, self.hls.part_ms, 30_000),
            ("hls.segments", self.hls.segments, 3, 1_000),
            ("http.connections_max", self.http.connections_max, 1, 1 << 20),
            ("http.body_bytes_max", self.http.body_bytes_max, 1_024, 1 << 30),
            ("http.header_timeout_ms", self.http.header_timeout_ms, 100, 600_000),
            ("http.request_timeout_ms", self.http.request_timeout_ms, 100, 600_000),
            ("rtmp.connections_max", self.rtmp.connections_max, 1, 1 << 20),
            ("srt.connections_max", self.srt.connections_max, 1, 1 << 20),
            ("webrtc.sessions_max", self.webrtc.sessions_max, 1, 1 << 20),
            ("srt.latency_ms", self.srt.latency_ms, 20, 30_000),
            ("stream.frame_bytes_max", self.stream.frame_bytes_max, 65_536, 1 << 30),
            ("stream.grace_s", self.stream.grace_s, 0, 86_400),
            ("stream.goodbye_grace_s", self.stream.goodbye_grace_s, 0, 86_400),
            ("data.streams_max", self.data.streams_max, 1, 1 << 20),
        ] {
            if !(least..=most).contains(&value) {
                let fault = format!("{key} is {value}, but must be from {least} to {most}");
                return Err(Error::Config(fault));
            }
        }
        Ok(())
    }
}

/// A part of the server that listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Pages and API.
    Http,
    /// The same by TLS.
    Https,
    /// RTMP ingest and play.
    Rtmp,
    /// The same by TLS.
    Rtmps,
    /// SRT ingest.
    Srt,
    /// Media of WHIP and WHEP.
    Webrtc,
}

impl Part {
    /// Its usual name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Https => "HTTPS",
            Self::Rtmp => "RTMP",
            Self::Rtmps => "RTMPS",
            Self::Srt => "SRT",
            Self::Webrtc => "WebRTC",
        }
    }

    /// Whether it listens for datagrams rather than connections.
    #[must_use]
    pub const fn is_udp(self) -> bool {
        matches!(self, Self::Srt | Self::Webrtc)
    }
}

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// What listens.
    pub part: Part,
    /// The key of the configuration that says so.
    pub key: &'static str,
    /// Where.
    pub address: SocketAddr,
}

impl Listen {
    /// The sentence for a failure to listen here.
    #[must_use]
    pub fn fault(&self, reason: std::io::Error) -> Error {
        Error::listen(self.part.as_str(), self.key, self.address, reason)
    }
}

/// `host:port`, or `:port` for every address of this machine.
fn address(key: &str, text: &str) -> Result<SocketAddr, Error> {
    let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    full.parse().map_err(|_| {
        Error::Config(format!(
            "{key} is \"{text}\", but must be an address and a port such as 0.0.0.0:8080, \
             [::]:8080 or :8080"
        ))
    })
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
