//! A queue of typed messages with many senders and many receivers: [`spmc`] whose sender can be
//! cloned.

use core::ops::{Deref, DerefMut};

use crate::lanes::lanes_max;
pub use crate::spmc::{Batch, Drain, Receiver};
use crate::{Config, Error, Message, spmc};

/// Opens a queue between threads of this process. Each sender has a ring of `config.slots`.
///
/// # Errors
/// `Config` or `Memory`.
pub fn channel<T: Message>(config: &Config) -> Result<(Sender<T>, Receiver<T>), Error> {
    let (queue, receiver) = spmc::open(config, config.senders_max)?;
    Ok((Sender { queue, at: None }, receiver))
}

/// An end that sends: a [`spmc::Sender`] that others can stand beside. The channel is closed when
/// the last is dropped.
#[derive(Debug)]
pub struct Sender<T: Message> {
    queue: spmc::Sender<T>,
    /// Where it was opened, if at an address.
    at: Option<(String, Config)>,
}

impl<T: Message> Sender<T> {
    /// A sender at an address, one of `config.senders_max`, for at most `config.receivers_max`
    /// receivers, which come by [`Receiver::open`] at any time. Messages wait in its ring, which
    /// ends with it.
    ///
    /// # Errors
    /// `Crowded`; `Address`, `Config`, `Memory`, `System`.
    pub fn open(address: &str, config: &Config) -> Result<Self, Error> {
        let queue = spmc::Sender::open_among((address, lanes_max(config)?), config)?;
        Ok(Self { queue, at: Some((address.into(), config.clone())) })
    }

    /// Another sender to the same receivers, with a ring of its own.
    ///
    /// # Errors
    /// `Crowded`: there are `Config::senders_max`. `Memory`, `System`.
    pub fn try_clone(&self) -> Result<Self, Error> {
        match (self.queue.beside(), &self.at) {
            (Some(queue), _) => Ok(Self { queue: queue?, at: None }),
            (None, Some((address, config))) => Self::open(address, config),
            (None, None) => unreachable!("who is at an address knows it"),
        }
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
