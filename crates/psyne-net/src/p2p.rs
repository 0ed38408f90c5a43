//! `p2p://HOST:PORT?peer=FINGERPRINT`: between native peers, by QUIC (RFC 9000), both of which
//! prove their keys. Reliable messages go by one stream, framed as over TCP; unreliable and
//! unordered ones by datagrams (RFC 9221). docs/decisions/0090 says why QUIC, and what of it.

mod nursery;
#[cfg(test)]
mod sim;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use quinn::congestion::BbrConfig;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connecting, Connection, ConnectionError, Endpoint, EndpointConfig, IdleTimeout,
    RecvStream, SendStream, ServerConfig, TransportConfig, VarInt,
};
use rustls::version::TLS13;
use rustls_pki_types::CertificateDer;
use tokio::time::timeout;

use crate::Error;
use crate::channel::{self, Channel, Driver, Listener, Message, Options, Path, Reliability, Wire};
use crate::frame::{Frame, MESSAGE_BYTES_MAX};
use crate::serve::{Source, serve};
use crate::stream::{self, Beside, Halves, Side};
use crate::tls::{Fingerprint, Identity, Tls};
use crate::uri::{Scheme, Uri};
use nursery::nursery;

const ALPN: &[u8] = b"psyne/1";
/// Keys say who a peer is; the name says nothing.
const NAME: &str = "psyne";
/// How long a side waits for the other's last word after its own.
const PATIENCE: Duration = Duration::from_secs(1);
/// What a peer may have under way on its stream: 200 Mbit/s at 100 ms.
const STREAM_BYTES_MAX: u32 = 2_500_000;
/// Datagrams that wait in either direction.
const DATAGRAM_BYTES_MAX: usize = 1 << 20;

pub(crate) fn connect(uri: &Uri, options: &Options) -> Result<(Channel, Driver), Error> {
    uri.allow(&["peer"])?;
    options.check()?;
    let tls = with_key(uri, options)?;
    if tls.peers.is_empty() {
        let why = format!("say whom to expect: {uri}?peer=FINGERPRINT, as its listener's uri says");
        return Err(Error::Uri { uri: uri.to_string(), why });
    }
    let (channel, wire) = channel::pair(options)?;
    let mut crypto = tls.client(&[&TLS13])?;
    crypto.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = QuicClientConfig::try_from(crypto).map_err(no_suite)?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport(options)));
    let uri = uri.clone();
    let driver = Driver::new(async move {
        let (nursery, tended) = nursery();
        let work = async move {
            match dial(&uri, &wire, config, nursery).await {
                Ok((endpoint, connection)) => {
                    match halves(connection.open_bi().await, &endpoint, &connection) {
                        Ok(halves) => stream::carry(wire, halves, Side::Client).await,
                        Err(error) => wire.end(strange(&error)),
                    }
                    linger(&connection).await;
                    drop(connection);
                    drop(timeout(PATIENCE, endpoint.wait_idle()).await);
                }
                Err(error) => wire.end(error),
            }
        };
        tokio::select! {
            () = work => {}
            () = tended => {}
        }
    });
    Ok((channel, driver))
}

pub(crate) fn listen(uri: &Uri, options: &Options) -> Result<(Listener, Driver), Error> {
    uri.allow(&["peer"])?;
    options.check()?;
    let tls = with_key(uri, options)?;
    let key = tls.identity.as_ref().map(Identity::fingerprint);
    let mut crypto = tls.server_of_keys(&[&TLS13])?;
    crypto.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = QuicServerConfig::try_from(crypto).map_err(no_suite)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport(options))).max_incoming(options.handshakes_max);
    let failed = |error: io::Error| Error::Listen { uri: uri.to_string(), why: error.to_string() };
    let socket = UdpSocket::bind(uri.authority()).map_err(failed)?;
    let (nursery, tended) = nursery();
    let endpoint = Endpoint::new(EndpointConfig::default(), Some(config), socket, nursery);
    let endpoint = endpoint.map_err(failed)?;
    let at = uri.moved(&endpoint.local_addr().map_err(failed)?);
    let at = key.map_or(at.clone(), |key| at.with("peer", &key));
    let source = Incoming(endpoint.clone());
    let (listener, serving) = serve(at, options, source, move |connecting, wire| {
        welcome(connecting, endpoint.clone(), wire)
    });
    // Channels outlive their listener: the socket is theirs, too.
    let driver = Driver::new(async {
        tokio::join!(serving, tended);
    });
    Ok((listener, driver))
}

/// With the URI's peer and a key: one that is not given is made up for this once.
fn with_key(uri: &Uri, options: &Options) -> Result<Tls, Error> {
    let mut tls = options.tls.with(uri)?;
    if tls.identity.is_none() {
        tls.identity = Some(Identity::generate().map_err(Error::Unsupported)?);
    }
    Ok(tls)
}

fn no_suite(error: impl std::fmt::Display) -> Error {
    Error::Unsupported(format!("QUIC needs TLS 1.3 with AES-128-GCM: {error}"))
}

/// How QUIC is used: one stream, datagrams, BBR.
fn transport(options: &Options) -> TransportConfig {
    let mut config = TransportConfig::default();
    let idle = IdleTimeout::try_from(options.keepalive.dead_after).ok();
    config
        .congestion_controller_factory(Arc::new(BbrConfig::default()))
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_BYTES_MAX))
        .receive_window(VarInt::from_u32(STREAM_BYTES_MAX))
        .send_window(u64::from(STREAM_BYTES_MAX))
        .datagram_receive_buffer_size(Some(DATAGRAM_BYTES_MAX))
        .datagram_send_buffer_size(DATAGRAM_BYTES_MAX)
        .max_idle_timeout(idle);
    config
}

