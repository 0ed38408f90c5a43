//! WebRTC sessions on UDP sockets: what `psyne_rtc::Session` wants done.
//!
//! [`bind`] gives a [`Handle`], which makes sessions, and a [`Driver`], which carries their
//! datagrams. All sessions share its sockets: what comes is told apart by where it comes from, and
//! where that is not known yet, by the ICE name that it carries (RFC 8445 §7.3).
//!
//! ```no_run
//! # async fn run() -> Result<(), psyne_net::Error> {
//! use psyne_net::rtc::{Config, Delivery, Event, Open, Payload, bind};
//!
//! let (handle, driver) = bind(Config::default())?;
//! tokio::spawn(driver);
//! let session = handle.session()?;
//! let offer = session.offer()?;
//! // … signaling carries it to the other side, and brings the answer:
//! # let answer = String::new();
//! session.accept(&answer)?;
//! let chat = session.open(Open { label: "chat".into(), ..Open::default() }).await?;
//! chat.send(Payload::Text("hello".into())).await?;
//! while let Some(payload) = chat.recv().await {
//!     println!("{payload:?}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Nothing here waits without bound for a peer: what an application does not take stays in the
//! receive window, whose sender then waits; what a peer does not take fills the send buffer, and
//! [`Channel::send`] waits.

mod bell;
mod channel;
mod driver;
mod routes;
mod session;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::socket::Socket;
use crate::{Driver, Error, gather};
use bell::Bell;
pub use channel::Channel;
use driver::Engine;
pub use driver::Metrics;
pub use psyne_rtc::association::{Delivery, Reliability};
pub use psyne_rtc::{Certificate, Closed, Local, Open, Payload};
pub use session::{Event, Session};

/// How sessions are driven.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where sockets are bound. One that is bound to an address offers that as a host candidate;
    /// one that is bound to the wildcard sends from whichever address a session names.
    pub binds: Vec<SocketAddr>,
    /// How each session is made, unless [`Handle::session_with`] says otherwise.
    pub session: psyne_rtc::Config,
    /// Sessions at once. Each costs some 10 KiB when it rests, and its buffers when it does not.
    pub sessions_max: usize,
    /// Whether wildcard sockets offer this machine's addresses as host candidates, looked for again
    /// each five seconds. Loopback is one if [`psyne_rtc::Config::loopback`] says so.
    pub gather: bool,
    /// Bytes of messages that wait for the application, over all channels of a session. Beyond it a
    /// reliable channel keeps the other side waiting, and one that is not loses its oldest.
    pub receive_bytes_max: usize,
}

/// A socket for each family at all addresses, and a new certificate. Panics if the operating system
/// gives no randomness.
impl Default for Config {
    fn default() -> Self {
        let certificate = Certificate::generate(random());
        let mut session = psyne_rtc::Config::new(Instant::now(), certificate);
        // Who waits for room is called when half of it is there: the rest keeps the path busy until
        // it comes.
        session.channels.drained_bytes = session.association.send_buffer_bytes_max / 2;
        Self {
            binds: vec![(Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv6Addr::UNSPECIFIED, 0).into()],
            session,
            sessions_max: 1_024,
            gather: true,
            receive_bytes_max: 1024 * 1024,
        }
    }
}

/// Binds the sockets.
///
/// # Errors
/// `Listen`: an address cannot be bound; a wildcard of a family that this machine lacks is left out
/// if there is another. `Options`: none was named.
///
/// # Panics
/// Outside a tokio runtime.
pub fn bind(config: Config) -> Result<(Handle, Driver), Error> {
    let mut sockets = Vec::new();
    let mut refused = Error::Options("`binds` names no address");
    for addr in &config.binds {
        match Socket::bind(*addr) {
            Ok(socket) => sockets.push(socket),
            Err(error) => {
                refused = Error::Listen { uri: addr.to_string(), why: error.to_string() };
                if !addr.ip().is_unspecified() {
                    return Err(refused);
                }
            }
        }
    }
    if sockets.is_empty() {
        return Err(refused);
    }
    let bound = sockets.iter().map(Socket::local_addr).collect();
    let bell = Arc::new(Bell::new(&sockets));
    let shared = Arc::new(Shared { config, bell, bound, sessions: AtomicUsize::new(0) });
    shared.gather();
    let driver = Driver::new(Engine::new(Arc::clone(&shared), sockets).run());
    Ok((Handle { shared: Arc::new(Owner(shared)) }, driver))
}

/// Makes sessions. When all handles, sessions and channels are dropped, the driver ends.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Owner>,
}

impl Handle {
    /// A session with somebody not known yet.
    ///
    /// # Errors
    /// [`psyne_rtc::Error::TooMuch`] over [`Config::sessions_max`].
    ///
    /// # Panics
    /// The operating system gives no randomness.
    pub fn session(&self) -> Result<Session, Error> {
        self.session_with(self.shared.0.config.session.clone())
    }

    /// The same, made otherwise. Its `origin` stays that of the [`Config`] that was bound.
    ///
    /// # Errors
    /// As [`Handle::session`].
    ///
    /// # Panics
    /// As [`Handle::session`].
    pub fn session_with(&self, mut config: psyne_rtc::Config) -> Result<Session, Error> {
        let shared = &self.shared.0;
        let max = shared.config.sessions_max;
        let room = |count: usize| (count < max).then_some(count + 1);
        let taken = shared.sessions.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room);
        taken.map_err(|_| psyne_rtc::Error::TooMuch { what: "sessions_max", max })?;
        config.origin = shared.config.session.origin;
        Ok(Session::new(Arc::clone(&self.shared), config, random()))
    }

    /// Where the sockets are bound, for who announces them.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.shared.0.bound
    }

    /// Tells all sessions, those to come too, of an address at which a socket can be reached.
    pub fn add_local(&self, local: Local) {
        self.shared.0.bell.add_local(local);
    }

    /// What was counted so far.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.shared.0.bell.metrics()
    }
}

/// What handles and the driver share.
#[derive(Debug)]
struct Shared {
    config: Config,
    bell: Arc<Bell>,
    bound: Vec<SocketAddr>,
    sessions: AtomicUsize,
}

impl Shared {
    /// Offers this machine's addresses. What the operating system does not tell now, it may later.
    fn gather(&self) {
        if !self.config.gather || !self.bound.iter().any(|bound| bound.ip().is_unspecified()) {
            return;
        }
        for ip in gather::hosts(self.config.session.loopback).unwrap_or_default() {
            let family = |bound: &&SocketAddr| bound.is_ipv4() == ip.is_ipv4();
            for bound in self.bound.iter().filter(family) {
                if bound.ip().is_unspecified() {
                    self.bell.add_local(Local::Host((ip, bound.port()).into()));
                }
            }
        }
    }

    fn end_session(&self) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The application's share of it. When it goes, the driver does.
#[derive(Debug)]
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.bell.leave();
    }
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    bytes
}
