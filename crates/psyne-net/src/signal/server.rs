//! A hub on WebSockets: `GET /signal` joins, `/metrics` and `/health` are for who runs it.

use core::future::pending;
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Instant, SystemTime};

use futures_util::stream::{FuturesUnordered, SplitSink, SplitStream};
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use psyne_rtc::Time;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::hub::{self, ConnId, Metrics, Output};
use super::{Hub, Refusal, http, tls};
use crate::{Driver, Error};

/// How long a connection that is being closed may take to hear why.
const LINGER: Duration = Duration::from_secs(1);
/// How long nothing is accepted after the system refused: it has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often tokens' clock is held against the wall.
const CLOCK_EVERY: Duration = Duration::from_secs(60);
/// The WebSocket close code of refusals (RFC 6455, 7.4.2: for private use).
const CLOSE_REFUSED: u16 = 4_000;

/// What a server is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 takes any that is free.
    pub listen: SocketAddr,
    /// Certificate and key for `wss://`; none is `ws://`, for behind a proxy or on one machine.
    pub tls: Option<Tls>,
    /// The hub's. `origin_unix_s` is set to the present.
    pub hub: hub::Config,
}

/// Files in PEM.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The certificate, then those that vouch for it.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// A hub that listens. Dropping it changes nothing: its [`Driver`] is what runs.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
    addr: SocketAddr,
}

impl Server {
    /// Listens, and hands back what has to run. Must be called within a runtime of tokio.
    ///
    /// # Errors
    /// [`Error::Listen`] if nobody can listen there, or the certificate can't be read.
    pub fn listen(config: Config) -> Result<(Self, Driver), Error> {
        let listener = std::net::TcpListener::bind(config.listen);
        let listener = listener.map_err(|error| refusal(config.listen, in_words(&error)))?;
        Self::serve(listener, config)
    }

    /// Takes a socket that listens already, such as systemd's; `config.listen` is not looked at.
    ///
    /// # Errors
    /// As [`Server::listen`].
    pub fn serve(
        listener: std::net::TcpListener,
        mut config: Config,
    ) -> Result<(Self, Driver), Error> {
        let io = |error: io::Error| refusal(config.listen, error.to_string());
        listener.set_nonblocking(true).map_err(io)?;
        let addr = listener.local_addr().map_err(io)?;
        let listener = TcpListener::from_std(listener).map_err(io)?;
        let tls = config.tls.as_ref().map(tls::acceptor).transpose();
        let tls = tls.map_err(|why| refusal(addr, why))?;
        config.hub.origin_unix_s = unix_s();
        let shared = Arc::new(Shared::new(config.hub));
        let driver = Driver::new(drive(shared.clone(), listener, tls));
        Ok((Self { shared, addr }, driver))
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// What was counted, and what there is.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.shared.state().hub.metrics()
    }

    /// Tells every member that the hub stops. The driver ends when they have heard it.
    pub fn close(&self) {
        self.shared.act(|hub, _| hub.close());
        self.shared.stop.notify_one();
    }
}

/// The hub, and the way to each connection.
pub(super) struct Shared {
    state: Mutex<State>,
    origin: Instant,
    /// The hub's wait has changed.
    woken: Notify,
    stop: Notify,
    message_bytes_max: usize,
}

struct State {
    hub: Hub,
    lines: HashMap<ConnId, Line>,
    wait: Option<Time>,
    next: u64,
}

/// To a connection. What waits in `orders` is bounded by the hub, which counts it.
struct Line {
    orders: mpsc::UnboundedSender<Order>,
    closing: oneshot::Sender<()>,
}

enum Order {
    Send(Arc<str>),
    Close(Option<Refusal>),
}

/// A connection's end of its [`Line`].
struct Ends {
    orders: mpsc::UnboundedReceiver<Order>,
    closing: oneshot::Receiver<()>,
}

impl Shared {
    fn new(config: hub::Config) -> Self {
        let message_bytes_max = config.limits.message_bytes_max;
        // The names that a hub finds are no secrets.
        let hub = Hub::new(config, unix_s());
        let state = State { hub, lines: HashMap::new(), wait: None, next: 0 };
        let (woken, stop) = (Notify::new(), Notify::new());
        Self { state: state.into(), origin: Instant::now(), woken, stop, message_bytes_max }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panicked with the hub in hand")
    }

    pub(super) fn metrics(&self) -> Metrics {
        self.state().hub.metrics()
    }

    /// Tells the hub something, and does what it wants.
    fn act(&self, input: impl FnOnce(&mut Hub, Time)) {
        let now = Time::ZERO + self.origin.elapsed();
        let mut state = self.state();
        input(&mut state.hub, now);
        loop {
            match state.hub.poll_output() {
                Output::Send { to, text } => {
                    if let Some(line) = state.lines.get(&to) {
                        // A connection that is ending reads no more.
                        let _ = line.orders.send(Order::Send(text));
                    }
                }
                Output::Close { conn, why } => {
                    if let Some(line) = state.lines.remove(&conn) {
                        let _ = line.orders.send(Order::Close(why));
                        let _ = line.closing.send(());
                    }
                }
                Output::Event(event) => tracing::trace!(?event, "signaling"),
                Output::Wait(wait) => {
                    if core::mem::replace(&mut state.wait, wait) != wait {
                        self.woken.notify_one();
                    }
                    return;
                }
            }
        }
    }

