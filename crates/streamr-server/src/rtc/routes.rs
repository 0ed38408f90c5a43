//! Which session a datagram belongs to.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use psyne::media;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::metrics::Counter;

/// Datagrams that wait for one session. A publisher of 50 Mbit/s sends as many in 100 ms.
const MAILBOX_MAX: usize = 512;
/// Addresses that one session is reached from: a browser checks from each interface it has.
const ADDRESSES_MAX: usize = 16;
/// The largest datagram that is read: more than any that is not fragmented.
const DATAGRAM_BYTES_MAX: usize = 2_048;
/// The socket's buffers: 100 ms of 300 Mbit/s, if the system allows.
const SOCKET_BYTES: usize = 4 << 20;

/// A datagram and who sent it.
pub(super) type Datagram = (SocketAddr, Bytes);

/// Sessions by name and by address.
#[derive(Default)]
pub(super) struct Routes(Mutex<Table>);

#[derive(Default)]
struct Table {
    names: HashMap<String, Route>,
    addresses: HashMap<SocketAddr, String>,
}

struct Route {
    mailbox: mpsc::Sender<Datagram>,
    addresses: Vec<SocketAddr>,
}

/// A session's entry; gone when dropped.
pub(super) struct Entry {
    routes: Arc<Routes>,
    name: String,
}

impl Routes {
    /// Adds a session: what is addressed to its name comes out of the receiver.
    pub(super) fn add(self: &Arc<Self>, name: &str) -> (Entry, mpsc::Receiver<Datagram>) {
        let (mailbox, receiver) = mpsc::channel(MAILBOX_MAX);
        let route = Route { mailbox, addresses: Vec::new() };
        self.lock().names.insert(name.to_owned(), route);
        (Entry { routes: Arc::clone(self), name: name.to_owned() }, receiver)
    }

    /// Carries datagrams from the socket to sessions, for ever.
    pub(super) async fn carry(&self, socket: &UdpSocket, dropped: &Counter) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            match socket.recv_from(&mut buffer).await {
                Ok((length, from)) => {
                    if !self.deliver(from, &buffer[..length]) {
                        dropped.inc();
                    }
                }
                // What a peer's machine answered to a datagram of ours is not the socket's end.
                Err(error) => {
                    tracing::trace!(%error, "WebRTC: receiving");
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Whether it went somewhere.
    fn deliver(&self, from: SocketAddr, datagram: &[u8]) -> bool {
        let mut table = self.lock();
        let named = media::addressee(datagram);
        let table = &mut *table;
        let name = match &named {
            Some(name) => {
                let Some(route) = table.names.get_mut(name) else { return false };
                // The first session that is named from an address has it: others cannot take it
                // away by sending in its name.
                if !table.addresses.contains_key(&from) && route.addresses.len() < ADDRESSES_MAX {
                    route.addresses.push(from);
                    table.addresses.insert(from, name.clone());
                }
                name
            }
            None => match table.addresses.get(&from) {
                Some(name) => name,
                None => return false,
            },
        };
        let Some(route) = table.names.get(name) else { return false };
        route.mailbox.try_send((from, Bytes::copy_from_slice(datagram))).is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut table = self.routes.lock();
        if let Some(route) = table.names.remove(&self.name) {
            for address in route.addresses {
                table.addresses.remove(&address);
            }
        }
    }
}

/// A UDP socket for tokio, with large buffers.
pub(super) fn bind(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // The system gives less where it does not allow as much.
    let _ = socket.set_recv_buffer_size(SOCKET_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BYTES);
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A STUN binding request that names `name`, as far as routing looks at it.
    fn check(name: &str) -> Vec<u8> {
        let user = format!("{name}:them");
        let padded = user.len().next_multiple_of(4);
        let mut message = vec![0, 1];
        message.extend_from_slice(&(4 + padded as u16 + 8 + 24).to_be_bytes());
        message.extend_from_slice(&0x2112_A442_u32.to_be_bytes());
        message.extend_from_slice(&[7; 12]);
        message.extend_from_slice(&[0, 6]);
        message.extend_from_slice(&(user.len() as u16).to_be_bytes());
        message.extend_from_slice(user.as_bytes());
        message.resize(20 + 4 + padded, 0);
        // PRIORITY.
        message.extend_from_slice(&[0, 0x24, 0, 4, 0, 0, 0, 1]);
        // MESSAGE-INTEGRITY, which only the session can look at.
        message.extend_from_slice(&[0, 8, 0, 20]);
        message.extend_from_slice(&[9; 20]);
        message
    }

    fn from(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn datagrams_go_to_whom_they_name_and_then_by_address() {
        let routes = Arc::new(Routes::default());
        let (one, mut first) = routes.add("aaaa");
        let (_two, mut second) = routes.add("bbbb");
        assert_eq!(media::addressee(&check("aaaa")).as_deref(), Some("aaaa"));
        assert!(!routes.deliver(from(1), &[0x80; 20]), "nobody yet");
        assert!(!routes.deliver(from(1), &check("cccc")), "there is none of that name");
        assert!(routes.deliver(from(1), &check("aaaa")));
        assert!(routes.deliver(from(1), &[0x80; 20]));
        assert!(first.try_recv().is_ok() && first.try_recv().is_ok());
        // Somebody who names another session from that address does not take it away.
        assert!(routes.deliver(from(1), &check("bbbb")));
        assert!(routes.deliver(from(1), &[0x80; 20]));
        assert!(first.try_recv().is_ok() && second.try_recv().is_ok());
        assert!(second.try_recv().is_err());
        drop(one);
        assert!(!routes.deliver(from(1), &[0x80; 20]));
        assert!(routes.deliver(from(1), &check("bbbb")) && routes.deliver(from(1), &[0x80; 20]));
    }

    #[test]
    fn addresses_and_mailboxes_are_bounded() {
        let routes = Arc::new(Routes::default());
        let (entry, mut mailbox) = routes.add("aaaa");
        for port in 1..=2 * ADDRESSES_MAX as u16 {
            assert!(routes.deliver(from(port), &check("aaaa")));
        }
        assert_eq!(routes.lock().addresses.len(), ADDRESSES_MAX);
        while mailbox.try_recv().is_ok() {}
        let taken = (0..MAILBOX_MAX + 5).filter(|_| routes.deliver(from(1), &[0x80; 20])).count();
        assert_eq!(taken, MAILBOX_MAX);
        drop(entry);
        assert!(routes.lock().addresses.is_empty());
    }
}
