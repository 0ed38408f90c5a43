//! Credentials that live for a while: who may join which group, and who may use a TURN server.

use core::fmt::{self, Debug, Formatter};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::Sha256;

use super::{Name, Refusal};

/// What a token begins with; a change of its form changes this.
const PREFIX: &str = "psyne1.";
/// Bytes of the longest token: three names, a time and the seal.
const TOKEN_BYTES_MAX: usize = 512;

/// What hub and whoever makes tokens share.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Bytes of the shortest secret: 128 bits, if they are random.
    pub const BYTES_MIN: usize = 16;

    /// These bytes, or nothing if they are too few to keep a secret.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (bytes.len() >= Self::BYTES_MIN).then(|| Self(bytes.to_vec()))
    }
}

impl Debug for Secret {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(…)")
    }
}

/// Who may join which group until when.
///
/// Whoever holds a sealed ticket may use it until it expires, as often as they like: it is
/// short-lived instead of single-use, because a member that lost its connection comes back with the
/// same one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// On whose account.
    pub user: Name,
    /// Which group.
    pub group: Name,
    /// By which name only; by any if none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Name>,
    /// The first Unix second at which it no longer holds.
    pub expires_unix_s: u64,
}

impl Ticket {
    /// As a token: `psyne1.` and the ticket as JSON, then `.` and HMAC-SHA256 of all before (RFC
    /// 2104), both in base64 for URLs (RFC 4648, 5).
    #[must_use]
    pub fn seal(&self, secret: &Secret) -> String {
        let json = serde_json::to_vec(self).expect("names and a number always become JSON");
        let body = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(json));
        let seal = mac(secret, &body).finalize().into_bytes();
        format!("{body}.{}", URL_SAFE_NO_PAD.encode(seal))
    }

    /// Reads a token that was made with this secret. The seal is checked first, in a time that does
    /// not hang on where it differs.
    ///
    /// # Errors
    /// [`Refusal::Token`] if it was not, [`Refusal::Expired`] if it is too old.
    pub fn open(token: &str, secret: &Secret, now_unix_s: u64) -> Result<Self, Refusal> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::Token);
        }
        let (body, seal) = token.rsplit_once('.').ok_or(Refusal::Token)?;
        let seal = URL_SAFE_NO_PAD.decode(seal).map_err(|_| Refusal::Token)?;
        mac(secret, body).verify_slice(&seal).map_err(|_| Refusal::Token)?;
        let json = body.strip_prefix(PREFIX).ok_or(Refusal::Token)?;
        let json = URL_SAFE_NO_PAD.decode(json).map_err(|_| Refusal::Token)?;
        let ticket: Self = serde_json::from_slice(&json).map_err(|_| Refusal::Token)?;
        if ticket.expires_unix_s <= now_unix_s { Err(Refusal::Expired) } else { Ok(ticket) }
    }
}

fn mac(secret: &Secret, body: &str) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(&secret.0).expect("HMAC takes keys of any length");
    mac.chain_update(body.as_bytes())
}

/// The password of a TURN user name `expiry:user`, as coturn (`use-auth-secret`) and others know it
/// (draft-uberti-behave-turn-rest-00): HMAC-SHA1 of the name, in base64.
#[must_use]
pub fn turn_password(secret: &Secret, username: &str) -> String {
    let mac = Hmac::<Sha1>::new_from_slice(&secret.0).expect("HMAC takes keys of any length");
    STANDARD.encode(mac.chain_update(username.as_bytes()).finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Secret {
        Secret::new(b"0123456789abcdef").unwrap()
    }

    fn ticket() -> Ticket {
        let name = |text: &str| text.parse().unwrap();
        Ticket { user: name("u"), group: name("g"), peer: None, expires_unix_s: 100 }
    }

    #[test]
    fn a_sealed_ticket_opens_until_it_expires() {
        let token = ticket().seal(&secret());
        assert_eq!(Ticket::open(&token, &secret(), 99), Ok(ticket()));
        assert_eq!(Ticket::open(&token, &secret(), 100), Err(Refusal::Expired));
        let whole = Name::try_from("x".repeat(Name::BYTES_MAX)).unwrap();
        let (user, group, peer) = (whole.clone(), whole.clone(), Some(whole));
        let longest = Ticket { user, group, peer, expires_unix_s: u64::MAX };
        assert_eq!(Ticket::open(&longest.seal(&secret()), &secret(), 0), Ok(longest));
    }

    #[test]
    fn a_token_that_differs_in_any_character_or_was_made_by_others_is_refused() {
        let token = ticket().seal(&secret());
        let open = |token: &str| Ticket::open(token, &secret(), 0);
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(open(&String::from_utf8(bytes).unwrap()), Err(Refusal::Token), "at {at}");
            assert_eq!(open(&token[..at]), Err(Refusal::Token), "cut at {at}");
        }
        let others = ticket().seal(&Secret::new(&[7; 16]).unwrap());
        for token in ["", ".", "psyne1..", &others, &format!("{token}A"), &"A".repeat(9_999)] {
            assert_eq!(open(token), Err(Refusal::Token), "{token:.40}");
        }
    }

    #[test]
    fn turn_passwords_are_those_of_coturn() {
        // printf 1700000000:alice | openssl dgst -sha1 -hmac 0123456789abcdef -binary | base64
        let password = turn_password(&secret(), "1700000000:alice");
        assert_eq!(password, "QmpguVhgm8LJZp0MkvqhyKEkXps=");
    }

    #[test]
    fn a_secret_is_long_enough_and_not_shown() {
        assert_eq!(Secret::new(&[0; Secret::BYTES_MIN - 1]), None);
        assert_eq!(format!("{:?}", secret()), "Secret(…)");
    }
}
