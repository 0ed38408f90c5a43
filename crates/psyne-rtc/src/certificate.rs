//! Who is at the other end: self-signed certificates, known by their fingerprints.

use core::fmt;

use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::pkcs8::EncodePrivateKey as _;
use sha2::{Digest, Sha256};

use crate::Error;
use crate::secret::{Secrets, Seed};

/// SHA-256 over a certificate's DER (RFC 8122 §5).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a certificate in DER.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }

    /// Reads what stands behind `a=fingerprint:`, such as `sha-256 AB:CD:…`.
    ///
    /// # Errors
    /// It is of another hash, or not 32 bytes in hex with colons.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let malformed = Error::Malformed { what: "a fingerprint" };
        let (hash, hex) = text.trim().split_once(' ').ok_or(malformed.clone())?;
        if !hash.eq_ignore_ascii_case("sha-256") {
            return Err(Error::Unsupported { what: "a fingerprint other than sha-256" });
        }
        let mut bytes = [0; 32];
        let mut pairs = hex.trim().split(':');
        for byte in &mut bytes {
            let pair = pairs.next().filter(|pair| pair.len() == 2).ok_or(malformed.clone())?;
            let digits = pair.bytes().all(|digit| digit.is_ascii_hexdigit());
            let value = u8::from_str_radix(pair, 16).ok().filter(|_| digits);
            *byte = value.ok_or(malformed.clone())?;
        }
        if pairs.next().is_some() { Err(malformed) } else { Ok(Self(bytes)) }
    }
}

/// As it stands in SDP: `sha-256 AB:CD:…`.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha-256 ")?;
        for (i, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02X}", if i == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint")
    }
}

/// A certificate and its key: ECDSA on P-256, as browsers make theirs. It says nothing but its key;
/// the other side believes it because signaling brought its fingerprint (RFC 8827 §6.5).
#[derive(Clone)]
pub struct Certificate {
    der: Vec<u8>,
    key: Vec<u8>,
}

impl Certificate {
    /// Makes one from a secret seed; the same seed makes the same. May be kept for many sessions,
    /// which then know each other to be of the same peer.
    #[must_use]
    pub fn generate(seed: Seed) -> Self {
        let mut secrets = Secrets::new(seed);
        let key = loop {
            // One in 2^32 blocks is no key of the curve.
            if let Ok(key) = SigningKey::from_slice(&secrets.block()) {
                break key;
            }
        };
        let body = body(&key, &secrets.block());
        let signature: DerSignature = key.sign(&body);
        let signature = [&[0][..], signature.as_bytes()].concat();
        let der = sequence(&[&body, &algorithm(), &tagged(0x03, &signature)]);
        let key = key.to_pkcs8_der().expect("a key that was just made has an encoding");
        Self { der, key: key.as_bytes().to_vec() }
    }

    /// What goes into the description.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.der)
    }

    pub(crate) fn for_dtls(&self) -> dimpl::DtlsCertificate {
        dimpl::DtlsCertificate { certificate: self.der.clone(), private_key: self.key.clone() }
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate")
    }
}

/// `TBSCertificate` (RFC 5280 §4.1), version 1: without extensions there is nothing else to say.
/// It never expires (§4.1.2.5): no side looks, and no side has a clock.
fn body(key: &SigningKey, random: &[u8; 32]) -> Vec<u8> {
    const EC_PUBLIC_KEY: &[u8] = &[0x06, 7, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 2, 1];
    const P256: &[u8] = &[0x06, 8, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 3, 1, 7];
    const COMMON_NAME: &[u8] = &[0x06, 3, 0x55, 4, 3];
    // A serial number is positive, of at most 20 bytes, and another for each certificate.
    let mut serial = random[..16].to_vec();
    serial[0] = serial[0] & 0x7F | 0x40;
    let name = sequence(&[COMMON_NAME, &tagged(0x0C, b"psyne")]);
    let name = tagged(0x30, &tagged(0x31, &name));
    let validity = [tagged(0x17, b"000101000000Z"), tagged(0x18, b"99991231235959Z")];
    let point = key.verifying_key().to_sec1_point(false);
    let point = tagged(0x03, &[&[0][..], point.as_bytes()].concat());
    let public = sequence(&[&sequence(&[EC_PUBLIC_KEY, P256]), &point]);
    let validity = sequence(&[&validity[0], &validity[1]]);
    sequence(&[&tagged(0x02, &serial), &algorithm(), &name, &validity, &name, &public])
}

/// ecdsa-with-SHA256 (RFC 5758 §3.2).
fn algorithm() -> Vec<u8> {
    tagged(0x30, &[0x06, 8, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 4, 3, 2])
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tagged(0x30, &parts.concat())
}

/// A DER value with its tag and length.
fn tagged(tag: u8, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(value.len()).expect("no part of a certificate is longer");
    let [high, low] = len.to_be_bytes();
    let header = match len {
        0..=127 => vec![tag, low],
        128..=255 => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [header.as_slice(), value].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_as_they_are_written() {
        let print = Certificate::generate([7; 32]).fingerprint();
        assert_eq!(Fingerprint::parse(&print.to_string()), Ok(print));
        assert_eq!(Fingerprint::parse(&print.to_string().to_lowercase()), Ok(print));
        assert_ne!(Certificate::generate([8; 32]).fingerprint(), print);
        assert_eq!(Certificate::generate([7; 32]).fingerprint(), print);
        let long = format!("{print}:00");
        let signed = print.to_string().replacen(':', ":+", 1);
        for bad in ["", "sha-256", "sha-256 ", "sha-256 AB:CD", "sha-1 AB", &long, &signed] {
            assert!(Fingerprint::parse(bad).is_err(), "{bad}");
        }
    }
}
