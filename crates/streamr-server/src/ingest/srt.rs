//! SRT: publishers that send MPEG-TS over UDP, as callers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use srt_protocol::packet::CoreRejectReason;
use srt_protocol::settings::KeySettings;
use srt_tokio::access::{RejectReason, ServerRejectReason};
use srt_tokio::options::{KeySize, Passphrase};
use srt_tokio::{ConnectionRequest, SrtIncoming, SrtListener, SrtSocket};
use streamr_media::media::{Demux, Event};
use streamr_media::ts;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;

use super::{srt_filter, stream_id};
use crate::Shutdown;
use crate::essential::Essential;
use crate::live::{Live, Publication, Refused};

/// Limits of the SRT listener.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// How long a lost packet may be asked for again.
    pub latency: Duration,
    /// Callers must encrypt with it, if it is set, and must not if it is not: 10 to 79 bytes.
    pub passphrase: Option<String>,
    /// Publishers at once.
    pub connections_max: usize,
    /// A publisher that sends nothing for so long is gone.
    pub idle_timeout: Duration,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("latency", &self.latency).finish_non_exhaustive()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(120),
            passphrase: None,
            connections_max: 1_000,
            idle_timeout: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// What the server's configuration says about it.
    #[must_use]
    pub fn of(config: &crate::Config) -> Self {
        let latency = Duration::from_millis(config.srt.latency_ms.into());
        let connections_max = config.srt.connections_max as usize;
        let passphrase = Some(config.srt.passphrase.clone()).filter(|text| !text.is_empty());
        Self { latency, passphrase, connections_max, ..Self::default() }
    }

    /// What a caller must have encrypted with. The length of the key is the caller's choice.
    fn key(&self, request: &ConnectionRequest) -> Option<KeySettings> {
        let passphrase = Passphrase::try_from(self.passphrase.clone()?).ok()?;
        Some(KeySettings { key_size: request.key_size(), passphrase })
    }
}

/// The SRT listener.
#[derive(Debug)]
pub struct Srt {
    // Holds the socket open.
    listener: Option<SrtListener>,
    address: SocketAddr,
    incoming: SrtIncoming,
    config: Config,
    live: Live,
    shutdown: Shutdown,
}

impl Srt {
    /// Listens.
    ///
    /// # Errors
    /// The address cannot be bound, or the passphrase has a wrong length.
    pub async fn bind(
        address: SocketAddr,
        config: Config,
        live: Live,
        shutdown: Shutdown,
    ) -> std::io::Result<Self> {
        if config.passphrase.as_ref().is_some_and(|text| !(10..=79).contains(&text.len())) {
            let text = "srt.passphrase must have 10 to 79 bytes";
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, text));
        }
        let socket = UdpSocket::bind(address).await?;
        srt_filter::attach(&socket, config.passphrase.is_some())?;
        let builder = SrtListener::builder().latency(config.latency).socket(socket);
        let (listener, incoming) = builder.bind(address).await?;
        Ok(Self { listener: Some(listener), address, incoming, config, live, shutdown })
    }

    /// The library's listener task has ended, which it does without being told. The filter keeps
    /// away all that is known to do that; if there is more, others shall not suffer for long.
    async fn listen_again(&mut self) {
        tracing::error!("the SRT listener has failed, and is started anew");
        self.listener = None;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (config, live) = (self.config.clone(), self.live.clone());
        match Self::bind(self.address, config, live, self.shutdown.clone()).await {
            Ok(again) => *self = again,
            Err(error) => tracing::error!(%error, "SRT: cannot listen"),
        }
    }

    /// Takes callers until shutdown, and waits for those that publish to end.
    pub async fn run(mut self) {
        let _essential = Essential("the SRT listener");
        let room = Arc::new(Semaphore::new(self.config.connections_max));
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let request = tokio::select! {
                request = self.incoming.incoming().next() => request,
                Some(_) = connections.join_next() => continue,
                () = self.shutdown.begun() => break,
            };
            let Some(request) = request else {
                self.listen_again().await;
                continue;
            };
            let (live, config) = (self.live.clone(), self.config.clone());
            let (shutdown, permit) = (self.shutdown.clone(), room.clone().try_acquire_owned());
            connections.spawn(async move {
                let reason = match permit {
                    Ok(_permit) => serve(request, live, &config, shutdown).await,
                    Err(_) => refuse(request, ServerRejectReason::Overload).await,
                };
                tracing::info!(reason, "SRT connection ended");
            });
        }
        while connections.join_next().await.is_some() {}
    }
}

