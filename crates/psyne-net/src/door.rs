//! The one door: a channel by any URI.

use crate::channel::{Channel, Driver, Listener, Options};
use crate::uri::{Scheme, Uri};
use crate::{Error, p2p, tcp, tls, udp, unix, webrtc, ws};

/// Opens a channel to what `uri` names. The [`Driver`] connects; [`Channel::ready`] waits for that.
///
/// ```no_run
/// # async fn example() -> Result<(), psyne_net::Error> {
/// let (mut channel, driver) = psyne_net::connect("tcp://localhost:7000", &Default::default())?;
/// tokio::spawn(driver);
/// channel.send("hello").await?;
/// let answer = channel.recv().await?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// `Uri`, `Options`, `Unsupported`. What happens while connecting is said by the channel.
pub fn connect(uri: &str, options: &Options) -> Result<(Channel, Driver), Error> {
    let uri: Uri = uri.parse()?;
    match uri.scheme() {
        Scheme::Tcp => tcp::connect(&uri, options),
        Scheme::Udp => udp::connect(&uri, options),
        Scheme::P2p => p2p::connect(&uri, options),
        Scheme::Tls => tls::connect(&uri, options),
        Scheme::Unix => unix::connect(&uri, options),
        Scheme::Ws | Scheme::Wss => ws::connect(&uri, options),
        Scheme::Webrtc => webrtc::connect(&uri, options),
        scheme => Err(not_here(scheme)),
    }
}

/// Listens at `uri` for channels that others open; it listens when this returns. The [`Driver`]
/// accepts them. Must be called within a tokio runtime.
///
/// # Errors
/// `Uri`, `Options`, `Unsupported`, `Listen`.
pub async fn listen(uri: &str, options: &Options) -> Result<(Listener, Driver), Error> {
    let uri: Uri = uri.parse()?;
    match uri.scheme() {
        Scheme::Tcp => tcp::listen(&uri, options).await,
        Scheme::Udp => udp::listen(&uri, options).await,
        Scheme::P2p => p2p::listen(&uri, options),
        Scheme::Tls => tls::listen(&uri, options).await,
        Scheme::Unix => unix::listen(&uri, options),
        Scheme::Ws | Scheme::Wss => ws::listen(&uri, options).await,
        Scheme::Webrtc => webrtc::listen(&uri, options).await,
        scheme => Err(not_here(scheme)),
    }
}

fn not_here(scheme: Scheme) -> Error {
    Error::Unsupported(format!("{}:// is not carried by this build", scheme.name()))
}
