//! Clients by TCP and TLS.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use psyne_rtc::turn::{Flow, Framer, Via};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::Shared;

/// Frames that may wait for a slow client; what comes then is lost, as it would be by UDP.
const FRAMES_MAX: usize = 256;
/// How long a connection may take to shake hands, to have an allocation, to take what is written.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long nothing is accepted after the system refused: it has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes read at a time.
const READ_BYTES: usize = 16 << 10;

/// The connections.
#[derive(Default)]
pub(super) struct Streams {
    open: BTreeMap<u64, (IpAddr, mpsc::Sender<Bytes>)>,
    next: u64,
    pub(super) refused: u64,
}

impl Streams {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether it was there and had room.
    pub(super) fn send(&self, number: u64, frame: Bytes) -> bool {
        self.open.get(&number).is_some_and(|(_, line)| line.try_send(frame).is_ok())
    }

    fn add(&mut self, shared: &Shared, ip: IpAddr) -> Option<(u64, mpsc::Receiver<Bytes>)> {
        let of = self.open.values().filter(|(other, _)| *other == ip).count();
        let config = &shared.config;
        if self.open.len() >= config.streams_max || of >= config.address_streams_max {
            self.refused += 1;
            return None;
        }
        let (line, frames) = mpsc::channel(FRAMES_MAX);
        self.next += 1;
        self.open.insert(self.next, (ip, line));
        Some((self.next, frames))
    }
}

/// Accepts connections.
pub(super) async fn listen(shared: Arc<Shared>, listener: TcpListener, tls: Option<TlsAcceptor>) {
    loop {
        let Ok((stream, remote)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let added = shared.state().streams.add(&shared, remote.ip());
        if let Some((number, frames)) = added {
            let flow = Flow { via: Via::Stream(number), remote };
            let task = serve(shared.clone(), flow, (stream, tls.clone()), frames);
            let _ = shared.new.send(Box::pin(task));
        }
    }
}

async fn serve(
    shared: Arc<Shared>,
    flow: Flow,
    stream: (TcpStream, Option<TlsAcceptor>),
    frames: mpsc::Receiver<Bytes>,
) {
    let (stream, tls) = stream;
    // A frame is somebody's datagram: it does not wait for the next.
    let _ = stream.set_nodelay(true);
    match tls {
        None => talk(&shared, flow, stream, frames).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = timeout(PATIENCE, tls.accept(stream)).await {
                talk(&shared, flow, stream, frames).await;
            }
        }
    }
    let mut state = shared.state();
    if let Via::Stream(number) = flow.via {
        state.streams.open.remove(&number);
    }
    state.machine.disconnected(flow);
    shared.settle(&mut state);
}

async fn talk<S>(shared: &Arc<Shared>, flow: Flow, stream: S, mut frames: mpsc::Receiver<Bytes>)
where
    S: AsyncRead + AsyncWrite + Send,
{
    let (mut reader, mut writer) = tokio::io::split(stream);
    let read = async {
        let mut framer = Framer::new(Framer::FRAME_BYTES_MAX);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let read = timeout(PATIENCE, reader.read(&mut buffer)).await;
            let idle = read.is_err() && shared.state().machine.lends_to(flow);
            let count = match read {
                Ok(Ok(count)) if count > 0 => count,
                Err(_) if idle => continue,
                _ => return,
            };
            framer.push(buffer.get(..count).unwrap_or_default());
            if !take(shared, flow, &mut framer) {
                return;
            }
        }
    };
    let write = async {
        while let Some(frame) = frames.recv().await {
            let written = timeout(PATIENCE, async {
                writer.write_all(&frame).await?;
                writer.flush().await
            });
            if !matches!(written.await, Ok(Ok(()))) {
                return;
            }
        }
    };
    tokio::select! {
        () = read => {}
        () = write => {}
    }
}

/// Whether what came are frames.
fn take(shared: &Arc<Shared>, flow: Flow, framer: &mut Framer) -> bool {
    let now = shared.now();
    let mut state = shared.state();
    loop {
        match framer.next_frame() {
            Ok(Some(frame)) => {
                shared.client(&mut state, now, (flow, &frame));
                shared.settle(&mut state);
            }
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}
