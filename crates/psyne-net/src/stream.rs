//! A channel over any stream of bytes: TCP, TLS, Unix sockets.

use std::future::Future;
use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::Error;
use crate::channel::{Driver, Message, Path, Reason, Wire};
use crate::frame::{Frame, Hello, message_header};
use crate::pulse::{Pulse, TICK, every};

/// Room that a read is given at least, and what is allocated for many of them.
const READ_BYTES_MIN: usize = 4 << 10;
const READ_BYTES: usize = 64 << 10;
/// Frames that are gathered for one write.
const BATCH_BYTES: usize = 64 << 10;
/// Messages that go beside the stream before anything else has its turn.
const BESIDE_MESSAGES: usize = 256;
/// Longer messages are not copied into a batch.
const COPY_BYTES_MAX: usize = 8 << 10;

/// Who says hello first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Who connected.
    Client,
    /// Who was connected to, and shows nothing to strangers.
    Server,
}

/// A stream, cut into its directions, and what messages may go by beside it.
pub(crate) struct Halves<R, W, B = Alone> {
    pub(crate) reader: R,
    pub(crate) writer: W,
    pub(crate) path: Path,
    pub(crate) beside: B,
}

/// What carries unreliable messages beside the stream.
pub(crate) trait Beside: Send + Sync + 'static {
    /// Longest message that it takes, if this side's messages go by it.
    fn bytes_max(&self, wire: &Wire) -> Option<usize>;

    /// Sends one.
    fn send(&self, message: Message) -> impl Future<Output = io::Result<()>> + Send;

    /// Hands in what comes, for ever.
    fn read(&self, wire: &Wire) -> impl Future<Output = ()> + Send;
}

/// Nothing is beside it.
pub(crate) struct Alone;

impl Beside for Alone {
    fn bytes_max(&self, _: &Wire) -> Option<usize> {
        None
    }

    async fn send(&self, _: Message) -> io::Result<()> {
        Ok(())
    }

    async fn read(&self, _: &Wire) {
        core::future::pending::<()>().await;
    }
}

/// Says hello, then carries messages until the channel is over.
pub(crate) async fn carry<R, W, B>(wire: Wire, halves: Halves<R, W, B>, side: Side)
where
    B: Beside,
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    if let Some(driver) = greet(wire, halves, side).await {
        driver.await;
    }
}

/// Says hello and hears the other side's: what carries messages then. `None`: the channel ended,
/// which it was told.
pub(crate) async fn greet<R, W, B>(
    wire: Wire,
    halves: Halves<R, W, B>,
    side: Side,
) -> Option<Driver>
where
    B: Beside,
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let Halves { mut reader, mut writer, path, beside } = halves;
    let limit = wire.options().handshake_timeout;
    let message_bytes_max = wire.options().message_bytes_max;
    let hellos = exchange(&mut reader, &mut writer, side, Hello { message_bytes_max });
    let why = match timeout(limit, hellos).await {
        Ok(Ok((hello, came))) => {
            let beside_max = beside.bytes_max(&wire).unwrap_or(usize::MAX);
            wire.open(hello.message_bytes_max.min(beside_max), path);
            return Some(Driver::new(Line { wire, reader, writer, came, beside }.run()));
        }
        Ok(Err(error)) => error,
        Err(_) => Error::Handshake { why: format!("it said no hello in {limit:?}") },
    };
    wire.end(why);
    None
}

/// Two sides that have said hello.
struct Line<R, W, B> {
    wire: Wire,
    reader: R,
    writer: W,
    /// What came behind the hello.
    came: BytesMut,
    beside: B,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin, B: Beside> Line<R, W, B> {
    /// Carries messages until the channel is over.
    async fn run(self) {
        let Self { wire, mut reader, mut writer, mut came, beside } = self;
        let (pulse, mut batch) = (Pulse::new(), BytesMut::new());
        let mut out = Out { writer: &mut writer, batch: &mut batch, beside: &beside };
        let end = tokio::select! {
            end = read(&wire, &pulse, &mut reader, &mut came) => end,
            end = write(&wire, &pulse, &mut out) => end,
            why = pulse.watch(&wire) => End::Lost(why),
            () = beside.read(&wire) => End::Lost("the path is gone".to_owned()),
        };
        let limit = wire.options().handshake_timeout;
        match &end {
            End::Ours(_) => drop(timeout(limit, hang_up(&mut reader, &mut writer)).await),
            End::Fault(error) if batch.is_empty() => {
                let close = Frame::Close(Reason::new(fault_code(error), &error.to_string()));
                close.encode(&mut batch);
                drop(timeout(limit, writer.write_all_buf(&mut batch)).await);
                drop(timeout(limit, writer.shutdown()).await);
            }
            End::Theirs(_) | End::Fault(_) => drop(timeout(limit, writer.shutdown()).await),
            End::Lost(_) => {}
        }
        wire.end(end.into());
    }
}

/// How it came to an end.
enum End {
    Ours(Reason),
    Theirs(Reason),
    Fault(Error),
    Lost(String),
}

impl From<End> for Error {
    fn from(end: End) -> Self {
        match end {
            End::Ours(reason) => Self::Closed { by_peer: false, reason },
            End::Theirs(reason) => Self::Closed { by_peer: true, reason },
            End::Fault(error) => error,
            End::Lost(why) => Self::Lost { why },
        }
    }
}

fn fault_code(error: &Error) -> u16 {
    if *error == Error::Protocol("a frame is longer than was agreed") {
        return Reason::TOO_LONG;
    }
    Reason::PROTOCOL
}

async fn exchange<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    reader: &mut R,
    writer: &mut W,
    side: Side,
    ours: Hello,
) -> Result<(Hello, BytesMut), Error> {
    let failed = |error: io::Error| Error::Handshake { why: error.to_string() };
    let mut hello = BytesMut::new();
    ours.encode(&mut hello);
    if side == Side::Client {
        writer.write_all_buf(&mut hello).await.map_err(failed)?;
        writer.flush().await.map_err(failed)?;
    }
    let mut came = BytesMut::with_capacity(READ_BYTES);
    let theirs = loop {
        if let Some(theirs) = Hello::decode(&mut came)? {
            break theirs;
        }
        if reader.read_buf(&mut came).await.map_err(failed)? == 0 {
            return Err(Error::Handshake { why: "it hung up".to_owned() });
        }
    };
    writer.write_all_buf(&mut hello).await.map_err(failed)?;
    writer.flush().await.map_err(failed)?;
    Ok((theirs, came))
}

