//! Where connections come from.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use rustls::ServerConfig;

/// A bound socket that every shard accepts from, in the clear or with TLS.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: TcpListener,
    pub(super) tls: Option<Arc<ServerConfig>>,
}

impl Listener {
    /// Connections that begin with a TLS handshake. What is agreed on by ALPN does not matter:
    /// a connection that turns out to speak HTTP/2 is handed over.
    #[must_use]
    pub fn tls(socket: TcpListener, config: Arc<ServerConfig>) -> Self {
        Self { socket, tls: Some(config) }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

impl From<TcpListener> for Listener {
    fn from(socket: TcpListener) -> Self {
        Self { socket, tls: None }
    }
}
