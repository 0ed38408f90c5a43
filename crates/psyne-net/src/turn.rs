//! A TURN server on sockets: UDP, TCP and TLS, driving [`psyne_rtc::turn::Server`].

mod lend;
mod report;
mod stream;
mod udp;

use core::net::{IpAddr, SocketAddr};
use core::ops::RangeInclusive;
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use psyne_rtc::Time;
use psyne_rtc::turn::{AllocationId, Family, Flow, Server as Machine, ServerOutput, Via};
pub use psyne_rtc::turn::{Credential, Prefix, Reach, ServerConfig, ServerMetrics, Users, issue};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};

use crate::signal::server::Tls;
use crate::{Driver, Error};
use lend::Lent;
use stream::Streams;
use udp::Port;

/// What a server is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients reach it by UDP and TCP; port 0 takes any that is free, the same for both.
    pub listen: Vec<SocketAddr>,
    /// Where clients reach it by TLS, and with which certificate.
    pub tls: Option<(SocketAddr, Tls)>,
    /// Addresses of this machine at which peers reach what is lent: one of each kind at most.
    pub relay: Vec<IpAddr>,
    /// What to call them to clients, where a translation lies before them, kind by kind.
    pub external: Vec<IpAddr>,
    /// Ports that are lent.
    pub ports: RangeInclusive<u16>,
    /// Connections at a time, TCP and TLS together.
    pub streams_max: usize,
    /// Connections of one address at a time.
    pub address_streams_max: usize,
    /// Where `/metrics` and `/health` are served to who runs it.
    pub report: Option<SocketAddr>,
    /// What it decides by. `own`, `families` and `unix_s_at_zero` are filled in.
    pub server: ServerConfig,
}

impl Config {
    /// The defaults: the ports that RFC 8656 names, 1,024 connections, 32 of one address.
    #[must_use]
    pub const fn new(listen: Vec<SocketAddr>, relay: Vec<IpAddr>, server: ServerConfig) -> Self {
        Self {
            listen,
            tls: None,
            relay,
            external: Vec::new(),
            ports: 49_152..=65_535,
            streams_max: 1_024,
            address_streams_max: 32,
            report: None,
            server,
        }
    }
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// The machine's.
    pub server: ServerMetrics,
    /// Connections that are open.
    pub streams: u64,
    /// Connections that were closed at once, because there were too many.
    pub streams_refused: u64,
    /// Datagrams and frames that found no room on their way out.
    pub frames_lost: u64,
}

/// A TURN server that listens. Dropping it changes nothing: its [`Driver`] is what runs.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
    addrs: Vec<SocketAddr>,
    tls_addr: Option<SocketAddr>,
    report_addr: Option<SocketAddr>,
}

impl core::fmt::Debug for Server {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Server").field("addrs", &self.addrs).finish_non_exhaustive()
    }
}

/// Something that runs until the server ends.
type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Server {
    /// Listens, and hands back what has to run. Must be called within a runtime of tokio.
    ///
    /// # Errors
    /// [`Error::Listen`] if nobody can listen there, or the certificate can't be read;
    /// [`Error::Options`] if there is nothing to lend.
    pub fn listen(config: Config) -> Result<(Self, Driver), Error> {
        let machine = machine(&config)?;
        let mut addrs = Vec::new();
        let (mut ports, mut listeners) = (Vec::new(), Vec::new());
        for addr in &config.listen {
            let (port, listener) = both(*addr).map_err(|error| refusal(*addr, &error))?;
            addrs.push(port.local_addr());
            ports.push(port);
            listeners.push((listener, None));
        }
        let mut tls_addr = None;
        if let Some((addr, files)) = &config.tls {
            let acceptor = crate::signal::tls::acceptor(files);
            let acceptor = acceptor.map_err(|why| Error::Listen { uri: uri(*addr), why })?;
            let listener = tcp(*addr).map_err(|error| refusal(*addr, &error))?;
            tls_addr = listener.local_addr().ok();
            listeners.push((listener, Some(acceptor)));
        }
        let report = config.report.map(|at| tcp(at).map_err(|error| refusal(at, &error)));
        let report = report.transpose()?;
        let (new, tasks) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            origin: Instant::now(),
            stop: Notify::new(),
            ports,
            state: Mutex::new(State {
                machine,
                lent: BTreeMap::new(),
                streams: Streams::default(),
                wait: None,
                lost: 0,
            }),
            new,
            config,
        });
        let mut first: Vec<Task> = Vec::new();
        for at in 0..shared.ports.len() {
            first.push(Box::pin(udp::listen(shared.clone(), at)));
        }
        for (listener, tls) in listeners {
            first.push(Box::pin(stream::listen(shared.clone(), listener, tls)));
        }
        let report_addr = report.as_ref().and_then(|listener| listener.local_addr().ok());
        if let Some(listener) = report {
            first.push(Box::pin(report::listen(shared.clone(), listener)));
        }
        let driver = Driver::new(drive(shared.clone(), first, tasks));
        Ok((Self { shared, addrs, tls_addr, report_addr }, driver))
    }

    /// Where it listens by UDP and TCP.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Where it listens by TLS.
    #[must_use]
    pub const fn tls_addr(&self) -> Option<SocketAddr> {
        self.tls_addr
    }

    /// Where it tells its metrics.
    #[must_use]
    pub const fn report_addr(&self) -> Option<SocketAddr> {
        self.report_addr
    }

    /// What was counted so far.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.shared.metrics()
    }

    /// Ends the driver, and with it all that was lent.
    pub fn close(&self) {
        self.shared.stop.notify_one();
    }
}