async fn read<R: AsyncRead + Unpin>(
    wire: &Wire,
    pulse: &Pulse,
    reader: &mut R,
    came: &mut BytesMut,
) -> End {
    loop {
        loop {
            match Frame::decode(came, wire.options().message_bytes_max) {
                Ok(Some(Frame::Message(message))) => {
                    pulse.room(wire).await;
                    wire.put(message);
                }
                Ok(Some(Frame::Ping(number))) => pulse.asked(number),
                Ok(Some(Frame::Pong(number))) => pulse.answered(wire, number),
                Ok(Some(Frame::Close(reason))) => return End::Theirs(reason),
                Ok(None) => break,
                Err(error) => return End::Fault(error),
            }
        }
        if came.capacity() - came.len() < READ_BYTES_MIN {
            came.reserve(READ_BYTES);
        }
        match reader.read_buf(came).await {
            Ok(0) => return End::Lost("the peer hung up without a word".to_owned()),
            Ok(_) => pulse.heard(),
            Err(error) => return End::Lost(error.to_string()),
        }
    }
}

/// Where messages go.
struct Out<'a, W, B> {
    writer: &'a mut W,
    /// What was not written yet; empty between frames.
    batch: &'a mut BytesMut,
    beside: &'a B,
}

async fn write<W, B>(wire: &Wire, pulse: &Pulse, out: &mut Out<'_, W, B>) -> End
where
    W: AsyncWrite + Unpin,
    B: Beside,
{
    let (mut asking, mut ticking) = (every(wire.options().keepalive.every), every(TICK));
    loop {
        let mut closing = None;
        let mut first = None;
        tokio::select! {
            next = wire.next() => match next {
                Ok(message) => first = Some(message),
                Err(reason) => closing = Some(reason),
            },
            () = pulse.was_asked() => {}
            _ = asking.tick() => Frame::Ping(pulse.number()).encode(out.batch),
            now = ticking.tick() => wire.gauge().tick(now),
        }
        if let Some(number) = pulse.question() {
            Frame::Pong(number).encode(out.batch);
        }
        if let Some(reason) = &closing {
            Frame::Close(reason.clone()).encode(out.batch);
        }
        if let Err(error) = out.write(wire, first).await {
            return End::Lost(error.to_string());
        }
        if let Some(reason) = closing {
            return End::Ours(reason);
        }
    }
}

impl<W: AsyncWrite + Unpin, B: Beside> Out<'_, W, B> {
    /// Writes what was gathered, this message, and what else waits.
    async fn write(&mut self, wire: &Wire, first: Option<Message>) -> io::Result<()> {
        let mut next = first;
        if self.beside.bytes_max(wire).is_some() {
            for _ in 0..BESIDE_MESSAGES {
                let Some(message) = next.take() else { break };
                self.beside.send(message).await?;
                next = wire.try_next();
            }
            if let Some(message) = next.take() {
                self.beside.send(message).await?;
            }
        }
        while let Some(message) = next.take() {
            if message.len() <= COPY_BYTES_MAX {
                Frame::Message(message).encode(self.batch);
            } else {
                self.batch.extend_from_slice(&message_header(&message));
                let mut data = message.into_data();
                self.writer.write_all_buf(&mut (&mut *self.batch).chain(&mut data)).await?;
            }
            if self.batch.len() < BATCH_BYTES {
                next = wire.try_next();
            }
        }
        self.writer.write_all_buf(self.batch).await?;
        self.writer.flush().await
    }
}

/// Hangs up and waits until the peer has, so that what was sent is not lost to a reset.
async fn hang_up<R, W>(reader: &mut R, writer: &mut W) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    writer.shutdown().await?;
    let mut rest = vec![0; READ_BYTES_MIN];
    while reader.read(&mut rest).await? > 0 {}
    Ok(())
}
