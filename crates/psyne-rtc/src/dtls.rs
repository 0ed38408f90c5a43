//! DTLS over the path that ICE found: who is at the other end, and what only they can read.

use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;
use psyne_core::Time;

use crate::certificate::{Certificate, Fingerprint};
use crate::clock::Clock;

/// The longest datagram that the handshake is cut into, in bytes.
const DATAGRAM_BYTES_MAX: usize = 1_200;
/// The longest output that is taken from the crate at once: a record (2^14, RFC 9147 §4) and what
/// stands around it.
const RECORD_BYTES_MAX: usize = 16 * 1024 + 512;
/// The first retransmission: a check has just gone through, so an answer takes no second.
const RETRY: Duration = Duration::from_millis(250);
/// How often a flight is sent again. The session's own deadline comes earlier.
const RETRIES_MAX: usize = 10;
/// Until when a handshake must be done, if the session's own deadline does not come earlier.
const HANDSHAKE: Duration = Duration::from_secs(60);

/// Which versions of DTLS are spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Versions {
    /// 1.3 if the other side can, or else 1.2.
    #[default]
    Both,
    /// Only 1.2 (RFC 6347).
    Only12,
    /// Only 1.3 (RFC 9147).
    Only13,
}

/// Keys for SRTP, exported from the handshake (RFC 5764 §4.2).
#[derive(Clone, PartialEq, Eq)]
pub struct SrtpKeys {
    /// Its name in IANA's registry, as `SRTP_AEAD_AES_128_GCM`.
    pub profile: String,
    /// Client's key, server's key, client's salt, server's salt.
    pub material: Bytes,
    /// Whether this side is the client.
    pub client: bool,
}

impl core::fmt::Debug for SrtpKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "SrtpKeys({})", self.profile)
    }
}

/// What a link wants.
pub(crate) enum Output {
    Transmit(Bytes),
    /// The other side is who signaling said: what is sent from now on reaches it alone.
    Connected,
    Data(Bytes),
    Keys(SrtpKeys),
    /// Somebody else is at the other end.
    Stranger,
    /// The other side said goodbye.
    Closed,
    /// The handshake or the link broke.
    Failed,
    Wait(Time),
}

/// One DTLS connection. A failed one says so once and then nothing more.
pub(crate) struct Link {
    dtls: dimpl::Dtls,
    clock: Clock,
    expected: Fingerprint,
    client: bool,
    known: bool,
    failed: Option<bool>,
    buffer: Vec<u8>,
}

impl Link {
    pub(crate) fn new(of: &Of<'_>, clock: Clock, now: Time) -> Self {
        let (config, certificate) = (Arc::new(config()), of.certificate.for_dtls());
        let now = clock.instant(now);
        let mut dtls = match of.versions {
            Versions::Both => dimpl::Dtls::new_auto(config, certificate, now),
            Versions::Only12 => dimpl::Dtls::new_12(config, certificate, now),
            Versions::Only13 => dimpl::Dtls::new_13(config, certificate, now),
        };
        dtls.set_active(of.client);
        let mut link = Self {
            dtls,
            clock,
            expected: of.expected,
            client: of.client,
            known: false,
            failed: None,
            buffer: vec![0; RECORD_BYTES_MAX],
        };
        let begun = link.dtls.handle_timeout(now);
        link.note(begun);
        link
    }

    pub(crate) fn handle_datagram(&mut self, now: Time, datagram: &[u8]) {
        if self.failed.is_none() {
            let handled = self
                .dtls
                .handle_timeout(self.clock.instant(now))
                .and_then(|()| self.dtls.handle_packet(datagram));
            self.note(handled);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Time) {
        if self.failed.is_none() {
            let handled = self.dtls.handle_timeout(self.clock.instant(now));
            self.note(handled);
        }
    }

    pub(crate) fn send(&mut self, data: &[u8]) {
        if self.known && self.failed.is_none() {
            let sent = self.dtls.send_application_data(data);
            self.note(sent.map(drop));
        }
    }

    /// Says goodbye.
    pub(crate) fn close(&mut self) {
        if self.failed.is_none() {
            let closed = self.dtls.close();
            self.note(closed);
        }
    }

    fn note(&mut self, result: Result<(), dimpl::Error>) {
        if result.is_err() && self.failed.is_none() {
            self.failed = Some(false);
        }
    }

    pub(crate) fn poll_output(&mut self) -> Output {
        loop {
            match &mut self.failed {
                Some(said @ false) => {
                    *said = true;
                    return Output::Failed;
                }
                Some(true) => return Output::Wait(Time::MAX),
                None => {}
            }
            return match self.dtls.poll_output(&mut self.buffer) {
                dimpl::Output::Packet(bytes) => Output::Transmit(Bytes::copy_from_slice(bytes)),
                dimpl::Output::PeerCert(der) => {
                    self.known = Fingerprint::of(der) == self.expected;
                    if self.known {
                        continue;
                    }
                    self.failed = Some(true);
                    Output::Stranger
                }
                // Without a certificate there is nobody to be known.
                dimpl::Output::Connected if !self.known => {
                    self.failed = Some(true);
                    Output::Stranger
                }
                dimpl::Output::Connected => Output::Connected,
                dimpl::Output::KeyingMaterial(keys, profile) => Output::Keys(SrtpKeys {
                    profile: profile.to_string(),
                    material: Bytes::copy_from_slice(&keys),
                    client: self.client,
                }),
                dimpl::Output::ApplicationData(data) if self.known => {
                    Output::Data(Bytes::copy_from_slice(data))
                }
                dimpl::Output::CloseNotify => Output::Closed,
                dimpl::Output::BufferTooSmall { needed } => {
                    self.buffer.resize(needed, 0);
                    continue;
                }
                dimpl::Output::Timeout(next) => Output::Wait(self.clock.time(next)),
                _ => continue,
            };
        }
    }
}

impl core::fmt::Debug for Link {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Link").field("client", &self.client).finish_non_exhaustive()
    }
}

/// How handshakes are made.
pub(crate) fn config() -> dimpl::Config {
    dimpl::Config::builder()
        .mtu(DATAGRAM_BYTES_MAX)
        .flight_start_rto(RETRY)
        .flight_retries(RETRIES_MAX)
        .handshake_timeout(HANDSHAKE)
        // ICE has checked the way back: a cookie would cost a round trip and prove no more.
        .use_server_cookie(false)
        .build()
        .expect("these settings are valid")
}

/// Who speaks, and with whom.
pub(crate) struct Of<'a> {
    pub(crate) certificate: &'a Certificate,
    pub(crate) expected: Fingerprint,
    pub(crate) versions: Versions,
    pub(crate) client: bool,
}
