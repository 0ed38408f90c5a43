//! A UDP socket whose datagrams go and come in batches.
//!
//! Datagrams to the same place leave by one system call, cut up by the kernel (generic segmentation
//! offload); what came from the same place is taken as one piece, and several such by one call
//! (generic receive offload, `recvmmsg`). Where the kernel has none of this, each goes alone.

use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};

use psyne_rtc::Transmit;
use quinn_udp::{RecvMeta, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Bytes that the kernel is asked to hold each way; it may give less. 2 MiB are 16 ms of a gigabit:
/// as long as a busy machine lets a task wait.
const BUFFER_BYTES: usize = 2 * 1024 * 1024;
/// Bytes of one piece that was put together from datagrams: IP's longest packet.
const PIECE_BYTES_MAX: usize = 64 * 1024;
/// Pieces taken by one call: half a megabyte, and thousands of datagrams where they are joined.
const PIECES_MAX: usize = 8;
/// Bytes that leave by one call: IP's longest packet, less its headers.
const RUN_BYTES_MAX: usize = PIECE_BYTES_MAX - 128;

/// A bound UDP socket of a tokio runtime.
#[derive(Debug)]
pub struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
}

impl Socket {
    /// Binds to this address; port 0 takes a free one. An IPv6 socket hears IPv6 only.
    ///
    /// # Errors
    /// The operating system's: the address is not ours, or taken.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        let domain = socket2::Domain::for_address(addr);
        let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None)?;
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // As much as it likes to give: less only costs speed.
        let _ = socket.set_send_buffer_size(BUFFER_BYTES);
        let _ = socket.set_recv_buffer_size(BUFFER_BYTES);
        socket.bind(&addr.into())?;
        socket.set_nonblocking(true)?;
        let io = UdpSocket::from_std(socket.into())?;
        let state = UdpSocketState::new((&io).into())?;
        let local = io.local_addr()?;
        Ok(Self { io, state, local })
    }

    /// Where it is bound.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Whether datagrams from this address of ours leave by this socket.
    #[must_use]
    pub fn sends_from(&self, from: SocketAddr) -> bool {
        let any = self.local.ip().is_unspecified() && self.local.is_ipv4() == from.is_ipv4();
        self.local.port() == from.port() && (any || self.local.ip() == from.ip())
    }

    /// Sends these datagrams, which begin at addresses of this socket, in order. Waits while the
    /// kernel has no room. Says how many the kernel refused: they are lost, as on any network.
    pub async fn send(&self, datagrams: &[Transmit], scratch: &mut Vec<u8>) -> usize {
        let (mut rest, mut refused) = (datagrams, 0);
        while let Some(first) = rest.first() {
            let count = run(rest, self.state.max_gso_segments());
            let (now, later) = rest.split_at(count);
            rest = later;
            if count == 1 {
                refused += usize::from(self.send_one(first, &first.data, None).await.is_err());
                continue;
            }
            scratch.clear();
            now.iter().for_each(|datagram| scratch.extend_from_slice(&datagram.data));
            if self.send_one(first, scratch, Some(first.data.len())).await.is_ok() {
                continue;
            }
            // A device that cannot cut them may still take each alone.
            for datagram in now {
                refused +=
                    usize::from(self.send_one(datagram, &datagram.data, None).await.is_err());
            }
        }
        refused
    }

    async fn send_one(&self, to: &Transmit, data: &[u8], each: Option<usize>) -> io::Result<()> {
        let transmit = quinn_udp::Transmit {
            destination: to.to,
            ecn: None,
            contents: data,
            segment_size: each,
            src_ip: self.local.ip().is_unspecified().then(|| to.from.ip()),
        };
        loop {
            let send = || self.state.try_send((&self.io).into(), &transmit);
            match self.io.try_io(Interest::WRITABLE, send) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.io.writable().await?,
                result => return result,
            }
        }
    }

    /// Whether something came; if not, the task is woken when it does, and no other. Ready as well
    /// when the runtime is gone.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        self.io.poll_recv_ready(context).map(drop)
    }

    /// Takes what came, if anything did, and hands over each datagram: our address, theirs, its
    /// bytes. Says whether there may be more.
    pub fn receive(
        &self,
        buffer: &mut Buffer,
        mut take: impl FnMut(SocketAddr, SocketAddr, &[u8]),
    ) -> bool {
        let mut metas = [RecvMeta::default(); PIECES_MAX];
        let mut pieces = buffer.0.chunks_exact_mut(PIECE_BYTES_MAX);
        let mut pieces: [_; PIECES_MAX] =
            core::array::from_fn(|_| IoSliceMut::new(pieces.next().expect("it has so many")));
        let receive = || self.state.recv((&self.io).into(), &mut pieces, &mut metas);
        // What an earlier datagram met on its way, such as a closed port, is told here: nothing
        // came, and there may be more.
        let count = match self.io.try_io(Interest::READABLE, receive) {
            Ok(count) => count,
            Err(error) => return error.kind() != ErrorKind::WouldBlock,
        };
        for (meta, piece) in metas.iter().zip(&pieces).take(count) {
            let local = SocketAddr::new(self.ip(meta.dst_ip), self.local.port());
            let bytes = piece.get(..meta.len).unwrap_or_default();
            bytes.chunks(meta.stride.max(1)).for_each(|datagram| take(local, meta.addr, datagram));
        }
        true
    }

    /// To which of our addresses it came.
    fn ip(&self, told: Option<IpAddr>) -> IpAddr {
        told.filter(|_| self.local.ip().is_unspecified()).unwrap_or(self.local.ip())
    }
}

