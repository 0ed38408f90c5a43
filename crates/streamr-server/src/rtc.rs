//! WebRTC: publishers that come by WHIP (RFC 9725), viewers that come by WHEP.
//!
//! ```text
//! http::rtc ─ POST ─► Rtc::publish / Rtc::watch ─► a task: Peer (psyne::media::Session)
//!                                                    │ publisher: rtp::Source ─► live::Publication
//! one UDP socket ─► Routes ─ datagrams ─► its mailbox│ viewer:    Feed (rtp::Cutter) ─► Session
//! ```
//!
//! One UDP port carries all sessions. A session is a task: what a peer does to it, a panic too,
//! ends it alone. A stream that is watched has one [`feed::Feed`], which cuts its frames into RTP
//! payloads once for all its viewers.

mod feed;
mod peer;
mod publisher;
mod routes;
mod viewer;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use psyne::media::{self, Role, Session};
use psyne::{Certificate, Time};
use tokio::net::UdpSocket;
use tokio::sync::Notify;

use crate::config::Listen;
use crate::essential::Essential;
use crate::ingest::admission::{Admission, Permit};
use crate::live::{Live, Refused};
use crate::{App, Error};
use feed::Feed;
use peer::Peer;
use routes::Routes;

/// Sessions from one address that is not this machine: an office behind one address has hundreds of
/// viewers, an attacker would like all.
const SESSIONS_PER_ADDRESS_MAX: usize = 500;
/// At shutdown, sessions have this long to say goodbye.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why nobody gets a session.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The key, or the stream, does not allow it.
    #[error("{0}")]
    Publish(#[from] Refused),
    /// The offer cannot be answered.
    #[error("{0}")]
    Offer(String),
    /// The offer is no SDP, or over a limit.
    #[error("{0}")]
    Malformed(String),
    /// The stream cannot be played by WebRTC.
    #[error("{0}; play it by HLS")]
    Stream(String),
    /// Nothing is on.
    #[error("the stream is not live")]
    NotLive,
    /// There are as many sessions as there may be.
    #[error("{0}: too many sessions; try again later")]
    Full(&'static str),
    /// The machine has no address to be reached at.
    #[error("no address of this machine leads to you; see webrtc.listen and public_addresses")]
    Address,
}

/// A session that was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Names it in URLs; who knows it may end it.
    pub id: String,
    /// The answer.
    pub answer: String,
    /// Names its ICE session (RFC 9725 §4.3.1).
    pub etag: String,
}

/// The handle. Clones share it.
#[derive(Clone)]
pub struct Rtc(Arc<Shared>);

struct Shared {
    socket: Arc<UdpSocket>,
    address: SocketAddr,
    public_addresses: Vec<IpAddr>,
    ice_servers: Vec<String>,
    certificate: Certificate,
    origin: Instant,
    admission: Admission,
    routes: Arc<Routes>,
    open: Mutex<HashMap<String, Open>>,
    feeds: Mutex<HashMap<String, Weak<Feed>>>,
    live: Live,
    app: App,
}

/// A session, for whoever has its URL.
struct Open {
    etag: String,
    stop: Arc<Notify>,
}

/// What a session's task holds as long as it runs.
struct Place {
    rtc: Rtc,
    id: String,
    stop: Arc<Notify>,
    _permit: Permit,
    _counted: crate::metrics::Held,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.rtc.0.open).remove(&self.id);
    }
}

impl Rtc {
    /// Binds the port.
    ///
    /// # Errors
    /// It cannot be had, in words.
    pub async fn bind(app: &App, live: &Live, listen: &Listen) -> Result<Self, Error> {
        let socket = routes::bind(listen.address).map_err(|reason| listen.fault(reason))?;
        let address = socket.local_addr().map_err(|reason| listen.fault(reason))?;
        let config = &app.config.webrtc;
        Ok(Self(Arc::new(Shared {
            socket: Arc::new(socket),
            address,
            public_addresses: config.public_addresses.clone(),
            ice_servers: config.ice_servers.clone(),
            certificate: Certificate::generate(rand::random()),
            origin: Instant::now(),
            admission: Admission::new(config.sessions_max as usize, SESSIONS_PER_ADDRESS_MAX),
            routes: Arc::default(),
            open: Mutex::default(),
            feeds: Mutex::default(),
            live: live.clone(),
            app: app.clone(),
        })))
    }

    /// Brings datagrams to their sessions until the shutdown, and waits a little for these to end.
    pub async fn run(self) {
        let _essential = Essential("the WebRTC port");
        let shared = &self.0;
        let dropped = &shared.app.metrics.webrtc_dropped_total;
        tokio::select! {
            () = shared.routes.carry(&shared.socket, dropped) => {}
            () = shared.app.shutdown.begun() => {}
        }
        let farewell = async {
            while !lock(&shared.open).is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let carry = shared.routes.carry(&shared.socket, dropped);
        tokio::select! {
            _ = tokio::time::timeout(FAREWELL, farewell) => {}
            () = carry => {}
        }
    }

    /// STUN and TURN servers that clients are told.
    #[must_use]
    pub fn ice_servers(&self) -> &[String] {
        &self.0.ice_servers
    }

    /// Somebody offers to publish with `key`.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub async fn publish(&self, from: IpAddr, key: &str, offer: &str) -> Result<Begun, Refusal> {
        let place = self.place(from)?;
        // The offer first: who cannot be answered shall not take a stream over.
        let config = self.config(Role::Receive);
        let (session, answer) = self.answer(&config, from, offer)?;
        let publication = self.0.live.attach(key).await?;
        let begun = self.begun(&place, &session, answer);
        let peer = Peer::new(self, session, place);
        let period = Duration::from_millis(self.0.app.config.hls.segment_ms.into());
        tokio::spawn(publisher::run(peer, publication, period));
        Ok(begun)
    }

