//! Who may administer: whoever shows the token.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use axum::http::{HeaderMap, header};

use super::reply::Fault;
use super::throttle::Throttle;
use crate::store::Store;
use crate::{App, Error};

const CONTEXT: &str = "psyne/streamr 2026 admin token at rest v1";
const SETTING: &str = "admin_token_hash";
/// Characters in the shortest token that a configuration may set.
const TOKEN_CHARS_MIN: usize = 16;

/// The other end of a connection; the server puts it into each request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// What is kept of the admin token: its hash.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminToken(blake3::Hash);

impl AdminToken {
    /// The token that counts: the configuration's, else the one whose hash is stored, else a new
    /// one, which is returned as text to be shown once.
    ///
    /// # Errors
    /// `Error::Config` if the configured token is too short, or what the store says.
    pub async fn establish(app: &App) -> Result<(Self, Option<String>), Error> {
        let configured = &app.config.admin.token;
        if !configured.is_empty() {
            if configured.chars().count() < TOKEN_CHARS_MIN {
                let fault = "admin.token is too short to be a secret: use 16 characters or more";
                return Err(Error::Config(fault.to_owned()));
            }
            return Ok((Self::of(configured), None));
        }
        let stored = app.store.setting(SETTING).await?;
        if let Some(hash) = stored.and_then(|hex| blake3::Hash::from_hex(hex).ok()) {
            return Ok((Self(hash), None));
        }
        let text = Self::replace(&*app.store).await?;
        Ok((Self::of(&text), Some(text)))
    }

    /// Makes a new token, keeps its hash and returns it, to be shown once. A running server goes
    /// on with the old one until it restarts.
    ///
    /// # Errors
    /// What the store says.
    pub async fn replace(store: &dyn Store) -> Result<String, Error> {
        let mut text = "adm_".to_owned();
        for byte in rand::random::<[u8; 20]>() {
            // Writing into a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        store.set_setting(SETTING, Self::of(&text).0.to_hex().as_str()).await?;
        Ok(text)
    }

    fn of(text: &str) -> Self {
        Self(blake3::Hash::from_bytes(blake3::derive_key(CONTEXT, text.as_bytes())))
    }
}

/// Lets the admin in, and slows guessers down.
pub(super) struct Guard {
    token: AdminToken,
    throttle: Mutex<Throttle>,
    keys: Mutex<Throttle>,
    offers: Mutex<Throttle>,
}

/// Offers that one address may make in a minute: a page that reconnects makes one a second at most,
/// and an office has many pages.
const OFFERS_MAX: u32 = 600;
/// Wrong stream keys that one address may show in a minute. Keys have 160 random bits; this keeps
/// guessers from the store.
const WRONG_KEYS_MAX: u32 = 60;

impl Guard {
    pub(super) fn new(token: AdminToken, wrong_max: u32) -> Self {
        let throttle = |max| Mutex::new(Throttle::new(max));
        Self {
            token,
            throttle: throttle(wrong_max),
            keys: throttle(WRONG_KEYS_MAX),
            offers: throttle(OFFERS_MAX),
        }
    }

    /// Whether an address may make another offer of a WebRTC session. This machine always may: a
    /// proxy in front of all is one address.
    pub(super) fn admit_offer(&self, peer: IpAddr) -> Result<(), Fault> {
        let now = Instant::now();
        let mut offers = self.offers.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if peer.is_loopback() {
            return Ok(());
        }
        if offers.is_blocked(peer, now) || keys.is_blocked(peer, now) {
            return Err(Fault::Throttled);
        }
        offers.wrong(peer, now);
        Ok(())
    }

    /// Somebody has shown a stream key that is none.
    pub(super) fn wrong_key(&self, peer: IpAddr) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.wrong(peer, Instant::now());
    }

    /// Whether the request carries the token. A request without one is no guess.
    pub(super) fn admit(
        &self,
        app: &App,
        peer: Option<Peer>,
        head: &HeaderMap,
    ) -> Result<(), Fault> {
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0);
        let now = Instant::now();
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        if throttle.is_blocked(peer, now) {
            return Err(Fault::Throttled);
        }
        let shown = head.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let shown =
            shown.and_then(|text| text.strip_prefix("Bearer ")).ok_or(Fault::Unauthorized)?;
        // `blake3::Hash` compares in constant time.
        if AdminToken::of(shown.trim()) == self.token {
            return Ok(());
        }
        throttle.wrong(peer, now);
        app.metrics.admin_refused_total.inc();
        tracing::warn!("wrong admin token");
        Err(Fault::Unauthorized)
    }
}
