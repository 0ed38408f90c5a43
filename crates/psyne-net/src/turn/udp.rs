//! Clients by UDP.

use core::net::SocketAddr;
use std::io;
use std::sync::Arc;

use psyne_rtc::turn::{Flow, Via};
use tokio::net::UdpSocket;

use super::Shared;

/// Datagrams taken before others have their turn.
pub(super) const BATCH: usize = 64;
/// A datagram's longest.
pub(super) const DATAGRAM_BYTES_MAX: usize = 65_536;
/// Bytes that the kernel is asked to hold each way; it may give less.
const BUFFER_BYTES: usize = 2 << 20;

/// A socket at which clients come in.
#[derive(Debug)]
pub(super) struct Port {
    socket: UdpSocket,
    local: SocketAddr,
}

impl Port {
    pub(super) fn bind(addr: SocketAddr) -> io::Result<Self> {
        let socket = bind(addr)?;
        let local = socket.local_addr()?;
        Ok(Self { socket, local })
    }

    pub(super) const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Whether the kernel took it. What it does not take is lost, as on any network.
    pub(super) fn send(&self, to: SocketAddr, frame: &[u8]) -> bool {
        self.socket.try_send_to(frame, to).is_ok()
    }
}

/// A socket of its own family only, with room for bursts.
pub(super) fn bind(addr: SocketAddr) -> io::Result<UdpSocket> {
    let domain = socket2::Domain::for_address(addr);
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // As much as it likes to give: less only costs bursts.
    let _ = socket.set_send_buffer_size(BUFFER_BYTES);
    let _ = socket.set_recv_buffer_size(BUFFER_BYTES);
    socket.bind(&addr.into())?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}

/// Serves the clients of a port.
pub(super) async fn listen(shared: Arc<Shared>, at: usize) {
    let Some(port) = shared.ports.get(at) else { return };
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    while port.socket.readable().await.is_ok() {
        let now = shared.now();
        let mut state = shared.state();
        for _ in 0..BATCH {
            let (length, remote) = match port.socket.try_recv_from(&mut buffer) {
                Ok(came) => came,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // What an earlier datagram met, such as a closed port, is told here.
                Err(_) => continue,
            };
            let flow = Flow { via: Via::Datagrams(at as u64), remote };
            let frame = buffer.get(..length).unwrap_or_default();
            shared.client(&mut state, now, (flow, frame));
            shared.settle(&mut state);
        }
    }
}
