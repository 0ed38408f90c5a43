//! `ws://HOST:PORT/PATH` and `wss://`: one message of the channel is one message of a WebSocket
//! (RFC 6455), so that a browser needs nothing but its own `WebSocket`.

mod shake;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as WsError, Message as Frame, Utf8Bytes};

use crate::Error;
use crate::channel::{self, Channel, Driver, Kind, Listener, Message, Options, Reason, Wire};
use crate::pulse::{Pulse, TICK, every};
use crate::serve::serve;
use crate::tls::{self, Dialer, Shaker};
use crate::uri::{Scheme, Uri};
use crate::{serve::Source, tcp};
use shake::{accept, ask};

/// Messages that are gathered for one write.
const BATCH_MESSAGES: usize = 64;

pub(crate) fn connect(uri: &Uri, options: &Options) -> Result<(Channel, Driver), Error> {
    let (channel, wire) = channel::pair(options)?;
    let at = uri.clone();
    if uri.scheme() == Scheme::Ws {
        uri.allow(&[])?;
        let driver = Driver::new(async move {
            match tcp::dial(&at, &wire).await {
                Ok(stream) => {
                    let path = tcp::path(Scheme::Ws, &stream);
                    carry(ask(stream, &at, wire, path).await).await;
                }
                Err(error) => wire.end(error),
            }
        });
        return Ok((channel, driver));
    }
    uri.allow(tls::CLIENT_KEYS)?;
    let dialer = Dialer::new(uri, options, &[&TLS13, &TLS12])?;
    let driver = Driver::new(async move {
        match dialer.dial(&wire).await {
            Ok(stream) => {
                let path = tls::path(Scheme::Wss, &stream);
                carry(ask(stream, &at, wire, path).await).await;
            }
            Err(error) => wire.end(error),
        }
    });
    Ok((channel, driver))
}

pub(crate) async fn listen(uri: &Uri, options: &Options) -> Result<(Listener, Driver), Error> {
    if uri.scheme() == Scheme::Ws {
        uri.allow(&[])?;
        let (uri, source) = tcp::bind(uri, options).await?;
        let at = uri.clone();
        return Ok(serve(uri, options, source, move |stream, wire| {
            let (at, path) = (at.clone(), tcp::path(Scheme::Ws, &stream));
            async move { driver(accept(stream, &at, wire, path).await) }
        }));
    }
    uri.allow(tls::SERVER_KEYS)?;
    let shaker = Shaker::new(uri, options, &[&TLS13, &TLS12])?;
    let (uri, source) = tcp::bind(uri, options).await?;
    Ok(listen_tls(uri, options, source, shaker))
}

fn listen_tls(
    uri: Uri,
    options: &Options,
    source: impl Source<Stream = tokio::net::TcpStream>,
    shaker: Shaker,
) -> (Listener, Driver) {
    let at = uri.clone();
    serve(uri, options, source, move |stream, wire| {
        let (at, shaker) = (at.clone(), shaker.clone());
        async move {
            match shaker.accept(stream, &wire).await {
                Ok(stream) => {
                    let path = tls::path(Scheme::Wss, &stream);
                    driver(accept(stream, &at, wire, path).await)
                }
                Err(error) => {
                    wire.end(error);
                    None
                }
            }
        }
    })
}

/// Two sides that have shaken hands.
struct Line<S> {
    wire: Wire,
    socket: WebSocketStream<S>,
}

fn driver<S>(line: Option<Line<S>>) -> Option<Driver>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    line.map(|line| Driver::new(line.run()))
}

