//! Where publishers come in: RTMP, RTMPS and SRT listeners, each connection a task.
//!
//! A connection ends with one line in the log that says who it was and why. Nothing that a
//! connection does reaches another: its memory is bounded by the limits of its machine, and its
//! task by the timeouts here.

pub(crate) mod admission;
mod play;
mod rtmp;
mod srt;
mod srt_filter;
mod stream_id;
mod tcp;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::config::Part;
use crate::egress::Link;
use crate::essential::Essential;
use crate::http::tls::Certs;
use crate::live::Live;
use crate::{App, Error, Shutdown};
use admission::Admission;
use rtmp::Ended;
use tcp::Tcp;

pub use srt::{Config as SrtConfig, Srt};

/// Limits of the RTMP listeners.
#[derive(Clone, Debug)]
pub struct Config {
    /// Limits of each connection's machine.
    pub rtmp: streamr_media::rtmp::Config,
    /// Connections of one listener, publishers and players together.
    pub connections_max: usize,
    /// Of these, from one address that is not this machine: a studio behind one address has some
    /// tens of encoders, an attacker would like all.
    pub connections_per_address_max: usize,
    /// A peer that takes no byte for so long is gone.
    pub write_timeout: Duration,
    /// For the TLS handshake of RTMPS.
    pub tls_timeout: Duration,
    /// Bytes read at once from one connection; also the memory that an idle connection costs.
    pub read_bytes: usize,
    /// After a read, a publisher's socket is left alone for this long for each publisher that a
    /// core has. A read and its acknowledgement cost the same few microseconds whether they bring
    /// one frame or four, so many publishers are read in larger pieces, and a few at once.
    pub rest_each: Duration,
    /// But never for longer. As long as players are written to, and a fifth of a part.
    pub rest_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            rtmp: streamr_media::rtmp::Config::default(),
            connections_max: 20_000,
            connections_per_address_max: 200,
            write_timeout: Duration::from_secs(10),
            tls_timeout: Duration::from_secs(10),
            read_bytes: 16 << 10,
            rest_each: Duration::from_micros(200),
            rest_max: Duration::from_millis(40),
        }
    }
}

/// All listeners of a server, bound.
#[derive(Default)]
pub struct Ingest {
    rtmp: Vec<(Rtmp, Option<TlsAcceptor>)>,
    srt: Option<Srt>,
}

impl Ingest {
    /// Binds what the configuration turns on.
    ///
    /// # Errors
    /// The first port that cannot be had, in words.
    pub async fn bind(app: &App, live: &Live, certs: Option<&Arc<Certs>>) -> Result<Self, Error> {
        let mut ingest = Self::default();
        let config = Config::of(&app.config);
        for listen in app.config.listeners()? {
            let fault = |reason| listen.fault(reason);
            let shutdown = app.shutdown.clone();
            let tls = match listen.part {
                Part::Http | Part::Https | Part::Webrtc => continue,
                Part::Rtmp => None,
                Part::Rtmps => certs.map(|certs| TlsAcceptor::from(certs.server_config(&[]))),
                Part::Srt => {
                    let srt = SrtConfig::of(&app.config);
                    let bound = Srt::bind(listen.address, srt, live.clone(), shutdown).await;
                    ingest.srt = Some(bound.map_err(fault)?);
                    continue;
                }
            };
            let socket = TcpListener::bind(listen.address).await.map_err(fault)?;
            ingest.rtmp.push((Rtmp::new(socket, config.clone(), live.clone(), shutdown), tls));
        }
        Ok(ingest)
    }

    /// Starts them among the server's parts.
    pub fn run(self, parts: &mut JoinSet<()>) {
        for (rtmp, tls) in self.rtmp {
            parts.spawn(rtmp.run(tls));
        }
        if let Some(srt) = self.srt {
            parts.spawn(srt.run());
        }
    }
}

impl Config {
    /// What the server's configuration says about it.
    #[must_use]
    pub fn of(config: &crate::Config) -> Self {
        let rtmp = streamr_media::rtmp::Config {
            message_bytes_max: config.stream.frame_bytes_max.min((16 << 20) - 1),
            // Players are sent what the fan-out has chunked by its own size.
            chunk_bytes: streamr_media::fanout::Config::default().chunk_bytes,
            ..Default::default()
        };
        let connections_max = config.rtmp.connections_max as usize;
        Self { rtmp, connections_max, ..Self::default() }
    }

