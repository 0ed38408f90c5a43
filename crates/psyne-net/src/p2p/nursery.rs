//! QUIC's own tasks, run by whoever runs the driver: the library would spawn them unseen.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::UdpSocket;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};
use tokio::sync::mpsc;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A runtime whose tasks are run by the future beside it, which ends with the last of them. There
/// is one task for an endpoint and one for each connection: what bounds those bounds these.
pub(super) fn nursery() -> (Arc<dyn Runtime>, impl Future<Output = ()> + Send) {
    let (sender, born) = mpsc::unbounded_channel();
    (Arc::new(Nursery(sender)), tend(born))
}

async fn tend(mut born: mpsc::UnboundedReceiver<Task>) {
    let mut tasks = FuturesUnordered::new();
    let mut is_open = true;
    while is_open || !tasks.is_empty() {
        tokio::select! {
            task = born.recv(), if is_open => match task {
                Some(task) => tasks.push(task),
                None => is_open = false,
            },
            Some(()) = tasks.next(), if !tasks.is_empty() => {}
        }
    }
}

struct Nursery(mpsc::UnboundedSender<Task>);

impl fmt::Debug for Nursery {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Nursery")
    }
}

impl Runtime for Nursery {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, task: Task) {
        // Refused once the driver was dropped, which is when nothing is to run any more.
        drop(self.0.send(task));
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}
