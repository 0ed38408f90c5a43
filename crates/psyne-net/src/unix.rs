//! `unix:///PATH`: frames over a Unix socket.

use std::io;
use std::path::{Path as File, PathBuf};

use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
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
            Ok(stream) => stream::carry(wire, halves(stream, &uri), Side::Client).await,
            Err(error) => wire.end(error),
        }
    });
    Ok((channel, driver))
}

/// The socket's file is made with the rights that the process' mask leaves, replaces one where
/// nobody listens any more, and is removed in the end.
pub(crate) fn listen(uri: &Uri, options: &Options) -> Result<(Listener, Driver), Error> {
    uri.allow(&[])?;
    options.check()?;
    let failed = |error: io::Error| Error::Listen { uri: uri.to_string(), why: error.to_string() };
    let path = PathBuf::from(uri.rest());
    let listener = bind(&path).map_err(failed)?;
    let at = uri.clone();
    Ok(serve(uri.clone(), options, Sockets { listener, path }, move |stream, wire| {
        stream::greet(wire, halves(stream, &at), Side::Server)
    }))
}

fn bind(path: &File) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_orphan(path) => {
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
}

/// A socket that its process left behind.
fn is_orphan(path: &File) -> bool {
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    std::os::unix::net::UnixStream::connect(path).is_err_and(refused)
}

struct Sockets {
    listener: UnixListener,
    path: PathBuf,
}

impl Source for Sockets {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
    }
}

async fn dial(uri: &Uri, wire: &Wire) -> Result<UnixStream, Error> {
    let limit = wire.options().handshake_timeout;
    let failed = |why: String| Error::Connect { uri: uri.to_string(), why };
    let stream = timeout(limit, UnixStream::connect(uri.rest())).await;
    let stream = stream.map_err(|_| failed(format!("nobody answered in {limit:?}")))?;
    stream.map_err(|error| failed(error.to_string()))
}

fn halves(stream: UnixStream, uri: &Uri) -> Halves<OwnedReadHalf, OwnedWriteHalf> {
    let (reader, writer) = stream.into_split();
    let path = Path::direct(Scheme::Unix, uri.rest(), uri.rest());
    Halves { reader, writer, path, beside: Alone }
}
