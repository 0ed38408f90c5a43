//! One RTMP connection: the machine, its socket, and what it publishes or plays.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use psyne::Time;
use streamr_media::Error;
use streamr_media::flv::Tag;
use streamr_media::rtmp::{Closed, Event, Output, Reject, Server, StreamId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::play::Player;
use super::{Context, Socket};
use crate::live::{Broadcast, Publication, Refused};

/// How a connection ended: what its line in the log says.
#[derive(Debug, Default)]
pub(super) struct Ended {
    pub(super) what: &'static str,
    pub(super) stream: String,
    pub(super) bytes: u64,
    pub(super) reason: Cow<'static, str>,
}

impl Ended {
    pub(super) fn because(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = reason.into();
        self
    }
}

/// Serves a connection to its end, or until it is a player's.
pub(super) async fn serve<S: Socket>(context: &Context, socket: S) -> (Ended, Option<Player<S>>) {
    let clock = context.live.clock();
    let mut connection = Connection {
        context,
        socket,
        machine: Server::new(context.config.rtmp.clone(), clock.now(), rand::random()),
        ended: Ended { what: "none", ..Ended::default() },
        publishing: None,
        playing: None,
        said_goodbye: false,
        more: false,
    };
    let reason = connection.run().await;
    if let Some((stream, broadcast)) = connection.playing.take() {
        let parts = connection.machine.into_player(stream);
        let player = Player { socket: connection.socket, parts, broadcast };
        return (connection.ended, Some(player));
    }
    (connection.ended.because(reason), None)
}

struct Connection<'a, S> {
    context: &'a Context,
    socket: S,
    machine: Server,
    ended: Ended,
    publishing: Option<(StreamId, Publication)>,
    playing: Option<(StreamId, Arc<Broadcast>)>,
    /// It has unpublished. What comes of its socket then is nobody's concern: ffmpeg resets it.
    said_goodbye: bool,
    /// The last read may have left something.
    more: bool,
}

/// Publishers that rest are woken together, on a grid of 10 ms: a wake-up costs as much as a read.
const GRID_US: u64 = 10_000;

const fn together(at: Time) -> Time {
    Time::from_micros(at.as_micros().next_multiple_of(GRID_US))
}

/// How long a peer that was refused may go on before its socket is closed.
const LINGER: std::time::Duration = std::time::Duration::from_secs(1);

type Reason = Cow<'static, str>;