fn machine(config: &Config) -> Result<Machine, Error> {
    let mut server = config.server.clone();
    let of = |family| config.relay.iter().filter(|ip| Family::of(**ip) == family).count();
    let families = [Family::V4, Family::V6];
    if config.relay.iter().any(IpAddr::is_unspecified) || families.iter().any(|it| of(*it) > 1) {
        return Err(Error::Options("relay names one address of this machine, or one of each kind"));
    }
    server.families = families.into_iter().filter(|family| of(*family) > 0).collect();
    if server.families.is_empty() {
        return Err(Error::Options("relay names no address to lend"));
    }
    let listening = config.listen.iter().map(SocketAddr::ip).filter(|ip| !ip.is_unspecified());
    server.own.extend(listening.chain(config.relay.clone()).chain(config.external.clone()));
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    server.unix_s_at_zero = since.map_or(0, |since| since.as_secs());
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| Error::Unsupported(error.to_string()))?;
    Ok(Machine::new(server, seed))
}

/// UDP and TCP at the same address. With port 0 the first port may be taken for the second.
fn both(addr: SocketAddr) -> io::Result<(Port, TcpListener)> {
    let mut tries = if addr.port() == 0 { 16 } else { 1 };
    loop {
        tries -= 1;
        let port = Port::bind(addr)?;
        match tcp(port.local_addr()) {
            Ok(listener) => return Ok((port, listener)),
            Err(error) if tries == 0 => return Err(error),
            Err(_) => {}
        }
    }
}

fn tcp(addr: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(addr)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn refusal(addr: SocketAddr, error: &io::Error) -> Error {
    let why = match error.kind() {
        io::ErrorKind::AddrInUse => "something else listens there".to_owned(),
        _ => error.to_string(),
    };
    Error::Listen { uri: uri(addr), why }
}

fn uri(addr: SocketAddr) -> String {
    format!("turn:{addr}")
}

struct Shared {
    config: Config,
    origin: Instant,
    stop: Notify,
    ports: Vec<Port>,
    state: Mutex<State>,
    /// What has to run, too.
    new: mpsc::UnboundedSender<Task>,
}

struct State {
    machine: Machine,
    lent: BTreeMap<AllocationId, Lent>,
    streams: Streams,
    wait: Option<Time>,
    lost: u64,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panicked with the server in hand")
    }

    fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    fn metrics(&self) -> Metrics {
        let state = self.state();
        Metrics {
            server: state.machine.metrics(),
            streams: state.streams.len() as u64,
            streams_refused: state.streams.refused,
            frames_lost: state.lost,
        }
    }

    /// A frame came from a client.
    fn client(self: &Arc<Self>, state: &mut State, now: Time, came: (Flow, &[u8])) {
        let (flow, frame) = came;
        let State { machine, lent, lost, .. } = state;
        if let Some(out) = machine.handle_client(now, flow, frame)
            && let Some(lent) = lent.get(&out.allocation)
        {
            *lost += u64::from(!lent.send(out.to, out.data));
        }
    }

    /// Does what the machine wants.
    fn settle(self: &Arc<Self>, state: &mut State) {
        loop {
            match state.machine.poll_output() {
                ServerOutput::Reply { flow, frame } => self.reply(state, flow, frame),
                ServerOutput::Open { allocation, family, even } => {
                    self.open(state, allocation, (family, even));
                }
                ServerOutput::Close { allocation } => drop(state.lent.remove(&allocation)),
                ServerOutput::Wait(wait) => {
                    state.wait = wait;
                    return;
                }
            }
        }
    }

    fn reply(&self, state: &mut State, flow: Flow, frame: Bytes) {
        let sent = match flow.via {
            Via::Datagrams(at) => {
                let port = usize::try_from(at).ok().and_then(|at| self.ports.get(at));
                port.is_some_and(|port| port.send(flow.remote, &frame))
            }
            Via::Stream(number) => state.streams.send(number, frame),
        };
        state.lost += u64::from(!sent);
    }

    fn open(self: &Arc<Self>, state: &mut State, id: AllocationId, want: (Family, bool)) {
        let opened = lend::open(&self.config, want);
        let at = opened.as_ref().ok().map(|(_, at)| *at);
        if let Ok((socket, _)) = opened {
            let (lent, closed) = Lent::new(socket);
            let task = lend::run(self.clone(), (id, lent.socket()), closed);
            state.lent.insert(id, lent);
            // The driver that ends takes all with it.
            let _ = self.new.send(Box::pin(task));
        }
        state.machine.opened(self.now(), id, at);
    }
}

async fn drive(shared: Arc<Shared>, first: Vec<Task>, mut new: mpsc::UnboundedReceiver<Task>) {
    let mut tasks: FuturesUnordered<Task> = first.into_iter().collect();
    loop {
        tokio::select! {
            Some(()) = tasks.next() => {}
            Some(task) = new.recv() => tasks.push(task),
            () = alarm(&shared) => {
                let now = shared.now();
                let mut state = shared.state();
                state.machine.handle_timeout(now);
                shared.settle(&mut state);
            }
            () = shared.stop.notified() => return,
        }
    }
}

/// Comes back when the machine wants to be told the time, or a second later: it waits for seconds.
async fn alarm(shared: &Shared) {
    let second = Time::ZERO + shared.origin.elapsed() + core::time::Duration::from_secs(1);
    let wait = shared.state().wait.unwrap_or(second).min(second);
    tokio::time::sleep_until((shared.origin + wait.since(Time::ZERO)).into()).await;
}
