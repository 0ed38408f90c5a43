//! A file descriptor for epoll, poll or an executor's reactor, on any end that receives.

use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use rustix::event::{EventfdFlags, eventfd};

use crate::{Error, Message, any, broadcast, bytes, event, latest, mpsc, request, spmc, spsc};

/// An end that can say when receiving is worth it.
pub trait Ready {
    /// Ready when something is there to be received; else the task is woken when something is.
    ///
    /// # Errors
    /// Those of receiving, but for `Lagged`, which is for receiving to say.
    fn poll_ready(&mut self, context: &Context<'_>) -> Poll<Result<(), Error>>;
}

macro_rules! ready {
    ($end:ty $(, $type:ident)?) => {
        impl$(<$type: Message>)? Ready for $end {
            fn poll_ready(&mut self, context: &Context<'_>) -> Poll<Result<(), Error>> {
                <$end>::poll_ready(self, context)
            }
        }
    };
}
ready!(spsc::Receiver<T>, T);
ready!(mpsc::Receiver<T>, T);
ready!(spmc::Receiver<T>, T);
ready!(broadcast::Receiver<T>, T);
ready!(latest::Reader<T>, T);
ready!(bytes::Receiver);
ready!(broadcast::bytes::Receiver);
ready!(event::Listener);
ready!(request::plain::Server);
ready!(any::Receiver);
ready!(any::Lender);

/// Makes the descriptor readable, once each time that it was armed.
#[derive(Debug)]
struct Bell(OwnedFd);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Refused only when it counted to 2^64: then it is readable.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}

/// A file descriptor for an end that receives: see [`Watched`], which has both.
#[derive(Debug)]
pub struct Watch {
    bell: Arc<Bell>,
    waker: Waker,
}

impl Watch {
    /// A descriptor that is not armed yet.
    ///
    /// # Errors
    /// `System` if there are no more descriptors.
    pub fn new() -> Result<Self, Error> {
        let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC);
        let bell = Arc::new(Bell(fd.map_err(|error| Error::System(error.to_string()))?));
        let waker = Waker::from(bell.clone());
        Ok(Self { bell, waker })
    }

    /// As [`Watched::arm`], always for the same end.
    ///
    /// # Errors
    /// Those of receiving, but for `Lagged`.
    pub fn arm(&mut self, receiver: &mut impl Ready) -> Result<bool, Error> {
        // Empty unless it was armed before and something came.
        let _ = rustix::io::read(&self.bell.0, &mut [0; 8]);
        match receiver.poll_ready(&Context::from_waker(&self.waker)) {
            Poll::Pending => Ok(false),
            Poll::Ready(ready) => {
                self.ring();
                ready.map(|()| true)
            }
        }
    }

    /// Makes the descriptor readable, whatever the end says: who waits for it looks again.
    pub fn ring(&self) {
        self.bell.wake_by_ref();
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.0.as_fd()
    }
}

/// An end that receives, with a file descriptor that becomes readable when something is there.
///
/// ```
/// # use psyne_channel::{Config, Error, Watched, spsc};
/// # fn main() -> Result<(), Error> {
/// let (mut sender, receiver) = spsc::channel::<u64>(&Config::default())?;
/// let mut receiver = Watched::new(receiver)?;
/// while !receiver.arm()? {
///     // Give `receiver.as_fd()` to epoll and wait there.
/// #   sender.send(7)?;
/// }
/// assert_eq!(receiver.try_recv()?, Some(7));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Watched<R> {
    receiver: R,
    watch: Watch,
}

impl<R: Ready> Watched<R> {
    /// Gives an end a descriptor. It is not armed yet.
    ///
    /// # Errors
    /// `System` if there are no more descriptors.
    pub fn new(receiver: R) -> Result<Self, Error> {
        Ok(Self { receiver, watch: Watch::new()? })
    }

    /// To be called each time before waiting for the descriptor: it is readable from now on if
    /// something is there (then this is true), or as soon as something comes. In between the sender
    /// makes one system call, and without this call none.
    ///
    /// # Errors
    /// Those of receiving, but for `Lagged`.
    pub fn arm(&mut self) -> Result<bool, Error> {
        self.watch.arm(&mut self.receiver)
    }

    /// The end without its descriptor.
    pub fn into_inner(self) -> R {
        self.receiver
    }
}

impl<R> AsFd for Watched<R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}

impl<R> std::os::fd::AsRawFd for Watched<R> {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        std::os::fd::AsRawFd::as_raw_fd(&self.watch.as_fd())
    }
}

impl<R> Deref for Watched<R> {
    type Target = R;

    fn deref(&self) -> &R {
        &self.receiver
    }
}

impl<R> DerefMut for Watched<R> {
    fn deref_mut(&mut self) -> &mut R {
        &mut self.receiver
    }
}
