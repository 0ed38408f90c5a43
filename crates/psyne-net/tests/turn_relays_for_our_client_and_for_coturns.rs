//! Our TURN server and coturn's, our client and coturn's, on loopback.

use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use psyne_net::turn::{Config, Metrics, Reach, Server, ServerConfig, Users, issue};
use psyne_rtc::Time;
use psyne_rtc::turn::{Client, ClientConfig, ClientEvent, ClientOutput, Credential, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Nothing here takes as long; what does is broken.
const PATIENCE: Duration = Duration::from_secs(60);
const SECRET: &[u8] = b"0123456789abcdef";

fn ip() -> IpAddr {
    [127, 0, 0, 1].into()
}

fn credential() -> Credential {
    issue(SECRET, "ann", u64::from(u32::MAX))
}

fn config() -> Config {
    let secrets = vec![SECRET.to_vec()];
    let passwords = [("ben".to_owned(), "pass".to_owned())].into();
    let mut server = ServerConfig::new("psyne".into(), Users { passwords, secrets }, 0);
    let allowed = vec!["127.0.0.0/8".parse().unwrap()];
    server.reach = Reach { allowed, denied: vec![] };
    Config::new(vec![SocketAddr::new(ip(), 0)], vec![ip()], server)
}

fn serve() -> (Server, SocketAddr) {
    let (server, driver) = Server::listen(config()).unwrap();
    tokio::spawn(driver);
    let addr = server.local_addrs()[0];
    (server, addr)
}

enum Io {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

/// Our client on a socket.
struct Ours {
    io: Io,
    client: Client,
    origin: Instant,
    buffer: Vec<u8>,
}

impl Ours {
    async fn new(server: SocketAddr, transport: Transport, credential: Credential) -> Self {
        let (io, base) = match transport {
            Transport::Udp => {
                let socket = UdpSocket::bind((ip(), 0)).await.unwrap();
                let base = socket.local_addr().unwrap();
                socket.connect(server).await.unwrap();
                (Io::Udp(socket), base)
            }
            Transport::Stream => {
                let stream = TcpStream::connect(server).await.unwrap();
                let base = stream.local_addr().unwrap();
                (Io::Tcp(stream), base)
            }
        };
        let mut config = ClientConfig::new(base, server, credential);
        config.transport = transport;
        let client = Client::new(config, Time::ZERO, [7; 32]);
        Self { io, client, origin: Instant::now(), buffer: vec![0; 70_000] }
    }

    fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    async fn event(&mut self) -> ClientEvent {
        timeout(PATIENCE, self.next()).await.expect("something happens")
    }

    async fn next(&mut self) -> ClientEvent {
        loop {
            let wait = match self.client.poll_output() {
                ClientOutput::Transmit(bytes) => {
                    match &mut self.io {
                        Io::Udp(socket) => drop(socket.send(&bytes).await.unwrap()),
                        Io::Tcp(stream) => stream.write_all(&bytes).await.unwrap(),
                    }
                    continue;
                }
                ClientOutput::Event(event) => return event,
                ClientOutput::Wait(wait) => wait.unwrap_or(Time::MAX),
            };
            let pause = wait.since(self.now()).min(PATIENCE);
            let read = async {
                match &mut self.io {
                    Io::Udp(socket) => socket.recv(&mut self.buffer).await.unwrap(),
                    Io::Tcp(stream) => stream.read(&mut self.buffer).await.unwrap(),
                }
            };
            match timeout(pause, read).await {
                Ok(0) => self.client.disconnected(),
                Ok(count) => {
                    let now = self.now();
                    self.client.handle(now, &self.buffer[..count]);
                }
                Err(_) => self.client.handle_timeout(self.now()),
            }
        }
    }

    async fn relayed(&mut self) -> SocketAddr {
        match self.event().await {
            ClientEvent::Allocated { relayed, .. } => relayed,
            other => panic!("{other:?}"),
        }
    }

    /// To a peer that sends back, by indications first and then by a channel; 20 times there and
    /// back, sent again while the first are lost for want of a permission.
    async fn echo(&mut self, peer: &UdpSocket) {
        let to = peer.local_addr().unwrap();
        for number in 0..20_u8 {
            let data = vec![number; 10 + usize::from(number) * 50];
            self.client.send(self.now(), to, &data);
            let back = async {
                let mut buffer = vec![0; 2_000];
                loop {
                    let (count, from) = peer.recv_from(&mut buffer).await.unwrap();
                    peer.send_to(&buffer[..count], from).await.unwrap();
                }
            };
            let event = tokio::select! {
                event = self.event() => event,
                () = back => unreachable!(),
            };
            assert_eq!(event, ClientEvent::Data { peer: to, data: data.into() });
        }
    }
}

fn carried(metrics: Metrics) -> (u64, u64, u64) {
    (metrics.server.to_peers, metrics.server.to_clients, metrics.frames_lost)
}

#[tokio::test]
async fn our_client_by_udp_and_tcp_at_our_server() {
    for transport in [Transport::Udp, Transport::Stream] {
        let (server, addr) = serve();
        let mut client = Ours::new(addr, transport, credential()).await;
        let relayed = client.relayed().await;
        assert_eq!(relayed.ip(), ip());
        let peer = UdpSocket::bind((ip(), 0)).await.unwrap();
        // The peer is at an address of the server's own, where only what is lent is reached.
        let now = client.now();
        client.client.send(now, peer.local_addr().unwrap(), b"no");
        let mut other = Ours::new(addr, Transport::Udp, credential()).await;
        let lent = other.relayed().await;
        for number in 0..9_u8 {
            other.client.send(other.now(), relayed, b"let it in");
            client.client.send(client.now(), lent, &[number; 100]);
            let came = loop {
                tokio::select! {
                    event = client.event() => drop(event),
                    event = other.event() => break event,
                }
            };
            assert_eq!(came, ClientEvent::Data { peer: relayed, data: vec![number; 100].into() });
        }
        assert_eq!(server.metrics().server.datagrams_forbidden, 1, "{transport:?}");
        assert!(carried(server.metrics()).0 >= 9, "{:?}", server.metrics());
        server.close();
    }
}

#[tokio::test]
async fn connections_are_bounded_and_their_end_is_their_allocations() {
    let mut config = config();
    config.address_streams_max = 2;
    let (server, driver) = Server::listen(config).unwrap();
    tokio::spawn(driver);
    let addr = server.local_addrs()[0];
    let mut clients = vec![];
    for _ in 0..2 {
        let mut client = Ours::new(addr, Transport::Stream, credential()).await;
        client.relayed().await;
        clients.push(client);
    }
    let mut third = TcpStream::connect(addr).await.unwrap();
    let closed = timeout(PATIENCE, third.read(&mut [0; 1])).await.expect("it is closed");
    assert!(matches!(closed, Ok(0) | Err(_)));
    assert_eq!((server.metrics().streams, server.metrics().streams_refused), (2, 1));
    drop(clients);
    let gone = async {
        while server.metrics().server.allocations > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("what was lent is taken back");
}

#[tokio::test]
async fn what_is_no_frame_ends_the_connection() {
    let (_server, addr) = serve();
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(b"\xFF\xFF\xFF\xFF").await.unwrap();
    let closed = timeout(PATIENCE, stream.read(&mut [0; 1])).await.expect("it is closed");
    assert!(matches!(closed, Ok(0) | Err(_)));
}

/// A program that ends with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// coturn's server at a port that was free.
async fn coturn() -> (Program, SocketAddr) {
    let free = UdpSocket::bind((ip(), 0)).await.unwrap().local_addr().unwrap();
    let port = free.port().to_string();
    let child = Command::new("turnserver")
        .args(["-n", "-L", "127.0.0.1", "-E", "127.0.0.1", "-p", &port, "--no-tls", "--no-dtls"])
        .args(["--allow-loopback-peers", "--no-cli", "-a", "-r", "psyne", "-u", "ben:pass"])
        .args(["--log-file", "stdout", "--pidfile", "", "--cli-password", "x"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("coturn is installed: apt-get install coturn, or cargo xtask test");
    let program = Program(child);
    let up = async {
        while TcpStream::connect(free).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, up).await.expect("coturn listens");
    (program, free)
}

fn ben() -> Credential {
    Credential { username: "ben".into(), password: "pass".into() }
}

#[tokio::test]
async fn our_client_by_udp_and_tcp_at_coturn() {
    let (_coturn, addr) = coturn().await;
    for transport in [Transport::Udp, Transport::Stream] {
        let mut client = Ours::new(addr, transport, ben()).await;
        client.relayed().await;
        let peer = UdpSocket::bind((ip(), 0)).await.unwrap();
        client.echo(&peer).await;
    }
    let wrong = Credential { password: "no".into(), ..ben() };
    let mut stranger = Ours::new(addr, Transport::Udp, wrong).await;
    assert!(matches!(stranger.event().await, ClientEvent::Failed(_)));
}

/// turnutils_uclient makes allocations, binds channels, and sends to itself through two of them.
#[tokio::test]
async fn coturns_client_by_udp_and_tcp_at_our_server() {
    for transport in [&[][..], &["-t"]] {
        let (server, addr) = serve();
        let port = addr.port().to_string();
        let child = tokio::process::Command::new("turnutils_uclient")
            .args(["-y", "-c", "-u", "ben", "-w", "pass", "-p", &port, "-n", "20", "-m", "2"])
            .args(transport)
            .arg("127.0.0.1")
            .kill_on_drop(true)
            .output();
        let output = timeout(PATIENCE, child).await.expect("it ends").expect("coturn is installed");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(output.status.success(), "{said}");
        assert!(said.contains("Total lost packets 0 (0.000000%)"), "{said}");
        let (to_peers, to_clients, lost) = carried(server.metrics());
        assert!(to_peers >= 40 && to_clients >= 40 && lost == 0, "{:?}", server.metrics());
        server.close();
    }
}
