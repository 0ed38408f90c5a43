//! Messages lent by guards that own the end they came by: for whoever outlives the call, as a
//! capsule of DLPack does.

use core::mem;
use core::ops::Deref;
use core::task::{Context, Poll};
use std::sync::Arc;
use std::time::Duration;

use crate::Error;
use crate::any::{Received, Receiver};

/// A receiving end whose messages may be held by others. One at a time.
#[derive(Debug)]
pub struct Lender {
    end: Arc<Receiver>,
}

/// A message where it lies, and the end that it came by. Its room is free when this is dropped,
/// by whichever thread.
#[derive(Debug)]
pub struct Lease {
    /// Dropped before the end that it borrows.
    message: Received<'static>,
    _end: Arc<Receiver>,
}

impl From<Receiver> for Lender {
    fn from(end: Receiver) -> Self {
        Self { end: Arc::new(end) }
    }
}

impl Lender {
    /// The end, while nobody holds a message of it.
    ///
    /// # Errors
    /// `InUse`.
    pub fn idle(&mut self) -> Result<&mut Receiver, Error> {
        Arc::get_mut(&mut self.end).ok_or(Error::InUse)
    }

    /// As [`Receiver::recv`].
    ///
    /// # Errors
    /// `InUse`, and those.
    pub fn recv(&mut self, time: Option<Duration>) -> Result<Lease, Error> {
        self.lease(|end| end.recv(time))
    }

    /// As [`Receiver::newest`].
    ///
    /// # Errors
    /// `InUse`, and those.
    pub fn newest(&mut self) -> Result<Option<Lease>, Error> {
        self.lease_some(Receiver::newest)
    }

    /// As [`Receiver::try_recv`].
    ///
    /// # Errors
    /// `InUse`, and those.
    pub fn try_recv(&mut self) -> Result<Option<Lease>, Error> {
        self.lease_some(Receiver::try_recv)
    }

    /// As [`Receiver::poll_ready`].
    ///
    /// # Errors
    /// `InUse`, and those.
    pub fn poll_ready(&mut self, context: &Context<'_>) -> Poll<Result<(), Error>> {
        self.idle()?.poll_ready(context)
    }

    fn lease_some(
        &mut self,
        receive: impl FnOnce(&mut Receiver) -> Result<Option<Received<'_>>, Error>,
    ) -> Result<Option<Lease>, Error> {
        match self.lease(|end| receive(end)?.ok_or(Error::TimedOut)) {
            Err(Error::TimedOut) => Ok(None),
            message => message.map(Some),
        }
    }

    fn lease(
        &mut self,
        receive: impl FnOnce(&mut Receiver) -> Result<Received<'_>, Error>,
    ) -> Result<Lease, Error> {
        let message = receive(self.idle()?)?;
        // SAFETY: only the lifetime changes. The message borrows the end, which lies in an Arc and
        // so does not move, and which the lease keeps until after the message is dropped. While
        // the lease is there nobody else reaches the end: `idle` asks that the Arc is the only
        // one, and nothing else of this type or the lease's looks into it.
        let message = unsafe { mem::transmute::<Received<'_>, Received<'static>>(message) };
        Ok(Lease { message, _end: self.end.clone() })
    }
}

impl Deref for Lease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.message
    }
}

#[cfg(all(test, not(any(loom, miri))))]
mod tests {
    use crate::any::{Kind, channel};
    use crate::{Config, Error};

    use super::*;

    #[test]
    fn a_message_outlives_whoever_received_it() {
        let (mut sender, receiver) = channel(&Kind::Bytes, &Config::default()).unwrap();
        sender.send(b"held").unwrap();
        sender.send(b"next").unwrap();
        let mut lender = Lender::from(receiver);
        let lease = lender.recv(None).unwrap();
        assert_eq!(lender.recv(None).unwrap_err(), Error::InUse);
        assert_eq!(sender.unread(), Ok(2));
        let other = std::thread::spawn(move || lease.to_vec());
        assert_eq!(other.join().unwrap(), b"held");
        let lease = lender.recv(None).unwrap();
        assert_eq!(lender.newest().unwrap_err(), Error::InUse);
        drop(lender);
        assert_eq!(&*lease, b"next");
        assert!(sender.unread().is_ok(), "the end is there as long as its message");
        drop(lease);
        assert_eq!(sender.send(b"late").unwrap_err().code(), "closed");
    }
}