async fn carry<S: AsyncRead + AsyncWrite + Unpin>(line: Option<Line<S>>) {
    if let Some(line) = line {
        line.run().await;
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    /// Carries messages until the channel is over.
    async fn run(self) {
        let Self { wire, socket } = self;
        let pulse = Pulse::new();
        let (mut sink, mut stream) = socket.split();
        let end = tokio::select! {
            end = read(&wire, &pulse, &mut stream) => end,
            end = write(&wire, &pulse, &mut sink) => end,
            why = pulse.watch(&wire) => Error::Lost { why },
        };
        let reason = match &end {
            Error::Closed { by_peer: false, reason } => Some(reason.clone()),
            Error::Closed { .. } => Some(Reason::normal()),
            Error::Protocol(_) => Some(Reason::new(Reason::PROTOCOL, &end.to_string())),
            Error::TooLong { .. } => Some(Reason::new(Reason::TOO_LONG, &end.to_string())),
            _ => None,
        };
        if let Some(reason) = reason {
            let limit = wire.options().handshake_timeout;
            drop(timeout(limit, say_goodbye(&mut sink, &mut stream, &reason)).await);
        }
        wire.end(end);
    }
}

async fn read<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &Wire,
    pulse: &Pulse,
    stream: &mut SplitStream<WebSocketStream<S>>,
) -> Error {
    loop {
        let message = match stream.next().await {
            Some(Ok(Frame::Text(text))) => Message::received(Kind::Text, text.into()),
            Some(Ok(Frame::Binary(data))) => Message::received(Kind::Binary, data),
            Some(Ok(Frame::Pong(number))) => {
                if let Ok(number) = <[u8; 8]>::try_from(&number[..]) {
                    pulse.answered(wire, u64::from_be_bytes(number));
                }
                None
            }
            Some(Ok(Frame::Close(frame))) => {
                let reason = frame.map_or_else(Reason::normal, |frame| {
                    Reason::new(frame.code.into(), frame.reason.as_str())
                });
                return Error::Closed { by_peer: true, reason };
            }
            // Questions are answered by the library; whole frames it never hands out.
            Some(Ok(Frame::Ping(_) | Frame::Frame(_))) => None,
            Some(Err(error)) => return fault(&error, wire),
            None => return Error::Lost { why: "the peer hung up without a word".to_owned() },
        };
        pulse.heard();
        if let Some(message) = message {
            pulse.room(wire).await;
            wire.put(message);
        }
    }
}

fn fault(error: &WsError, wire: &Wire) -> Error {
    match error {
        WsError::Capacity(_) => {
            let bytes_max = wire.options().message_bytes_max;
            Error::TooLong { bytes: bytes_max.saturating_add(1), bytes_max }
        }
        WsError::Protocol(
            tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ) => Error::Lost { why: "the peer hung up without a word".to_owned() },
        WsError::Protocol(_) => Error::Protocol("that is no WebSocket's frame"),
        WsError::Utf8(_) => Error::Protocol("a text is not UTF-8"),
        other => Error::Lost { why: other.to_string() },
    }
}

async fn write<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &Wire,
    pulse: &Pulse,
    sink: &mut SplitSink<WebSocketStream<S>, Frame>,
) -> Error {
    let (mut asking, mut ticking) = (every(wire.options().keepalive.every), every(TICK));
    loop {
        let written = tokio::select! {
            next = wire.next() => match next {
                Ok(message) => send(wire, sink, message).await,
                Err(reason) => return Error::Closed { by_peer: false, reason },
            },
            _ = asking.tick() => {
                let number = pulse.number().to_be_bytes();
                sink.send(Frame::Ping(Bytes::copy_from_slice(&number))).await
            }
            now = ticking.tick() => {
                wire.gauge().tick(now);
                Ok(())
            }
        };
        if let Err(error) = written {
            // What is read says why: that the peer closed, for one.
            if !matches!(error, WsError::ConnectionClosed | WsError::AlreadyClosed) {
                return Error::Lost { why: error.to_string() };
            }
            core::future::pending::<()>().await;
        }
    }
}

/// Sends this message and others that wait, in one go.
async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &Wire,
    sink: &mut SplitSink<WebSocketStream<S>, Frame>,
    first: Message,
) -> Result<(), WsError> {
    let mut next = Some(first);
    for _ in 0..BATCH_MESSAGES {
        let Some(message) = next.take() else { break };
        sink.feed(frame(message)).await?;
        next = wire.try_next();
    }
    if let Some(message) = next {
        sink.feed(frame(message)).await?;
    }
    sink.flush().await
}

fn frame(message: Message) -> Frame {
    match message.kind() {
        Kind::Binary => Frame::Binary(message.into_data()),
        Kind::Text => {
            let data = message.into_data();
            Utf8Bytes::try_from(data.clone()).map_or(Frame::Binary(data), Frame::Text)
        }
    }
}

/// Says it, or answers it, and waits until the peer has hung up.
async fn say_goodbye<S: AsyncRead + AsyncWrite + Unpin>(
    sink: &mut SplitSink<WebSocketStream<S>, Frame>,
    stream: &mut SplitStream<WebSocketStream<S>>,
    reason: &Reason,
) {
    // Some codes are never sent (RFC 6455, 7.4.1); others say best that something was wrong.
    let code = Some(CloseCode::from(reason.code())).filter(|code| code.is_allowed());
    let frame =
        CloseFrame { code: code.unwrap_or(CloseCode::Policy), reason: reason.text().into() };
    drop(sink.send(Frame::Close(Some(frame))).await);
    while let Some(Ok(_)) = stream.next().await {}
}