async fn serve(
    request: ConnectionRequest,
    live: Live,
    config: &Config,
    shutdown: Shutdown,
) -> String {
    let encrypted = request.key_size() != KeySize::Unspecified;
    let Some(id) = request.stream_id().map(ToString::to_string) else {
        let (reason, text) = refusal(encrypted && config.passphrase.is_none());
        let _ = request.reject(reason).await;
        return text.to_owned();
    };
    let key = match stream_id::publish_key(&id) {
        Ok(key) => key,
        Err(refused) => {
            refuse(request, ServerRejectReason::BadRequest).await;
            return refused.to_string();
        }
    };
    let publication = match live.attach(key).await {
        Ok(publication) => publication,
        Err(refused) => {
            refuse(request, reject(&refused)).await;
            return refused.to_string();
        }
    };
    let key = config.key(&request);
    match request.accept(key).await {
        Ok(socket) => receive(socket, publication, config, shutdown).await,
        Err(error) => format!("the handshake failed: {error}"),
    }
}

async fn receive(
    mut socket: SrtSocket,
    mut publication: Publication,
    config: &Config,
    shutdown: Shutdown,
) -> String {
    let mut demuxer = ts::Demuxer::default();
    loop {
        let next = tokio::select! {
            next = tokio::time::timeout(config.idle_timeout, socket.next()) => next,
            () = publication.dismissed() => return "dismissed".to_owned(),
            () = shutdown.begun() => return "the server is shutting down".to_owned(),
        };
        let bytes = match next {
            Ok(Some(Ok((_, bytes)))) => bytes,
            Ok(Some(Err(error))) => return format!("receiving: {error}"),
            // SRT tells a caller that closes from one that vanishes, but srt-tokio does not.
            Ok(None) => return "the publisher left".to_owned(),
            Err(_) => return "idle_timeout: the publisher fell silent".to_owned(),
        };
        if let Err(error) = demuxer.push(&bytes).or_else(|error| publication.fail(error)) {
            return error.to_string();
        }
        for what in demuxer.take_left_out() {
            let stream = publication.broadcast().name();
            tracing::warn!(
                %stream, "{what} is left out: over SRT send H.264 or HEVC, and AAC or Opus (stereo)"
            );
        }
        let events: Vec<Event> = std::iter::from_fn(|| demuxer.poll_event()).collect();
        if let Err(error) = publication.handle_events(events) {
            return error.to_string();
        }
    }
}

async fn refuse(request: ConnectionRequest, reason: ServerRejectReason) -> String {
    let _ = request.reject(RejectReason::Server(reason)).await;
    reason.to_string()
}

/// For a caller whose handshake has no stream id: it said none, or asked for something that the
/// library cannot take, behind which the filter has cut the handshake off. Of those that encrypt,
/// some say so in the handshake itself.
fn refusal(encrypted_unasked: bool) -> (RejectReason, &'static str) {
    if encrypted_unasked {
        let reason = RejectReason::Core(CoreRejectReason::Unsecure);
        return (
            reason,
            "unexpected_encryption: no srt.passphrase is set, and the caller encrypts",
        );
    }
    let reason = RejectReason::Server(ServerRejectReason::Unimplemented);
    let text = "unsupported: the caller has no stream id, uses a packet filter or bonding, or \
                encrypts and no srt.passphrase is set";
    (reason, text)
}

/// SRT's own code for a refusal ("SRT Access Control Guidelines", rejection codes).
fn reject(refused: &Refused) -> ServerRejectReason {
    match refused {
        Refused::Key => ServerRejectReason::Unauthorized,
        Refused::Archived => ServerRejectReason::Forbidden,
        Refused::InUse => ServerRejectReason::Conflict,
        Refused::ShuttingDown | Refused::Store(_) => ServerRejectReason::Down,
    }
}