    /// Somebody wants to watch the stream `name`.
    ///
    /// # Errors
    /// Why that cannot be.
    pub fn watch(&self, from: IpAddr, name: &str, offer: &str) -> Result<Begun, Refusal> {
        let place = self.place(from)?;
        let broadcast = self.0.live.broadcast(name).filter(|broadcast| !broadcast.is_over());
        let broadcast = broadcast.ok_or(Refusal::NotLive)?;
        let feed = self.feed(name, &broadcast)?;
        let mut config = self.config(Role::Send);
        config.h264_profile = feed.profile();
        let (session, answer) = self.answer(&config, from, offer)?;
        let begun = self.begun(&place, &session, answer);
        tokio::spawn(viewer::run(Peer::new(self, session, place), broadcast, feed));
        Ok(begun)
    }

    /// Ends a session; whether there was one.
    #[must_use]
    pub fn end(&self, id: &str) -> bool {
        let open = lock(&self.0.open);
        let found = open.get(id);
        if let Some(open) = found {
            open.stop.notify_one();
        }
        found.is_some()
    }

    /// The ICE session of a session, as its `ETag`.
    #[must_use]
    pub fn etag(&self, id: &str) -> Option<String> {
        lock(&self.0.open).get(id).map(|open| open.etag.clone())
    }

    fn place(&self, from: IpAddr) -> Result<Place, Refusal> {
        let admitted = self.0.admission.admit(from.to_canonical());
        let permit = admitted.map_err(|_| Refusal::Full("webrtc.sessions_max"))?;
        let id = format!("{:032x}", rand::random::<u128>());
        let (stop, counted) = (Arc::default(), self.0.app.metrics.webrtc_sessions.hold());
        Ok(Place { rtc: self.clone(), id, stop, _permit: permit, _counted: counted })
    }

    fn begun(&self, place: &Place, session: &Session, answer: String) -> Begun {
        let (id, etag) = (place.id.clone(), format!("\"{}\"", session.name()));
        let open = Open { etag: etag.clone(), stop: Arc::clone(&place.stop) };
        lock(&self.0.open).insert(id.clone(), open);
        Begun { id, answer, etag }
    }

    fn config(&self, role: Role) -> media::Config {
        media::Config::new(role, self.0.origin, self.0.certificate.clone())
    }

    fn answer(
        &self,
        config: &media::Config,
        from: IpAddr,
        offer: &str,
    ) -> Result<(Session, String), Refusal> {
        let locals = self.locals(from);
        if locals.is_empty() {
            return Err(Refusal::Address);
        }
        let answered = Session::answer(config, self.now(), rand::random(), &locals, offer);
        answered.map_err(|error| match error.code() {
            "rtc.malformed" | "rtc.too_much" => Refusal::Malformed(error.to_string()),
            _ => Refusal::Offer(error.to_string()),
        })
    }

    /// The addresses at which `from` reaches us: the one that leads there, that of the way out, and
    /// those that the configuration names.
    fn locals(&self, from: IpAddr) -> Vec<SocketAddr> {
        let bound = self.0.address;
        let mut found = Vec::new();
        if bound.ip().is_unspecified() {
            let out: [IpAddr; 2] = [OUTSIDE_V4.into(), OUTSIDE_V6.into()];
            found.extend([from.to_canonical()].into_iter().chain(out).filter_map(way_to));
        } else {
            found.push(bound.ip());
        }
        found.extend(&self.0.public_addresses);
        found.retain(|ip| ip.is_ipv4() == bound.is_ipv4() || bound.ip() == UNSPECIFIED_V6);
        let mut locals: Vec<SocketAddr> = Vec::new();
        for ip in found {
            let address = SocketAddr::new(ip, bound.port());
            if !locals.contains(&address) {
                locals.push(address);
            }
        }
        locals
    }

    /// The stream's feed; the first viewer makes it.
    fn feed(
        &self,
        name: &str,
        broadcast: &Arc<crate::live::Broadcast>,
    ) -> Result<Arc<Feed>, Refusal> {
        let mut feeds = lock(&self.0.feeds);
        feeds.retain(|_, feed| feed.strong_count() > 0);
        let found = feeds.get(name).and_then(Weak::upgrade);
        if let Some(feed) = found.filter(|feed| feed.is_of(broadcast)) {
            return feed.check().map(|()| Arc::clone(&feed)).map_err(Refusal::Stream);
        }
        let feed = Feed::open(broadcast).map_err(Refusal::Stream)?;
        feeds.insert(name.to_owned(), Arc::downgrade(&feed));
        Ok(feed)
    }

    fn now(&self) -> Time {
        let micros = self.0.origin.elapsed().as_micros();
        Time::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

impl std::fmt::Debug for Rtc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rtc").field("address", &self.0.address).finish_non_exhaustive()
    }
}

/// Addresses for documentation (RFC 5737, RFC 3849): the way there is the way to everybody. Nothing
/// is sent.
const OUTSIDE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OUTSIDE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xDB8, 0, 0, 0, 0, 0, 1);
const UNSPECIFIED_V6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// Which of our addresses the system would send from.
fn way_to(ip: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = std::net::UdpSocket::bind((any, 0)).ok()?;
    socket.connect((ip, 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_unspecified())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
