//! `tls://HOST:PORT`: frames over TLS 1.3, and who the two sides are.

mod identity;
mod verify;

use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::ServerName;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::Error;
use crate::channel::{self, Channel, Driver, Listener, Options, Wire};
use crate::serve::serve;
use crate::stream::{self, Alone, Halves, Side};
use crate::tcp;
use crate::uri::{Scheme, Uri};
pub use identity::{Authorities, Fingerprint, Identity};
use verify::Pinned;

/// Who this side is, and whom it trusts. Used by `tls://`, `wss://` and `p2p://`.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// What this side proves to be. A listener needs one (`?cert=FILE&key=FILE`); so do both sides
    /// of `p2p://`.
    pub identity: Option<Identity>,
    /// Who the other side may be, by the fingerprint of its key (`?pin=HEX`). None named: for who
    /// connects, whom an authority vouches for; for who listens, anybody.
    pub peers: Vec<Fingerprint>,
    /// Who vouches for names (`?ca=FILE`). None given: the public authorities of browsers.
    pub authorities: Option<Authorities>,
}

/// What may stand after `?` of who connects, and of who listens.
pub(crate) const CLIENT_KEYS: &[&str] = &["ca", "pin"];
pub(crate) const SERVER_KEYS: &[&str] = &["cert", "key", "pin"];

impl Tls {
    /// With what the URI adds.
    pub(crate) fn with(&self, uri: &Uri) -> Result<Self, Error> {
        let mut tls = self.clone();
        let wrong = |why: String| Error::Uri { uri: uri.to_string(), why };
        if let Some(pin) = uri.option("pin").or_else(|| uri.option("peer")) {
            tls.peers.push(pin.parse().map_err(wrong)?);
        }
        if let Some(file) = uri.option("ca") {
            tls.authorities = Some(Authorities::read(file).map_err(wrong)?);
        }
        match (uri.option("cert"), uri.option("key")) {
            (None, None) => {}
            (Some(chain), Some(key)) => {
                tls.identity = Some(Identity::read(chain, key).map_err(wrong)?);
            }
            _ => return Err(wrong("cert and key go together".to_owned())),
        }
        Ok(tls)
    }

    pub(crate) fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<ClientConfig, Error> {
        let provider = provider();
        let verifier: Arc<dyn ServerCertVerifier> = if self.peers.is_empty() {
            let roots = self.authorities.as_ref().map_or_else(public, Authorities::roots);
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .build()
                .map_err(|error| Error::Unsupported(error.to_string()))?
        } else {
            Arc::new(Pinned::new(self.peers.clone(), provider.clone()))
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(refused)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        match &self.identity {
            None => Ok(builder.with_no_client_auth()),
            Some(identity) => builder
                .with_client_auth_cert(identity.chain().to_vec(), identity.key())
                .map_err(refused),
        }
    }

    pub(crate) fn server(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<ServerConfig, Error> {
        if self.peers.is_empty() {
            return self.server_for(versions, WebPkiClientVerifier::no_client_auth());
        }
        self.server_of_keys(versions)
    }

    /// The same for peers who must prove a key: one of those that are named, or any.
    pub(crate) fn server_of_keys(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<ServerConfig, Error> {
        self.server_for(versions, Arc::new(Pinned::new(self.peers.clone(), provider())))
    }

    fn server_for(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        verifier: Arc<dyn ClientCertVerifier>,
    ) -> Result<ServerConfig, Error> {
        let Some(identity) = &self.identity else {
            let why =
                "a listener needs a certificate: Options::tls.identity, or ?cert=FILE&key=FILE";
            return Err(Error::Options(why));
        };
        ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .map_err(refused)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(identity.chain().to_vec(), identity.key())
            .map_err(refused)
    }
}

/// X25519MLKEM768 first: what is recorded today is not read by tomorrow's quantum computer.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    let hybrid = rustls::NamedGroup::X25519MLKEM768;
    provider.kx_groups.sort_by_key(|group| group.name() != hybrid);
    Arc::new(provider)
}

fn public() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}

fn refused(error: rustls::Error) -> Error {
    Error::Unsupported(format!("the certificate or the options of TLS are of no use: {error}"))
}

/// Whom a certificate must name.
pub(crate) fn server_name(uri: &Uri) -> Result<ServerName<'static>, Error> {
    let wrong = |why: &str| Error::Uri { uri: uri.to_string(), why: why.to_owned() };
    let authority = uri.authority();
    let (host, _) = authority.rsplit_once(':').ok_or_else(|| wrong("write HOST:PORT"))?;
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(address.into());
    }
    ServerName::try_from(host.to_owned()).map_err(|_| wrong("the host is no name"))
}

