//! Channels that others open.

use tokio::sync::mpsc;

use super::{Channel, Driver, Options};
use crate::Error;
use crate::uri::Uri;

/// Accepts the channels that peers open at an address, as long as its [`Driver`] runs.
#[derive(Debug)]
pub struct Listener {
    uri: Uri,
    accepted: mpsc::Receiver<(Channel, Driver)>,
}

impl Listener {
    /// The next channel: open, and with a driver of its own to spawn. Safe to cancel.
    ///
    /// # Errors
    /// `Lost`: the listener's driver was dropped.
    pub async fn accept(&mut self) -> Result<(Channel, Driver), Error> {
        let lost = || Error::Lost { why: "the listener's driver was dropped".to_owned() };
        self.accepted.recv().await.ok_or_else(lost)
    }

    /// What to connect to: the address that was asked for, with the port that the system chose.
    #[must_use]
    pub const fn uri(&self) -> &Uri {
        &self.uri
    }
}

/// The driver's half of a listener.
#[derive(Clone, Debug)]
pub struct Acceptor {
    accepted: mpsc::Sender<(Channel, Driver)>,
}

impl Acceptor {
    /// Hands in an open channel; waits while [`Options::backlog_max`] others wait.
    ///
    /// # Errors
    /// `Lost`: nobody listens any more.
    pub async fn offer(&self, channel: Channel, driver: Driver) -> Result<(), Error> {
        let lost = |_| Error::Lost { why: "the listener was dropped".to_owned() };
        self.accepted.send((channel, driver)).await.map_err(lost)
    }

    /// Hands in an open channel, or gives it back if there is no room or nobody listens.
    ///
    /// # Errors
    /// `Full`: dropped with its driver.
    pub fn try_offer(&self, channel: Channel, driver: Driver) -> Result<(), Error> {
        self.accepted.try_send((channel, driver)).map_err(|_| Error::Full)
    }

    /// Waits until nobody listens any more.
    pub async fn closed(&self) {
        self.accepted.closed().await;
    }
}

/// Opens a listener at `uri` by any transport: the user's half, and that on which its driver is
/// written.
#[must_use]
pub fn listener(uri: Uri, options: &Options) -> (Listener, Acceptor) {
    let (sender, accepted) = mpsc::channel(options.backlog_max);
    (Listener { uri, accepted }, Acceptor { accepted: sender })
}
