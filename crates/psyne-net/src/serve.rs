//! Accepting connections: many shake hands at a time, and none keeps another waiting.

use std::future::Future;
use std::io;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::channel::{self, Acceptor, Driver, Listener, Options, Wire};
use crate::uri::Uri;

/// How long nothing is accepted after the system refused, most often for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// A place where connections arrive.
pub(crate) trait Source: Send + Sync + 'static {
    /// What arrives.
    type Stream: Send;

    /// The next one. Safe to cancel.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// A listener whose connections become channels by `greet`, which ends those that it refuses.
pub(crate) fn serve<S, F>(
    uri: Uri,
    options: &Options,
    source: S,
    greet: impl Fn(S::Stream, Wire) -> F + Send + Sync + 'static,
) -> (Listener, Driver)
where
    S: Source,
    F: Future<Output = Option<Driver>> + Send + 'static,
{
    let (listener, acceptor) = channel::listener(uri, options);
    let driver = Driver::new(run(source, acceptor, options.clone(), greet));
    (listener, driver)
}

async fn run<S, F>(
    source: S,
    acceptor: Acceptor,
    options: Options,
    greet: impl Fn(S::Stream, Wire) -> F + Send + Sync,
) where
    S: Source,
    F: Future<Output = Option<Driver>> + Send,
{
    let mut greeting = FuturesUnordered::new();
    loop {
        tokio::select! {
            arrived = source.accept(), if greeting.len() < options.handshakes_max => {
                let Ok(stream) = arrived else {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                };
                let Ok((channel, wire)) = channel::pair(&options) else { return };
                let driver = greet(stream, wire);
                greeting.push(async move { driver.await.map(|driver| (channel, driver)) });
            }
            greeted = greeting.next(), if !greeting.is_empty() => {
                let Some(Some((channel, driver))) = greeted else { continue };
                if acceptor.offer(channel, driver).await.is_err() {
                    return;
                }
            }
            () = acceptor.closed() => return,
        }
    }
}
