//! Connections that the engine hands over: bounded, spoken to in HTTP/1.1 or 2, ended in order.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::HeaderMap;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tower_service::Service as _;

use super::auth::Peer;
use crate::App;
use crate::egress::{Handover, HandoverIo};

/// How long open requests may still take when the server shuts down.
const DRAIN: Duration = Duration::from_secs(5);
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
                self.start(io, peer);
            }
        }
        self.drain().await;
    }

    async fn drain(&self) {
        let all = self.app.config.http.connections_max;
        let _ = timeout(DRAIN, self.places.acquire_many(all)).await;
    }

    /// Serves one connection in a task of its own, or closes it if there are too many.
    fn start(&self, socket: HandoverIo, peer: SocketAddr) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.app.metrics.http_refused_total.inc();
            return;
        };
        let this = self.clone();
        tokio::spawn(async move {
            let _place = place;
            this.connection(socket, peer).await;
        });
    }

    /// Serves one connection until either side ends it or the shutdown begins.
    pub async fn connection<S>(&self, socket: S, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let _held = self.app.metrics.http_connections.hold();
        let (app, router) = (self.app.clone(), self.router.clone());
        let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
            let from = client(request.headers(), peer.ip(), &app.config.http.proxies);
            request.extensions_mut().insert(Peer(from));
            request.extensions_mut().insert(ConnectInfo(SocketAddr::new(from, peer.port())));
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

/// Who asks: the newest address that proxies which we trust have seen, else the peer itself.
fn client(head: &HeaderMap, peer: IpAddr, proxies: &[IpAddr]) -> IpAddr {
    let trusted = |address: &IpAddr| proxies.contains(&address.to_canonical());
    if !trusted(&peer) {
        return peer;
    }
    let lines = head.get_all("x-forwarded-for").iter().rev();
    let seen = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.rsplit(','));
    let seen = seen.map_while(|text| text.trim().parse::<IpAddr>().ok());
    seen.into_iter().find(|address| !trusted(address)).unwrap_or(peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_say_who_asks() {
        let proxies = ["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        for (peer, forwarded, expected) in [
            ("192.0.2.1", &["198.51.100.1"][..], "192.0.2.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["forged, 192.0.2.9, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["192.0.2.9", "2001:db8::1"], "2001:db8::1"),
            ("10.0.0.1", &["192.0.2.9, nonsense"], "10.0.0.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
        ] {
            let mut head = HeaderMap::new();
            for line in forwarded {
                head.append("x-forwarded-for", line.parse().unwrap());
            }
            let found = client(&head, peer.parse().unwrap(), &proxies);
            assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{peer} {forwarded:?}");
        }
    }
}
