//! Players of RTMP and RTMPS: handed to the egress engine.

use std::io;
use std::sync::Arc;

use futures_util::FutureExt as _;
use streamr_media::rtmp::Parts;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::{Context, Socket};
use crate::egress::Link;
use crate::live::Broadcast;

/// A connection that wants to play, and may.
pub(super) struct Player<S> {
    pub(super) socket: S,
    pub(super) parts: Parts,
    pub(super) broadcast: Arc<Broadcast>,
}

/// Gives a player to the engine.
pub(super) fn hand_over<S: Socket>(context: &Context, player: Player<S>) -> io::Result<()> {
    let Player { socket, parts, broadcast } = player;
    let stream = broadcast.players().clone();
    context.live.engine().play_rtmp(socket.into_link()?, stream, parts);
    Ok(())
}

impl Socket for TlsStream<TcpStream> {
    const READS_ALL: bool = false;

    fn read_unwatched(&mut self, buffer: &mut [u8]) -> Option<io::Result<usize>> {
        self.read(buffer).now_or_never()
    }

    fn into_link(self) -> io::Result<Link> {
        let (socket, session) = self.into_inner();
        Ok(Link { socket: socket.into_std()?, session: Some(Box::new(session)) })
    }
}