async fn dial(
    uri: &Uri,
    wire: &Wire,
    config: ClientConfig,
    nursery: Arc<dyn quinn::Runtime>,
) -> Result<(Endpoint, Connection), Error> {
    let limit = wire.options().handshake_timeout;
    let failed = |why: String| Error::Connect { uri: uri.to_string(), why };
    let words = |error: io::Error| failed(error.to_string());
    let there = tokio::net::lookup_host(uri.authority()).await.map_err(words)?.next();
    let there = there.ok_or_else(|| failed("the name has no address".to_owned()))?;
    let any: SocketAddr = match there {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).map_err(words)?;
    let endpoint = Endpoint::new(EndpointConfig::default(), None, socket, nursery);
    let endpoint = endpoint.map_err(words)?;
    let connecting = endpoint.connect_with(config, there, NAME);
    let connecting = connecting.map_err(|error| failed(error.to_string()))?;
    match timeout(limit, connecting).await {
        Ok(Ok(connection)) => Ok((endpoint, connection)),
        Ok(Err(ConnectionError::TimedOut)) => Err(failed("nobody answered".to_owned())),
        Ok(Err(error)) => Err(strange(&error)),
        Err(_) => Err(failed(format!("nobody answered in {limit:?}"))),
    }
}

/// Connections that arrive, from addresses that were seen to be theirs.
struct Incoming(Endpoint);

impl Source for Incoming {
    type Stream = Connecting;

    async fn accept(&self) -> io::Result<Connecting> {
        while let Some(incoming) = self.0.accept().await {
            if incoming.may_retry() && !incoming.remote_address_validated() {
                // Nothing is kept, and less is sent than came, until the address is proven.
                drop(incoming.retry());
            } else if let Ok(connecting) = incoming.accept() {
                return Ok(connecting);
            }
        }
        core::future::pending().await
    }
}

async fn welcome(connecting: Connecting, endpoint: Endpoint, wire: Wire) -> Option<Driver> {
    let limit = wire.options().handshake_timeout;
    let shaken = timeout(limit, async {
        let connection = connecting.await?;
        Ok((connection.accept_bi().await, connection))
    });
    match shaken.await {
        Ok(Ok((streams, connection))) => {
            let halves = halves(streams, &endpoint, &connection);
            let halves = halves.map_err(|error| strange(&error));
            let driver = match halves {
                Ok(halves) => stream::greet(wire, halves, Side::Server).await?,
                Err(error) => {
                    wire.end(error);
                    return None;
                }
            };
            return Some(Driver::new(async move {
                driver.await;
                linger(&connection).await;
            }));
        }
        Ok(Err(error)) => wire.end(strange(&error)),
        Err(_) => wire.end(Error::TimedOut),
    }
    None
}

/// Waits for what was said last to arrive. To let the connection go ends it.
async fn linger(connection: &Connection) {
    drop(timeout(PATIENCE, connection.closed()).await);
}

fn strange(error: &ConnectionError) -> Error {
    Error::Handshake { why: error.to_string() }
}

fn halves(
    streams: Result<(SendStream, RecvStream), ConnectionError>,
    endpoint: &Endpoint,
    connection: &Connection,
) -> Result<Halves<RecvStream, SendStream, Datagrams>, ConnectionError> {
    let (writer, reader) = streams?;
    let local = endpoint.local_addr().map_or_else(|_| String::new(), |at| at.to_string());
    let path = Path::direct(Scheme::P2p, local, connection.remote_address());
    let path = Path { peer: key_of(connection), ..path };
    Ok(Halves { reader, writer, path, beside: Datagrams(connection.clone()) })
}

fn key_of(connection: &Connection) -> Option<Fingerprint> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    Fingerprint::of(chain.first()?).ok()
}

/// Messages that may be lost, and overtake each other.
struct Datagrams(Connection);

impl Beside for Datagrams {
    fn bytes_max(&self, wire: &Wire) -> Option<usize> {
        let delivery = wire.options().delivery;
        let may_be_lost = !delivery.ordered && delivery.reliability != Reliability::Reliable;
        // One byte says what the message is.
        may_be_lost.then(|| self.0.max_datagram_size().map_or(0, |bytes| bytes.saturating_sub(1)))
    }

    async fn send(&self, message: Message) -> io::Result<()> {
        let mut datagram = BytesMut::with_capacity(message.len() + 1);
        Frame::Message(message).encode_datagram(&mut datagram);
        match self.0.send_datagram_wait(datagram.freeze()).await {
            // The path has become narrower: that is a loss.
            Ok(()) | Err(quinn::SendDatagramError::TooLarge) => Ok(()),
            Err(error) => Err(io::Error::other(error.to_string())),
        }
    }

    async fn read(&self, wire: &Wire) {
        let bytes_max = wire.options().message_bytes_max.min(MESSAGE_BYTES_MAX);
        while let Ok(datagram) = self.0.read_datagram().await {
            match Frame::decode_datagram(datagram, bytes_max) {
                Ok(Frame::Message(message)) => drop(wire.put(message)),
                _ => wire.gauge().refused(1),
            }
        }
        // The stream knows why.
        core::future::pending::<()>().await;
    }
}
