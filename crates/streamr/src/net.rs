//! Connections that the command opens: plain or by TLS.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A byte stream to a server.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Socket for T {}

/// How servers are reached.
#[derive(Clone)]
pub(crate) struct Dialer {
    tls: TlsConnector,
}

/// For the TCP and the TLS handshake each.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

impl Dialer {
    /// Trusts the public authorities, and the certificates of the PEM file `extra`.
    pub(crate) fn new(extra: Option<&Path>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        if let Some(path) = extra {
            let name = path.display();
            for certificate in CertificateDer::pem_file_iter(path)
                .with_context(|| format!("{name} cannot be read as PEM"))?
            {
                roots.add(certificate?).with_context(|| format!("{name} holds no certificate"))?;
            }
        }
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Opens a connection.
    pub(crate) async fn dial(&self, host: &str, port: u16, tls: bool) -> Result<Box<dyn Socket>> {
        let connect = TcpStream::connect((host, port));
        let socket = match tokio::time::timeout(DIAL_TIMEOUT, connect).await {
            Ok(socket) => socket.with_context(|| format!("cannot connect to {host}:{port}"))?,
            Err(_) => bail!("{host}:{port} does not answer: is it up, is the port open?"),
        };
        socket.set_nodelay(true)?;
        if !tls {
            return Ok(Box::new(socket));
        }
        let name = ServerName::try_from(host.to_owned())
            .with_context(|| format!("{host} is no name for a certificate"))?;
        match tokio::time::timeout(DIAL_TIMEOUT, self.tls.connect(name, socket)).await {
            Ok(socket) => Ok(Box::new(socket.with_context(|| {
                format!("{host}:{port}: TLS failed; for a self-signed certificate give --ca FILE")
            })?)),
            Err(_) => bail!("{host}:{port} does not finish the TLS handshake"),
        }
    }
}
