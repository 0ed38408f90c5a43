//! Keys, certificates, and what they are called.

use std::fmt::{self, Debug, Display, Formatter};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::server::ParsedCertificate;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};

use crate::Error;

/// What a key is called: the SHA-256 of its SubjectPublicKeyInfo (as RFC 7469, 2.4), written as 64
/// hexadecimal digits. It stays when a certificate is renewed with the same key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of the key in a certificate.
    ///
    /// # Errors
    /// `Handshake`: it is no X.509 certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, Error> {
        let unread = |error: rustls::Error| Error::Handshake { why: error.to_string() };
        let parsed = ParsedCertificate::try_from(certificate).map_err(unread)?;
        Ok(Self(Sha256::digest(parsed.subject_public_key_info()).into()))
    }
}

impl FromStr for Fingerprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no fingerprint: write 64 hexadecimal digits");
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            let digits = text.get(2 * at..2 * at + 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl Display for Fingerprint {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl Debug for Fingerprint {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

/// A key and the certificates that go with it.
#[derive(Clone)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
    fingerprint: Fingerprint,
}

impl Identity {
    /// From PEM: the certificates, this side's first, and its private key.
    ///
    /// # Errors
    /// What can't be read, and why.
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, String> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
        let chain = chain.map_err(|error| format!("the certificate can't be read: {error}"))?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
        let key = key.map_err(|error| format!("the key can't be read: {error}"))?;
        Self::new(chain, key)
    }

    /// From two files of PEM.
    pub(super) fn read(chain: &str, key: &str) -> Result<Self, String> {
        let text = |file: &str| {
            std::fs::read_to_string(Path::new(file)).map_err(|error| format!("{file}: {error}"))
        };
        Self::from_pem(&text(chain)?, &text(key)?)
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, String> {
        let first = chain.first().ok_or("there is no certificate in it")?;
        let fingerprint = Fingerprint::of(first).map_err(|error| error.to_string())?;
        Ok(Self { chain, key: Arc::new(key), fingerprint })
    }

    /// A new Ed25519 key, with a certificate that it vouches for itself: for peers that know each
    /// other by fingerprint.
    ///
    /// # Errors
    /// The system gave no randomness.
    pub fn generate() -> Result<Self, String> {
        Self::certify(&rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(text)?)
    }

    /// The key in this PEM (PKCS #8), with a certificate that it vouches for itself: the same
    /// fingerprint each time.
    ///
    /// # Errors
    /// It is no private key.
    pub fn from_key(pem: &str) -> Result<Self, String> {
        Self::certify(&rcgen::KeyPair::from_pem(pem).map_err(text)?)
    }

    fn certify(key: &rcgen::KeyPair) -> Result<Self, String> {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        let params = rcgen::CertificateParams::new(names).map_err(text)?;
        let certificate = params.self_signed(key).map_err(text)?;
        let der = PrivateKeyDer::try_from(key.serialize_der()).map_err(str::to_owned)?;
        Self::new(vec![certificate.der().clone()], der)
    }

    /// What peers know it by.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Its own certificates, as those whom somebody else may trust.
    #[must_use]
    pub fn as_authorities(&self) -> Authorities {
        Authorities(Arc::new(self.chain.clone()))
    }

    pub(super) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }
}

impl Debug for Identity {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "Identity({})", self.fingerprint)
    }
}

fn text(error: rcgen::Error) -> String {
    error.to_string()
}

/// Certificates of those who vouch for others.
#[derive(Clone, Debug)]
pub struct Authorities(Arc<Vec<CertificateDer<'static>>>);

impl Authorities {
    /// From PEM.
    ///
    /// # Errors
    /// What can't be read, and why.
    pub fn from_pem(pem: &str) -> Result<Self, String> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        match read {
            Ok(none) if none.is_empty() => Err("there is no certificate in it".to_owned()),
            Ok(some) => Ok(Self(Arc::new(some))),
            Err(error) => Err(format!("the certificates can't be read: {error}")),
        }
    }

    pub(super) fn read(file: &str) -> Result<Self, String> {
        let pem = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
        Self::from_pem(&pem)
    }

    pub(super) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.0.iter().cloned());
        roots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_fingerprint_whatever_certificate_it_has() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
        let (one, two) = (Identity::from_key(&key).unwrap(), Identity::from_key(&key).unwrap());
        assert_eq!(one.fingerprint(), two.fingerprint());
        assert_ne!(one.fingerprint(), Identity::generate().unwrap().fingerprint());
        let text = one.fingerprint().to_string();
        assert_eq!((text.len(), text.parse()), (64, Ok(one.fingerprint())));
        assert_eq!(format!("{one:?}"), format!("Identity({text})"), "never the key");
    }

    #[test]
    fn what_is_no_key_or_fingerprint_is_refused() {
        for wrong in ["", "12", &"g".repeat(64), &"é".repeat(32)] {
            assert!(wrong.parse::<Fingerprint>().unwrap_err().contains("64 hexadecimal"));
        }
        assert!(Identity::from_pem("", "").is_err() && Identity::from_key("no").is_err());
        assert!(Authorities::from_pem("no").unwrap_err().contains("no certificate"));
    }
}
