//! Sockets that are lent.

use core::net::{IpAddr, SocketAddr};
use std::io;
use std::sync::Arc;

use psyne_rtc::turn::{AllocationId, Family, FromPeer, Via};
use tokio::net::UdpSocket;
use tokio::sync::oneshot;

use super::udp::{BATCH, DATAGRAM_BYTES_MAX, bind};
use super::{Config, Shared};

/// Random ports that are tried. With half of all lent, one in 65,536 attempts finds none.
const TRIES: usize = 16;

/// A socket of an allocation. It closes when this is dropped.
pub(super) struct Lent {
    socket: Arc<UdpSocket>,
    _open: oneshot::Sender<()>,
}

impl Lent {
    pub(super) fn new(socket: UdpSocket) -> (Self, oneshot::Receiver<()>) {
        let (open, closed) = oneshot::channel();
        (Self { socket: Arc::new(socket), _open: open }, closed)
    }

    pub(super) fn socket(&self) -> Arc<UdpSocket> {
        self.socket.clone()
    }

    /// Whether the kernel took it.
    pub(super) fn send(&self, to: SocketAddr, data: &[u8]) -> bool {
        self.socket.try_send_to(data, to).is_ok()
    }
}

/// A socket at a random port, which nobody can guess, and what to call its address.
pub(super) fn open(
    config: &Config,
    (family, even): (Family, bool),
) -> io::Result<(UdpSocket, SocketAddr)> {
    let of = |ips: &[IpAddr]| ips.iter().copied().find(|ip| Family::of(*ip) == family);
    let ip = of(&config.relay).ok_or(io::ErrorKind::AddrNotAvailable)?;
    let (first, last) = (*config.ports.start(), *config.ports.end());
    let count = u32::from(last.saturating_sub(first)) + 1;
    let mut refused = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..TRIES {
        let port = first + (random()? % count) as u16;
        let port = if even && port % 2 == 1 { (port - 1).max(first) } else { port };
        match bind(SocketAddr::new(ip, port)) {
            Ok(socket) => {
                let called = of(&config.external).unwrap_or(ip);
                return Ok((socket, SocketAddr::new(called, port)));
            }
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

fn random() -> io::Result<u32> {
    getrandom::u32().map_err(|error| io::Error::other(error.to_string()))
}

/// Carries what peers send, until the allocation ends.
pub(super) async fn run(
    shared: Arc<Shared>,
    lent: (AllocationId, Arc<UdpSocket>),
    mut closed: oneshot::Receiver<()>,
) {
    let (allocation, socket) = lent;
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    let mut frame = Vec::with_capacity(2_048);
    loop {
        tokio::select! {
            _ = &mut closed => return,
            readable = socket.readable() => if readable.is_err() { return },
        }
        let now = shared.now();
        let mut state = shared.state();
        for _ in 0..BATCH {
            let (length, from) = match socket.try_recv_from(&mut buffer) {
                Ok(came) => came,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => continue,
            };
            let data = buffer.get(..length).unwrap_or_default();
            let came = FromPeer { allocation, from, data };
            frame.clear();
            let Some(flow) = state.machine.handle_peer(now, came, &mut frame) else { continue };
            let sent = match flow.via {
                Via::Datagrams(at) => {
                    let port = usize::try_from(at).ok().and_then(|at| shared.ports.get(at));
                    port.is_some_and(|port| port.send(flow.remote, &frame))
                }
                Via::Stream(number) => {
                    let frame = bytes::Bytes::copy_from_slice(&frame);
                    state.streams.send(number, frame)
                }
            };
            state.lost += u64::from(!sent);
        }
    }
}