pub(crate) fn connect(uri: &Uri, options: &Options) -> Result<(Channel, Driver), Error> {
    uri.allow(CLIENT_KEYS)?;
    let dialer = Dialer::new(uri, options, &[&TLS13])?;
    let (channel, wire) = channel::pair(options)?;
    let driver = Driver::new(async move {
        match dialer.dial(&wire).await {
            Ok(stream) => stream::carry(wire, halves(stream), Side::Client).await,
            Err(error) => wire.end(error),
        }
    });
    Ok((channel, driver))
}

pub(crate) async fn listen(uri: &Uri, options: &Options) -> Result<(Listener, Driver), Error> {
    uri.allow(SERVER_KEYS)?;
    let shaker = Shaker::new(uri, options, &[&TLS13])?;
    let (uri, source) = tcp::bind(uri, options).await?;
    Ok(serve(uri, options, source, move |stream, wire| {
        let shaker = shaker.clone();
        async move {
            match shaker.accept(stream, &wire).await {
                Ok(stream) => stream::greet(wire, halves(stream), Side::Server).await,
                Err(error) => {
                    wire.end(error);
                    None
                }
            }
        }
    }))
}

/// Connects by TLS.
pub(crate) struct Dialer {
    uri: Uri,
    name: ServerName<'static>,
    connector: TlsConnector,
}

impl Dialer {
    pub(crate) fn new(
        uri: &Uri,
        options: &Options,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Self, Error> {
        let config = options.tls.with(uri)?.client(versions)?;
        let (name, connector) = (server_name(uri)?, TlsConnector::from(Arc::new(config)));
        Ok(Self { uri: uri.clone(), name, connector })
    }

    pub(crate) async fn dial(&self, wire: &Wire) -> Result<TlsStream<TcpStream>, Error> {
        let stream = tcp::dial(&self.uri, wire).await?;
        let shaking = self.connector.connect(self.name.clone(), stream);
        let shaken = timeout(wire.options().handshake_timeout, shaking).await;
        shaken.map_or(Err(Error::TimedOut), |done| done.map_err(strange)).map(Into::into)
    }
}

/// Accepts by TLS.
#[derive(Clone)]
pub(crate) struct Shaker(TlsAcceptor);

impl Shaker {
    pub(crate) fn new(
        uri: &Uri,
        options: &Options,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Self, Error> {
        let config = options.tls.with(uri)?.server(versions)?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        wire: &Wire,
    ) -> Result<TlsStream<TcpStream>, Error> {
        let shaken = timeout(wire.options().handshake_timeout, self.0.accept(stream)).await;
        shaken.map_or(Err(Error::TimedOut), |done| done.map_err(strange)).map(Into::into)
    }
}

fn strange(error: std::io::Error) -> Error {
    Error::Handshake { why: error.to_string() }
}

fn halves(
    stream: TlsStream<TcpStream>,
) -> Halves<ReadHalf<TlsStream<TcpStream>>, WriteHalf<TlsStream<TcpStream>>> {
    let path = path(Scheme::Tls, &stream);
    let (reader, writer) = tokio::io::split(stream);
    Halves { reader, writer, path, beside: Alone }
}

/// Where a stream goes, and who is there.
pub(crate) fn path(scheme: Scheme, stream: &TlsStream<TcpStream>) -> channel::Path {
    let (socket, session) = stream.get_ref();
    let peer = session.peer_certificates().and_then(|chain| Fingerprint::of(chain.first()?).ok());
    channel::Path { peer, ..tcp::path(scheme, socket) }
}