    fn connect(&self, from: SocketAddr) -> (ConnId, Ends) {
        let (orders_in, orders) = mpsc::unbounded_channel();
        let (closing_in, closing) = oneshot::channel();
        let conn = {
            let mut state = self.state();
            let conn = ConnId(state.next);
            state.next += 1;
            state.lines.insert(conn, Line { orders: orders_in, closing: closing_in });
            conn
        };
        self.act(|hub, now| hub.handle_connected(now, conn, &source(from.ip())));
        (conn, Ends { orders, closing })
    }

    fn disconnect(&self, conn: ConnId) {
        self.state().lines.remove(&conn);
        self.act(|hub, _| hub.handle_closed(conn));
    }

    /// Comes back when the hub wants to be told the time.
    async fn alarm(&self) {
        loop {
            let wait = self.state().wait;
            let sleep = async {
                match wait {
                    Some(at) => {
                        let at = self.origin + at.since(Time::ZERO);
                        tokio::time::sleep_until(at.into()).await;
                    }
                    None => pending().await,
                }
            };
            tokio::select! {
                () = sleep => return,
                () = self.woken.notified() => {}
            }
        }
    }
}

async fn drive(shared: Arc<Shared>, listener: TcpListener, tls: Option<TlsAcceptor>) {
    let mut conns = FuturesUnordered::new();
    let mut clock = tokio::time::interval(CLOCK_EVERY);
    let mut open = true;
    while open || !conns.is_empty() {
        tokio::select! {
            accepted = accept(&listener), if open => {
                let (stream, from) = accepted;
                conns.push(serve(shared.clone(), stream, from, tls.clone()).boxed());
            }
            Some(()) = conns.next(), if !conns.is_empty() => {}
            () = shared.alarm() => shared.act(Hub::handle_timeout),
            _ = clock.tick() => shared.act(|hub, now| hub.set_clock(now, unix_s())),
            () = shared.stop.notified() => open = false,
        }
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A connection from its first byte to its last. The hub counts it from the first on.
async fn serve(shared: Arc<Shared>, stream: TcpStream, from: SocketAddr, tls: Option<TlsAcceptor>) {
    // Small messages that somebody waits for.
    let _ = stream.set_nodelay(true);
    let (conn, mut ends) = shared.connect(from);
    let upgraded = tokio::select! {
        upgraded = http::upgrade(&shared, stream, tls) => upgraded,
        _ = &mut ends.closing => None,
    };
    if let Some(upgraded) = upgraded {
        talk(&shared, conn, ends, upgraded).await;
    }
    shared.disconnect(conn);
}

type Socket = WebSocketStream<TokioIo<Upgraded>>;

async fn talk(shared: &Shared, conn: ConnId, ends: Ends, upgraded: Upgraded) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(shared.message_bytes_max))
        .max_frame_size(Some(shared.message_bytes_max))
        // It writes at once what is sent; more waits in the hub's queue, where it is counted.
        .write_buffer_size(0);
    let io = TokioIo::new(upgraded);
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    let (sink, stream) = socket.split();
    let Ends { orders, closing } = ends;
    let overdue = async {
        let _ = closing.await;
        tokio::time::sleep(LINGER).await;
    };
    tokio::select! {
        () = read(shared, conn, stream) => {}
        () = write(shared, conn, sink, orders) => {}
        () = overdue => {}
    }
}

async fn read(shared: &Shared, conn: ConnId, mut stream: SplitStream<Socket>) {
    loop {
        let fault = match stream.next().await {
            Some(Ok(Message::Text(text))) => {
                shared.act(|hub, now| hub.handle_text(now, conn, &text));
                continue;
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {
                shared.act(|hub, now| hub.handle_control(now, conn));
                continue;
            }
            Some(Ok(Message::Binary(_)) | Err(WsError::Utf8(_) | WsError::Protocol(_))) => {
                Refusal::Malformed
            }
            Some(Err(WsError::Capacity(_))) => Refusal::TooLong,
            Some(Ok(Message::Close(_)) | Err(_)) | None => return,
        };
        shared.act(|hub, _| hub.handle_fault(conn, fault));
        // The other half says why and ends it.
        return pending().await;
    }
}

async fn write(
    shared: &Shared,
    conn: ConnId,
    mut sink: SplitSink<Socket, Message>,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    while let Some(order) = orders.recv().await {
        match order {
            Order::Send(text) => {
                if sink.send(Message::text(&*text)).await.is_err() {
                    return;
                }
                shared.act(|hub, _| hub.handle_written(conn, text.len()));
            }
            Order::Close(why) => {
                let code = why.map_or(CloseCode::Normal, |_| CLOSE_REFUSED.into());
                let reason = why.map_or("", Refusal::code).into();
                // It may be gone already.
                let _ = sink.send(Message::Close(Some(CloseFrame { code, reason }))).await;
                let _ = sink.close().await;
                return;
            }
        }
    }
}

/// Whose connections are counted together: an IPv4 address, or an IPv6 /64, which is what one
/// customer has at least (RFC 6177).
fn source(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn refusal(listen: SocketAddr, why: String) -> Error {
    Error::Listen { uri: format!("ws://{listen}"), why }
}

/// What the system said, and what to do about what is usual.
fn in_words(error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => "; something else listens there, or another of these runs",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need privileges",
        io::ErrorKind::AddrNotAvailable => "; this machine does not have that address",
        _ => "",
    };
    format!("{error}{advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_is_one_source_and_mapped_addresses_are_ipv4() {
        for (ip, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ] {
            assert_eq!(source(ip.parse().unwrap()), expected);
        }
    }
}