/// How many of the first can leave as one: the same way, of the same length but for a shorter last.
fn run(datagrams: &[Transmit], segments_max: usize) -> usize {
    let Some(first) = datagrams.first() else { return 0 };
    let each = first.data.len();
    let (mut count, mut bytes) = (1, each);
    for next in datagrams.iter().skip(1).take(segments_max.saturating_sub(1)) {
        let same = next.from == first.from && next.to == first.to;
        bytes += next.data.len();
        if !same || each == 0 || next.data.len() > each || bytes > RUN_BYTES_MAX {
            break;
        }
        count += 1;
        if next.data.len() < each {
            break;
        }
    }
    count
}

/// Where datagrams are received to. One serves many sockets.
pub struct Buffer(Box<[u8]>);

impl Default for Buffer {
    fn default() -> Self {
        Self(vec![0; PIECES_MAX * PIECE_BYTES_MAX].into())
    }
}

impl core::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Buffer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::future::poll_fn;

    fn datagram(from: SocketAddr, to: SocketAddr, bytes: &[u8]) -> Transmit {
        Transmit { from, to, data: Bytes::copy_from_slice(bytes) }
    }

    #[test]
    fn runs_are_of_one_way_and_one_length_but_for_the_last() {
        let (a, b) = (SocketAddr::from(([192, 0, 2, 1], 1)), SocketAddr::from(([192, 0, 2, 2], 2)));
        let run_of = |all: &[(SocketAddr, usize)], max: usize| {
            let all: Vec<Transmit> =
                all.iter().map(|(to, len)| datagram(a, *to, &vec![0; *len])).collect();
            run(&all, max)
        };
        assert_eq!(run_of(&[], 64), 0);
        assert_eq!(run_of(&[(b, 9), (b, 9), (b, 9)], 64), 3);
        assert_eq!(run_of(&[(b, 9), (b, 9), (b, 9)], 2), 2, "what the kernel takes");
        assert_eq!(run_of(&[(b, 9), (b, 9), (b, 9)], 1), 1, "no segmentation");
        assert_eq!(run_of(&[(b, 9), (b, 8), (b, 8)], 64), 2, "a shorter one is the last");
        assert_eq!(run_of(&[(b, 9), (b, 10)], 64), 1, "a longer one begins anew");
        assert_eq!(run_of(&[(b, 9), (a, 9)], 64), 1, "another way");
        assert_eq!(run_of(&[(b, 0), (b, 0)], 64), 1, "nothing cannot be cut up");
        assert_eq!(run_of(&[(b, 1_200); 64], 64), RUN_BYTES_MAX / 1_200);
    }

    /// Datagrams of all lengths, by wildcard sockets of both families: each arrives as it was sent,
    /// and says between which addresses.
    #[tokio::test]
    async fn batches_arrive_as_the_datagrams_that_were_sent() {
        for (any, ip) in [("0.0.0.0:0", "127.0.0.1"), ("[::]:0", "::1")] {
            let [a, b] = [0; 2].map(|_| Socket::bind(any.parse().unwrap()).unwrap());
            let at = |socket: &Socket| SocketAddr::new(ip.parse().unwrap(), socket.local.port());
            let (from, to) = (at(&a), at(&b));
            assert!(a.sends_from(from) && !a.sends_from(to));
            let sent: Vec<Transmit> = (0..100_u8)
                .map(|n| datagram(from, to, &vec![n; if n % 10 == 9 { 30 } else { 700 }]))
                .collect();
            assert_eq!(a.send(&sent, &mut Vec::new()).await, 0);
            let (mut buffer, mut came) = (Buffer::default(), Vec::new());
            while came.len() < sent.len() {
                poll_fn(|context| b.poll_readable(context)).await;
                b.receive(&mut buffer, |local, remote, bytes| {
                    came.push(datagram(remote, local, bytes));
                });
            }
            assert_eq!(came, sent);
        }
    }

    #[tokio::test]
    async fn what_the_kernel_refuses_is_counted_and_the_rest_goes() {
        let [a, b] = [0; 2].map(|_| Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap());
        let (from, to) = (a.local_addr(), b.local_addr());
        let v6 = "[::1]:9".parse().unwrap();
        let long = datagram(from, to, &[0; 65_530]);
        let sent = [datagram(from, v6, b"1"), long, datagram(from, to, b"2")];
        assert_eq!(a.send(&sent, &mut Vec::new()).await, 2);
        let mut came = Vec::new();
        while came.is_empty() {
            poll_fn(|context| b.poll_readable(context)).await;
            b.receive(&mut Buffer::default(), |_, _, bytes| came.extend_from_slice(bytes));
        }
        assert_eq!(came, b"2");
    }
}
