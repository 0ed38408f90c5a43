//! Putting the engine together, and reaching it from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{io, thread};

use bytes::BytesMut;
use mio::{Poll, Waker};
use streamr_media::fanout::{self, MESSAGE_STREAM_ID};
use streamr_media::rtmp::{self, chunk};
use tokio::sync::mpsc;

use super::mailbox::{Command, Mailbox, Play};
use super::metrics::Counters;
use super::shard::{self, Shard};
use super::{Config, Handover, Link, Listener, Media, Metrics, Stream, Topic};
use crate::essential::Essential;

/// Makes an engine. Nothing runs until [`Driver::run`] is called; connections that the engine does
/// not serve itself come out of the receiver.
///
/// # Errors
/// The system refuses an epoll or eventfd instance, or to share a listener between shards.
pub fn new(
    config: Config,
    media: Arc<dyn Media>,
    listeners: Vec<impl Into<Listener>>,
) -> io::Result<(Handle, Driver, mpsc::Receiver<Handover>)> {
    let listeners: Vec<Listener> = listeners.into_iter().map(Into::into).collect();
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    let count = if config.shards == 0 { cores() } else { config.shards };
    let polls = (0..count).map(|_| Poll::new()).collect::<io::Result<Vec<_>>>()?;
    let wakers = polls.iter().map(|poll| Waker::new(poll.registry(), shard::WAKER));
    let mailboxes = wakers.map(|w| w.map(Mailbox::new)).collect::<io::Result<Arc<[_]>>>()?;
    let counters: Arc<[Counters]> = (0..count).map(|_| Counters::default()).collect();
    let (handovers, taken) = mpsc::channel(config.handovers_max);
    let shared = Arc::new(shard::Shared {
        config,
        media,
        mailboxes: mailboxes.clone(),
        counters: counters.clone(),
        handovers,
    });
    let shards = polls
        .into_iter()
        .enumerate()
        .map(|(index, poll)| Shard::new(index, poll, shared.clone(), &listeners))
        .collect::<io::Result<_>>()?;
    let ids = Arc::new(AtomicU64::new(0));
    Ok((Handle { mailboxes, counters, ids }, Driver { shards }, taken))
}

/// The shards, ready to run.
pub struct Driver {
    shards: Vec<Shard>,
}

impl Driver {
    /// Runs every shard on a thread of its own, and returns when [`Handle::shutdown`] was called.
    ///
    /// # Errors
    /// A thread cannot be started, or a shard's epoll fails.
    pub fn run(self) -> io::Result<()> {
        let start = |(index, shard): (usize, Shard)| {
            thread::Builder::new().name(format!("egress-{index}")).spawn(move || {
                let _essential = Essential("a shard of the engine that feeds players");
                shard.run()
            })
        };
        let threads = self.shards.into_iter().enumerate().map(start);
        let threads = threads.collect::<io::Result<Vec<_>>>()?;
        threads
            .into_iter()
            .try_for_each(|t| t.join().unwrap_or_else(|e| std::panic::resume_unwind(e)))
    }
}

/// The way to a running engine. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    mailboxes: Arc<[Mailbox]>,
    counters: Arc<[Counters]>,
    ids: Arc<AtomicU64>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("shards", &self.mailboxes.len()).finish_non_exhaustive()
    }
}

impl Handle {
    /// A new live stream.
    #[must_use]
    pub fn stream(&self, config: fanout::Config) -> Arc<Stream> {
        Arc::new(Stream::new(self.id(), config, self.mailboxes.clone()))
    }

    /// A new topic, at version 0.
    #[must_use]
    pub fn topic(&self) -> Arc<Topic> {
        Arc::new(Topic::new(self.id(), self.mailboxes.clone()))
    }

    /// Gives an RTMP player to the engine, after its `play` was accepted: it is sent what is left
    /// of its machine's output, then the stream from the newest key frame. A player whose message
    /// stream is not [`MESSAGE_STREAM_ID`] is disconnected, because all are sent the same bytes.
    pub fn play_rtmp(&self, link: impl Into<Link>, stream: Arc<Stream>, parts: rtmp::Parts) {
        if parts.stream.0 != MESSAGE_STREAM_ID {
            tracing::info!(id = parts.stream.0, "a player asked for an unusual message stream");
            return;
        }
        let greeting = if parts.chunk_bytes == stream.chunk_bytes() {
            parts.output
        } else {
            [&parts.output[..], &set_chunk_size(stream.chunk_bytes())].concat().into()
        };
        let open = |c: &Counters| c.connections.load(Ordering::Relaxed);
        let emptiest = (0..self.counters.len()).min_by_key(|&i| open(&self.counters[i]));
        let shard = &self.mailboxes[emptiest.expect("there is at least one shard")];
        let play = Play { link: link.into(), stream, greeting, control: parts.control };
        shard.send(Command::Play(Box::new(play)));
    }

    /// What each shard has done and holds.
    #[must_use]
    pub fn metrics(&self) -> Vec<Metrics> {
        self.counters.iter().map(Counters::read).collect()
    }

    /// Closes every connection and ends [`Driver::run`].
    pub fn shutdown(&self) {
        for mailbox in self.mailboxes.iter() {
            mailbox.send(Command::Shutdown);
        }
    }

    fn id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }
}

/// RTMP 1.0, 5.4.1.
fn set_chunk_size(chunk_bytes: u32) -> BytesMut {
    let kind = chunk::kind::SET_CHUNK_SIZE;
    let header = chunk::Header { chunk_stream: 2, kind, stream: 0, timestamp_ms: 0 };
    let mut out = BytesMut::new();
    chunk::write_message(&mut out, chunk::CHUNK_BYTES_INITIAL, &header, &chunk_bytes.to_be_bytes());
    out
}
