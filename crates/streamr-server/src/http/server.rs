//! Connections: accepted, bounded, spoken to in HTTP/1.1 or HTTP/2, ended in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower_service::Service as _;

use super::auth::Peer;
use crate::App;
use crate::egress::Handover;

/// How long open requests may still take when the server shuts down.
const DRAIN: Duration = Duration::from_secs(5);
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Requests at once on one HTTP/2 connection: a page asks for tens.
const H2_STREAMS_MAX: u32 = 128;

/// Serves connections. Cheap to clone; clones share the limit of connections.
#[derive(Clone)]
pub struct Server {
    app: App,
    router: Router,
    places: Arc<Semaphore>,
}

impl Server {
    /// A server that answers by `router`.
    #[must_use]
    pub fn new(app: App, router: Router) -> Self {
        let places = Arc::new(Semaphore::new(app.config.http.connections_max as usize));
        Self { app, router, places }
    }

    /// Accepts TLS connections until the shutdown begins, then waits a little for what is open.
    pub async fn accept(&self, listener: TcpListener, tls: TlsAcceptor) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.app.shutdown.begun() => break,
            };
            match accepted {
                Ok((socket, peer)) => {
                    let _ = socket.set_nodelay(true);
                    self.start(socket, peer, Some(tls.clone()));
                }
                Err(error) => {
                    // Out of file descriptors, mostly: waiting lets others close.
                    tracing::warn!("cannot accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(listener);
        self.drain().await;
    }

    /// Serves what the egress engine does not, until the shutdown begins; then waits a little for
    /// what is open.
    pub async fn take(&self, mut handovers: mpsc::Receiver<Handover>) {
        loop {
            let handover = tokio::select! {
                handover = handovers.recv() => handover,
                () = self.app.shutdown.begun() => break,
            };
            let Some(handover) = handover else { break };
            // Fails if the peer is gone by now.
            if let Ok(peer) = handover.peer_addr()
                && let Ok(io) = handover.into_io()
            {
                self.start(io, peer, None);
            }
        }
        self.drain().await;
    }

    async fn drain(&self) {
        let all = self.app.config.http.connections_max;
        let _ = timeout(DRAIN, self.places.acquire_many(all)).await;
    }

    /// Serves one connection in a task of its own, or closes it if there are too many.
    fn start<S>(&self, socket: S, peer: SocketAddr, tls: Option<TlsAcceptor>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.app.metrics.http_refused_total.inc();
            return;
        };
        let this = self.clone();
        tokio::spawn(async move {
            let _place = place;
            match tls {
                None => this.connection(socket, peer).await,
                Some(tls) => match timeout(HANDSHAKE, tls.accept(socket)).await {
                    Ok(Ok(socket)) => this.connection(socket, peer).await,
                    Ok(Err(_)) | Err(_) => this.app.metrics.tls_failed_total.inc(),
                },
            }
        });
    }

    /// Serves one connection until either side ends it or the shutdown begins.
    pub async fn connection<S>(&self, socket: S, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let _held = self.app.metrics.http_connections.hold();
        let router = self.router.clone();
        let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer.ip()));
            router.clone().call(request.map(Body::new))
        });
        let header_timeout = Duration::from_millis(self.app.config.http.header_timeout_ms.into());
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(header_timeout);
        builder.http2().timer(TokioTimer::new()).max_concurrent_streams(H2_STREAMS_MAX);
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(socket), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.app.shutdown.begun() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!("a connection ended: {error}");
        }
    }
}
