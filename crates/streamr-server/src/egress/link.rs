//! A connection as it comes from elsewhere, or goes there.

use std::net::TcpStream;

use rustls::ServerConnection;

/// A socket, and the TLS session that its bytes belong to if there is one. The session may hold
/// bytes in both directions: nothing is lost when it changes hands.
#[derive(Debug)]
pub struct Link {
    /// The socket.
    pub socket: TcpStream,
    /// The server's side of the session.
    pub session: Option<Box<ServerConnection>>,
}

impl From<TcpStream> for Link {
    fn from(socket: TcpStream) -> Self {
        Self { socket, session: None }
    }
}