impl<S: Socket> Connection<'_, S> {
    /// Until the connection ends or becomes a player's.
    async fn run(&mut self) -> Reason {
        let mut buffer = vec![0; self.context.config.read_bytes];
        loop {
            let wait = match self.drain().await {
                Ok(wait) => wait,
                Err(reason) => return reason,
            };
            if self.playing.is_some() {
                return "plays".into();
            }
            let taken = match self.rested(&mut buffer, wait).await {
                Some(taken) => taken,
                None => self.input(&mut buffer, wait).await,
            };
            if let Err(reason) = taken {
                return reason;
            }
        }
    }

    /// Leaves a publisher's socket alone for a while, so that one read brings several frames, and
    /// takes what has come. `None` if it has to be waited for.
    async fn rested(
        &mut self,
        buffer: &mut [u8],
        wait: Option<Time>,
    ) -> Option<Result<(), Reason>> {
        let (rest, clock) = (self.context.rest(), self.context.live.clock());
        if self.publishing.is_none() || rest.is_zero() {
            return None;
        }
        if !self.more {
            tokio::time::sleep_until(clock.instant(together(clock.now() + rest)).into()).await;
        }
        if wait.is_some_and(|at| at <= clock.now()) {
            self.machine.handle_timeout(clock.now());
            return Some(Ok(()));
        }
        let dismissed = dismissed(self.publishing.as_ref()).now_or_never().is_some();
        if dismissed || self.context.shutdown.is_begun() {
            return Some(self.dismiss());
        }
        match self.socket.read_unwatched(buffer) {
            Some(read) => Some(self.take(read, buffer)),
            None => std::mem::take(&mut self.more).then_some(Ok(())),
        }
    }

    /// Waits for the next thing that happens, and tells the machine.
    async fn input(&mut self, buffer: &mut [u8], wait: Option<Time>) -> Result<(), Reason> {
        let clock = self.context.live.clock();
        let deadline = clock.instant(wait.unwrap_or(Time::MAX)).into();
        let publishing = self.publishing.as_ref();
        tokio::select! {
            read = self.socket.read(buffer) => self.take(read, buffer),
            () = tokio::time::sleep_until(deadline) => {
                self.machine.handle_timeout(clock.now());
                Ok(())
            }
            () = dismissed(publishing) => self.dismiss(),
            () = self.context.shutdown.begun() => self.dismiss(),
        }
    }

    /// Tells the machine what was read.
    fn take(&mut self, read: io::Result<usize>, buffer: &[u8]) -> Result<(), Reason> {
        let count = match read {
            Ok(0) | Err(_) if self.said_goodbye => {
                return Err("the publisher said goodbye".into());
            }
            Ok(0) => return Err("the peer closed the connection".into()),
            Ok(count) => count,
            Err(error) => return Err(format!("reading: {error}").into()),
        };
        self.ended.bytes += count as u64;
        self.more = !S::READS_ALL || count == buffer.len();
        let input = buffer.get(..count).unwrap_or_default();
        let taken = self.machine.handle_input(self.context.live.clock().now(), input);
        taken.or_else(|e| blame(self.publishing.as_ref(), e)).map_err(|e| e.to_string().into())
    }

    /// Tells a publisher that it has to go, after which the machine ends the connection.
    fn dismiss(&mut self) -> Result<(), Reason> {
        let why = if self.context.shutdown.is_begun() {
            self.ended.reason = "the server is shutting down".into();
            Reject::Unavailable
        } else {
            Reject::InUse
        };
        match self.publishing.take() {
            Some((stream, _)) => {
                self.machine.reject(stream, why);
                Ok(())
            }
            None => Err(std::mem::take(&mut self.ended.reason)),
        }
    }

    /// Carries out what the machine wants, until it waits.
    async fn drain(&mut self) -> Result<Option<Time>, Reason> {
        let mut tags = Vec::new();
        loop {
            match self.machine.poll_output() {
                Output::Transmit(bytes) => self.send(&bytes).await?,
                Output::Event(Event::Media { tag, .. }) => tags.push(tag),
                Output::Event(event) => {
                    self.media(&mut tags);
                    self.event(event).await?;
                }
                Output::Wait(wait) if tags.is_empty() => return Ok(wait),
                Output::Wait(_) => self.media(&mut tags),
            }
        }
    }

    /// Media that cannot be carried ends the publication, and the publisher is told why.
    fn media(&mut self, tags: &mut Vec<Tag>) {
        let tags = std::mem::take(tags);
        let Some((stream, publication)) = self.publishing.as_mut().filter(|_| !tags.is_empty())
        else {
            return;
        };
        if let Err(error) = publication.handle_tags(tags) {
            self.ended.reason = error.to_string().into();
            self.machine.reject_media(*stream, &error);
            self.publishing = None;
        }
    }

    async fn event(&mut self, event: Event) -> Result<(), Reason> {
        match event {
            Event::Publish { stream, name, .. } => {
                self.said_goodbye = false;
                self.publish(stream, &name).await;
            }
            Event::Play { stream, name, .. } => self.play(stream, name),
            Event::Unpublish { .. } => {
                if let Some((_, publication)) = self.publishing.take() {
                    publication.goodbye();
                    self.said_goodbye = true;
                }
            }
            Event::Stop { .. } | Event::Media { .. } => {}
            Event::Closed(closed) => return Err(self.closed(closed).await),
        }
        Ok(())
    }

    async fn publish(&mut self, stream: StreamId, key: &str) {
        self.ended.what = "publisher";
        if self.publishing.is_some() {
            return self.machine.reject(stream, Reject::InUse);
        }
        match self.context.live.attach(key).await {
            Ok(publication) => {
                self.ended.stream = publication.broadcast().name().to_string();
                self.machine.accept(stream);
                self.publishing = Some((stream, publication));
            }
            Err(refused) => {
                self.ended.reason = refused.to_string().into();
                self.machine.reject(stream, reject(&refused));
            }
        }
    }

    fn play(&mut self, stream: StreamId, name: String) {
        self.ended.what = "player";
        self.ended.stream.clone_from(&name);
        if self.publishing.is_some() {
            return self.machine.reject(stream, Reject::Unavailable);
        }
        match self.context.live.broadcast(&name).filter(|broadcast| !broadcast.is_over()) {
            Some(broadcast) => {
                self.machine.accept(stream);
                self.playing = Some((stream, broadcast));
            }
            None => {
                self.ended.reason = "there is no such broadcast".into();
                self.machine.reject(stream, Reject::NotFound);
            }
        }
    }

    async fn closed(&mut self, closed: Closed) -> Reason {
        while let Output::Transmit(bytes) = self.machine.poll_output() {
            if self.send(&bytes).await.is_err() {
                break;
            }
        }
        let _ = self.socket.shutdown().await;
        // Closing with bytes unread resets the connection, and what was said would be lost.
        let mut rest = [0; 4_096];
        let unread = async { while matches!(self.socket.read(&mut rest).await, Ok(1..)) {} };
        let _ = tokio::time::timeout(LINGER, unread).await;
        match closed {
            Closed::Rejected => {
                let refused = std::mem::take(&mut self.ended.reason);
                if refused.is_empty() { "dismissed".into() } else { refused }
            }
            Closed::SetupTimeout => "setup_timeout: neither publish nor play in time".into(),
            Closed::IdleTimeout => "idle_timeout: the publisher fell silent".into(),
        }
    }

    async fn send(&mut self, bytes: &Bytes) -> Result<(), Reason> {
        let write = self.socket.write_all(bytes);
        match tokio::time::timeout(self.context.config.write_timeout, write).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("writing: {error}").into()),
            Err(_) => Err("write_timeout: the peer takes nothing".into()),
        }
    }
}

/// A publisher sent what the machine does not take: it is counted.
fn blame(publishing: Option<&(StreamId, Publication)>, error: Error) -> Result<(), Error> {
    match publishing {
        Some((_, publication)) => publication.fail(error),
        None => Err(error),
    }
}

async fn dismissed(publishing: Option<&(StreamId, Publication)>) {
    match publishing {
        Some((_, publication)) => publication.dismissed().await,
        None => std::future::pending().await,
    }
}

/// The protocol's own status for a refusal.
fn reject(refused: &Refused) -> Reject {
    match refused {
        Refused::Key | Refused::Archived => Reject::NotFound,
        Refused::InUse => Reject::InUse,
        Refused::ShuttingDown | Refused::Store(_) => Reject::Unavailable,
    }
}