    /// How long a socket is left alone after a read when a core has so many publishers.
    fn rest(&self, publishers: u64) -> Duration {
        let publishers = u32::try_from(publishers).unwrap_or(u32::MAX);
        let rest = self.rest_each.saturating_mul(publishers).min(self.rest_max);
        // Timers are no finer.
        if rest < Duration::from_millis(1) { Duration::ZERO } else { rest }
    }
}

/// What every connection of a listener shares.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) config: Arc<Config>,
    pub(crate) live: Live,
    pub(crate) shutdown: Shutdown,
    cores: u64,
}

impl Context {
    /// How long a publisher's socket is left alone after a read.
    fn rest(&self) -> Duration {
        self.config.rest(self.live.metrics().publishers.value() / self.cores)
    }
}

/// An RTMP or RTMPS listener.
#[derive(Debug)]
pub struct Rtmp {
    listener: TcpListener,
    admission: Admission,
    context: Context,
}

impl Rtmp {
    /// A listener on a socket that is bound already.
    #[must_use]
    pub fn new(listener: TcpListener, config: Config, live: Live, shutdown: Shutdown) -> Self {
        let admission = Admission::new(config.connections_max, config.connections_per_address_max);
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        let context = Context { config: Arc::new(config), live, shutdown, cores };
        Self { listener, admission, context }
    }

    /// Takes connections until shutdown, and waits for those that stand to end.
    pub async fn run(self, tls: Option<TlsAcceptor>) {
        let _essential = Essential("the RTMP listener");
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                () = self.context.shutdown.begun() => break,
            };
            match accepted {
                Ok((socket, peer)) => match self.admission.admit(peer.ip().to_canonical()) {
                    Ok(permit) => {
                        let connection = connect(self.context.clone(), socket, peer, tls.clone());
                        connections.spawn(async move {
                            connection.await;
                            drop(permit);
                        });
                    }
                    Err(full) => tracing::warn!(%full, "RTMP connection turned away"),
                },
                Err(error) => {
                    // Out of descriptors, most likely: others have to end first.
                    tracing::error!(%error, "cannot take RTMP connections");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(self.listener);
        while connections.join_next().await.is_some() {}
    }
}

/// A byte stream to a peer, plain or by TLS.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {
    /// A read that leaves room in its buffer has taken everything.
    const READS_ALL: bool;

    /// Reads what is there, if anything is. A socket that can do without wakes nobody from then on
    /// with what comes next, until somebody waits for it.
    fn read_unwatched(&mut self, buffer: &mut [u8]) -> Option<std::io::Result<usize>>;

    /// Takes it from the runtime.
    ///
    /// # Errors
    /// What the system says.
    fn into_link(self) -> std::io::Result<Link>;
}

async fn connect(context: Context, socket: TcpStream, peer: SocketAddr, tls: Option<TlsAcceptor>) {
    // Small messages (status, acknowledgement) must not wait for more.
    let _ = socket.set_nodelay(true);
    let ended = match tls {
        None => serve(&context, Tcp::new(socket)).await,
        Some(tls) => secure(&context, socket, tls).await,
    };
    let Some(ended) = ended else { return };
    tracing::info!(
        what = ended.what,
        stream = ended.stream,
        bytes = ended.bytes,
        reason = %ended.reason,
        "RTMP connection ended"
    );
    tracing::trace!(%peer, "its address");
}

/// How the connection ended, unless it is a player's: that belongs to the engine from here.
async fn serve<S: Socket>(context: &Context, socket: S) -> Option<Ended> {
    let (ended, player) = rtmp::serve(context, socket).await;
    let Some(player) = player else { return Some(ended) };
    tracing::debug!(stream = ended.stream, "an RTMP player goes to the engine");
    play::hand_over(context, player).err().map(|error| ended.because(error.to_string()))
}

async fn secure(context: &Context, socket: TcpStream, tls: TlsAcceptor) -> Option<Ended> {
    match tokio::time::timeout(context.config.tls_timeout, tls.accept(socket)).await {
        Ok(Ok(socket)) => serve(context, socket).await,
        Ok(Err(error)) => Some(Ended::default().because(format!("TLS: {error}"))),
        Err(_) => Some(Ended::default().because("tls_timeout")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_publishers_are_read_at_once_and_many_in_larger_pieces() {
        let config = Config::default();
        for (publishers, rest_ms) in [(0, 0), (1, 0), (4, 0), (5, 1), (50, 10), (200, 40)] {
            assert_eq!(config.rest(publishers), Duration::from_millis(rest_ms), "{publishers}");
        }
        assert_eq!(config.rest(u64::MAX), config.rest_max);
    }
}
