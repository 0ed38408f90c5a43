//! `tcp://HOST:PORT`: frames over TCP, in the clear.

use std::io;
use std::net::SocketAddr;

use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::Error;
use crate::channel::{self, Channel, Driver, Listener, Options, Path, Wire};
use crate::serve::{Source, serve};
use crate::stream::{self, Alone, Halves, Side};
use crate::uri::{Scheme, Uri};

pub(crate) fn connect(uri: &Uri, options: &Options) -> Result<(Channel, Driver), Error> {
    uri.allow(&[])?;
    let (channel, wire) = channel::pair(options)?;
    let uri = uri.clone();
    let driver = Driver::new(async move {
        match dial(&uri, &wire).await {
            Ok(stream) => stream::carry(wire, halves(stream), Side::Client).await,
            Err(error) => wire.end(error),
        }
    });
    Ok((channel, driver))
}

pub(crate) async fn listen(uri: &Uri, options: &Options) -> Result<(Listener, Driver), Error> {
    uri.allow(&[])?;
    let (uri, source) = bind(uri, options).await?;
    Ok(serve(uri, options, source, |stream, wire| {
        stream::greet(wire, halves(stream), Side::Server)
    }))
}

/// A connection to where the URI says, or why there is none.
pub(crate) async fn dial(uri: &Uri, wire: &Wire) -> Result<TcpStream, Error> {
    let limit = wire.options().handshake_timeout;
    let failed = |why: String| Error::Connect { uri: uri.to_string(), why };
    let stream = timeout(limit, TcpStream::connect(uri.authority())).await;
    let stream = stream.map_err(|_| failed(format!("nobody answered in {limit:?}")))?;
    let stream = stream.map_err(|error| failed(error.to_string()))?;
    prepare(&stream, wire.options());
    Ok(stream)
}

/// Small messages leave at once, and a peer that acknowledges nothing is dead in bounded time
/// even while nobody reads here. Where the system refuses that, the channel works without.
fn prepare(stream: &TcpStream, options: &Options) {
    drop(stream.set_nodelay(true));
    #[cfg(target_os = "linux")]
    drop(socket2::SockRef::from(stream).set_tcp_user_timeout(Some(options.keepalive.dead_after)));
}

/// Where a stream goes.
pub(crate) fn path(scheme: Scheme, stream: &TcpStream) -> Path {
    let text = |address: io::Result<SocketAddr>| {
        address.map_or_else(|_| "unknown".to_owned(), |address| address.to_string())
    };
    Path::direct(scheme, text(stream.local_addr()), text(stream.peer_addr()))
}

fn halves(stream: TcpStream) -> Halves<OwnedReadHalf, OwnedWriteHalf> {
    let path = path(Scheme::Tcp, &stream);
    let (reader, writer) = stream.into_split();
    Halves { reader, writer, path, beside: Alone }
}

/// Sockets that arrive.
pub(crate) struct Sockets {
    listener: TcpListener,
    options: Options,
}

impl Source for Sockets {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.listener.accept().await?;
        prepare(&stream, &self.options);
        Ok(stream)
    }
}

/// Listens where the URI says, and says where that is.
pub(crate) async fn bind(uri: &Uri, options: &Options) -> Result<(Uri, Sockets), Error> {
    options.check()?;
    let failed = |error: io::Error| Error::Listen { uri: uri.to_string(), why: error.to_string() };
    let listener = TcpListener::bind(uri.authority()).await.map_err(failed)?;
    let at = listener.local_addr().map_err(failed)?;
    Ok((uri.moved(&at), Sockets { listener, options: options.clone() }))
}
