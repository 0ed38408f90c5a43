//! A queue of typed messages with many senders and many receivers: [`spmc`] whose sender can be
//! cloned.

use core::ops::{Deref, DerefMut};

pub use crate::spmc::{Batch, Drain, Receiver};
use crate::{Config, Error, Message, spmc};

/// Opens a queue between threads of this process. Each sender has a ring of `config.slots`.
///
/// # Errors
/// `Config` or `Memory`.
pub fn channel<T: Message>(config: &Config) -> Result<(Sender<T>, Receiver<T>), Error> {
    let (queue, receiver) = spmc::open(config, config.senders_max)?;
    Ok((Sender { queue }, receiver))
}

/// An end that sends: a [`spmc::Sender`] that others can stand beside. The channel is closed when
/// the last is dropped.
#[derive(Debug)]
pub struct Sender<T: Message> {
    queue: spmc::Sender<T>,
}

impl<T: Message> Sender<T> {
    /// Another sender to the same receivers, with a ring of its own.
    ///
    /// # Errors
    /// `Crowded`: there are `Config::senders_max`. `Memory`.
    pub fn try_clone(&self) -> Result<Self, Error> {
        Ok(Self { queue: self.queue.beside()? })
    }
}

impl<T: Message> Deref for Sender<T> {
    type Target = spmc::Sender<T>;

    #[inline]
    fn deref(&self) -> &spmc::Sender<T> {
        &self.queue
    }
}

impl<T: Message> DerefMut for Sender<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut spmc::Sender<T> {
        &mut self.queue
    }
}
