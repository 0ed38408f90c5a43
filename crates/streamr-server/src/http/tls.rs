//! Certificates: from files, watched for changes, or made on the spot for development.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::CipherSuite::TLS13_AES_128_GCM_SHA256;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::signal::unix::{SignalKind, signal};

use crate::{Error, Shutdown, config};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(30);

/// The certificate that is in use; it can be replaced while connections come in.
#[derive(Debug)]
pub struct Certs {
    config: config::Tls,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certs {
    /// What the configuration says: the files, else a self-signed certificate if that is wanted,
    /// else nothing.
    ///
    /// # Errors
    /// `Error::Tls` says which file is wrong and how.
    pub fn load(config: &config::Tls) -> Result<Option<Arc<Self>>, Error> {
        let files = !config.cert_file.as_os_str().is_empty();
        if !files && !config.self_signed {
            return Ok(None);
        }
        let pair = if files { from_files(config)? } else { self_signed()? };
        let current = RwLock::new(Arc::new(pair));
        Ok(Some(Arc::new(Self { config: config.clone(), current })))
    }

    /// TLS 1.2 and 1.3 with this certificate; `protocols` for ALPN, best first: `h2`, `http/1.1`.
    ///
    /// # Panics
    /// Never: ring supports both versions.
    #[must_use]
    pub fn server_config(self: &Arc<Self>, protocols: &[&str]) -> Arc<ServerConfig> {
        let mut provider = ring::default_provider();
        // The fastest first: 10 rounds a block instead of 14, and nobody breaks either.
        provider.cipher_suites.sort_by_key(|suite| suite.suite() != TLS13_AES_128_GCM_SHA256);
        let builder = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .expect("ring supports TLS 1.2 and 1.3");
        let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::clone(self) as _);
        config.ignore_client_order = true;
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// Reads the files again. A pair that does not work is not used.
    ///
    /// # Errors
    /// `Error::Tls`, and the old certificate stays.
    pub fn reload(&self) -> Result<(), Error> {
        let fresh = Arc::new(from_files(&self.config)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// Reloads when the files change or SIGHUP comes, until the shutdown begins.
    pub async fn watch(self: Arc<Self>, shutdown: Shutdown) {
        if self.config.cert_file.as_os_str().is_empty() {
            return;
        }
        let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
        let mut seen = self.changed();
        loop {
            let asked = tokio::select! {
                () = tokio::time::sleep(LOOK) => false,
                _ = hangup.recv() => true,
                () = shutdown.begun() => return,
            };
            let now = self.changed();
            if !asked && now == seen {
                continue;
            }
            seen = now;
            match self.reload() {
                Ok(()) => tracing::info!("the TLS certificate was read again"),
                Err(error) => tracing::error!("the old TLS certificate stays in use: {error}"),
            }
        }
    }

    /// When the certificate expires, milliseconds since the Unix epoch.
    #[must_use]
    pub fn expires_unix_ms(&self) -> Option<u64> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let (_, cert) = x509_parser::parse_x509_certificate(current.cert.first()?).ok()?;
        let seconds = u64::try_from(cert.validity().not_after.timestamp()).ok()?;
        Some(seconds * 1_000)
    }

    fn changed(&self) -> [Option<SystemTime>; 2] {
        [&self.config.cert_file, &self.config.key_file]
            .map(|path| std::fs::metadata(path).and_then(|found| found.modified()).ok())
    }
}

impl ResolvesServerCert for Certs {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// The chain in a PEM file, the server's own certificate first.
///
/// # Errors
/// `Error::Tls` names the file and says what is wrong with it.
pub fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let wrong = |why: String| Error::Tls(format!("tls.cert_file {}: {why}", path.display()));
    let certs = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
    let certs: Result<Vec<_>, _> = certs.collect();
    match certs {
        Ok(certs) if certs.is_empty() => Err(wrong("there is no certificate in it".to_owned())),
        Ok(certs) => Ok(certs),
        Err(error) => Err(wrong(error.to_string())),
    }
}

fn from_files(config: &config::Tls) -> Result<CertifiedKey, Error> {
    let chain = chain(&config.cert_file)?;
    let path = config.key_file.display();
    let key = PrivateKeyDer::from_pem_file(&config.key_file)
        .map_err(|error| Error::Tls(format!("tls.key_file {path}: {error}")))?;
    pair(chain, key).map_err(|error| {
        Error::Tls(format!("the certificate and the key {path} do not go together: {error}"))
    })
}

fn self_signed() -> Result<CertifiedKey, Error> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names)
        .map_err(|error| Error::Tls(format!("cannot make a certificate: {error}")))?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    pair(vec![made.cert.der().clone()], key.into()).map_err(|error| Error::Tls(error.to_string()))
}

fn pair(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, rustls::Error> {
    let pair = CertifiedKey::from_der(chain, key, &ring::default_provider())?;
    pair.keys_match()?;
    Ok(pair)
}
