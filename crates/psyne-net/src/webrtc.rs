//! `webrtc://PEER@GROUP?via=wss://HUB`: a channel to a browser, or through NATs, found over a hub
//! (docs/wire/signal.md) and carried by a session of its own (docs/wire/channel.md).

mod carry;
mod link;
mod relay;

use core::str::FromStr;
use std::collections::HashMap;
use std::net::SocketAddr;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::sync::mpsc;

use crate::channel::{self, Acceptor, Channel, Driver, Listener, Options, Wire};
use crate::signal::client::{Client, Config, random_name};
use crate::signal::{Event, Ice, Name, Signal};
use crate::uri::Uri;
use crate::{Error, rtc};
use link::Link;

/// What may stand after `?`: the hub; for connecting, what to be called; a token; a PEM file of
/// authorities for the hub's certificate.
const KEYS: &[&str] = &["via", "as", "token", "ca"];
/// Signals of one session that wait for it: its candidates at most.
const SIGNALS_MAX: usize = 128;

/// Who is meant, and over which hub.
#[derive(Clone, Debug)]
struct Place {
    uri: String,
    peer: Name,
    group: Name,
    via: String,
    called: Option<Name>,
    token: Option<String>,
    authorities: Vec<CertificateDer<'static>>,
}

impl Place {
    fn new(uri: &Uri) -> Result<Self, Error> {
        uri.allow(KEYS)?;
        let refuse = |why: String| Error::Uri { uri: uri.to_string(), why };
        let help = "write webrtc://PEER@GROUP?via=wss://HUB";
        let (peer, group) = uri.rest().split_once('@').ok_or_else(|| refuse(help.to_owned()))?;
        let name = |text: &str| {
            Name::from_str(text).map_err(|error| refuse(format!("{text:?} is no name: {error}")))
        };
        let via = uri.option("via").ok_or_else(|| refuse(help.to_owned()))?.to_owned();
        let called = uri.option("as").map(name).transpose()?;
        let authorities = match uri.option("ca") {
            None => vec![],
            Some(file) => CertificateDer::pem_file_iter(file)
                .and_then(Iterator::collect)
                .map_err(|error| refuse(format!("{file} is no PEM file: {error}")))?,
        };
        let (peer, group) = (name(peer)?, name(group)?);
        let token = uri.option("token").map(str::to_owned);
        Ok(Self { uri: uri.to_string(), peer, group, via, called, token, authorities })
    }

    /// A member of the group, to be called so.
    fn join(&self, called: Option<Name>) -> Result<(Client, Driver), Error> {
        let mut config = Config::new(&self.via, self.group.clone());
        config.authorities.clone_from(&self.authorities);
        config.member.peer = called;
        config.member.token.clone_from(&self.token);
        Client::new(config)
    }
}

pub(crate) fn connect(uri: &Uri, options: &Options) -> Result<(Channel, Driver), Error> {
    let place = Place::new(uri)?;
    let (channel, wire) = channel::pair(options)?;
    let (client, signaling) = place.join(place.called.clone())?;
    let driver = Driver::new(async move {
        let dialing = dial(place, client, wire);
        tokio::pin!(dialing);
        tokio::select! {
            () = &mut dialing => return,
            () = signaling => {}
        }
        // Without a hub the session goes on by itself.
        dialing.await;
    });
    Ok((channel, driver))
}

/// Joins, offers, carries.
async fn dial(place: Place, mut client: Client, wire: Wire) {
    let limit = wire.options().handshake_timeout;
    let failed = |why: String| Error::Connect { uri: place.uri.clone(), why };
    let ice = match tokio::time::timeout(limit, welcome(&mut client)).await {
        Err(_) => return wire.end(failed(format!("the hub did not answer in {limit:?}"))),
        Ok(Err(why)) => return wire.end(failed(why)),
        Ok(Ok(ice)) => ice,
    };
    let (signals_in, signals) = mpsc::channel(SIGNALS_MAX);
    let (session, peer) = (random_name(), place.peer.clone());
    let sender = client.sender();
    let route = route(&mut client, peer.clone(), session.clone(), signals_in);
    let linking = async {
        match Link::new((peer, session), sender, signals, &ice, wire.options()) {
            Err(error) => wire.end(error),
            Ok(link) => match link.offer(wire.options()).await {
                Err(why) => wire.end(failed(why)),
                Ok(open) => open.carry(wire).await,
            },
        }
    };
    tokio::pin!(linking);
    tokio::select! {
        () = &mut linking => return,
        () = route => {}
    }
    linking.await;
}

async fn welcome(client: &mut Client) -> Result<Vec<Ice>, String> {
    let mut last = "the hub was not reached".to_owned();
    loop {
        match client.recv().await {
            Some(Event::Up(welcome)) => return Ok(welcome.ice),
            Some(Event::Down { reason, .. }) => last = format!("the hub was not reached: {reason}"),
            Some(Event::Ended { reason }) => return Err(format!("the hub said {reason}")),
            Some(_) => {}
            None => return Err(last),
        }
    }
}

/// Hands on what is said about one session, as long as there is a hub.
async fn route(client: &mut Client, peer: Name, session: Name, signals: mpsc::Sender<Signal>) {
    while let Some(event) = client.recv().await {
        let signal = match event {
            Event::Signal { from, session: about, signal } if from == peer && about == session => {
                signal
            }
            Event::Refused { message, session: Some(about), .. } if about == session => {
                Signal::Bye(message)
            }
            _ => continue,
        };
        // What is too much for it is lost, as on any network.
        let _ = signals.try_send(signal);
    }
}

pub(crate) async fn listen(uri: &Uri, options: &Options) -> Result<(Listener, Driver), Error> {
    let place = Place::new(uri)?;
    options.check()?;
    let failed = |why: String| Error::Listen { uri: uri.to_string(), why };
    if let Some(called) = &place.called {
        let why = format!("who listens is called as before the @, not {called}: leave out as=");
        return Err(Error::Uri { uri: uri.to_string(), why });
    }
    let (mut client, mut signaling) = place.join(Some(place.peer.clone()))?;
    let limit = options.handshake_timeout;
    let ice = tokio::select! {
        welcomed = tokio::time::timeout(limit, welcome(&mut client)) => match welcomed {
            Err(_) => return Err(failed(format!("the hub did not answer in {limit:?}"))),
            Ok(welcomed) => welcomed.map_err(failed)?,
        },
        () = &mut signaling => return Err(failed("the hub does not want us".to_owned())),
    };
    let (listener, acceptor) = channel::listener(uri.clone(), options);
    let host = Host { client, acceptor, options: options.clone(), ice, sessions: HashMap::new() };
    let driver = Driver::new(async move {
        tokio::select! {
            () = host.run() => {}
            () = signaling => {}
        }
    });
    Ok((listener, driver))
}

/// A listener's half that answers.
struct Host {
    client: Client,
    acceptor: Acceptor,
    options: Options,
    ice: Vec<Ice>,
    /// By who offered and what they called it.
    sessions: HashMap<(Name, Name), mpsc::Sender<Signal>>,
}

impl Host {
    async fn run(mut self) {
        let mut greeting = FuturesUnordered::new();
        loop {
            tokio::select! {
                event = self.client.recv() => match event {
                    Some(Event::Signal { from, session, signal }) => {
                        let room = greeting.len() < self.options.handshakes_max;
                        if let Some(offer) = self.route((from, session), signal, room) {
                            greeting.push(greet(offer, self.acceptor.clone()));
                        }
                    }
                    Some(Event::Up(welcome)) => self.ice = welcome.ice,
                    Some(Event::Renewed(ice)) => self.ice = ice,
                    Some(_) => {}
                    None => return,
                },
                Some(()) = greeting.next(), if !greeting.is_empty() => {}
                () = self.acceptor.closed() => return,
            }
        }
    }

    /// Hands a signal to its session, or makes one of an offer.
    fn route(&mut self, key: (Name, Name), signal: Signal, room: bool) -> Option<Offered> {
        self.sessions.retain(|_, session| !session.is_closed());
        if let Some(session) = self.sessions.get(&key) {
            // What is too much for it is lost, as on any network.
            let _ = session.try_send(signal);
            return None;
        }
        let Signal::Offer(offer) = signal else { return None };
        if !room {
            return None;
        }
        let (channel, wire) = channel::pair(&self.options).ok()?;
        let (signals_in, signals) = mpsc::channel(SIGNALS_MAX);
        let sender = self.client.sender();
        let link = Link::new(key.clone(), sender, signals, &self.ice, &self.options).ok()?;
        self.sessions.insert(key, signals_in);
        Some(Offered { offer, link, channel, wire })
    }
}

/// A session that somebody offered.
struct Offered {
    offer: String,
    link: Link,
    channel: Channel,
    wire: Wire,
}

async fn greet(offered: Offered, acceptor: Acceptor) {
    let Offered { offer, link, channel, wire } = offered;
    // Why not is told to the other side, and nobody here has heard of it.
    let Ok(open) = link.answer(&offer, wire.options()).await else { return };
    let driver = Driver::new(open.carry(wire));
    // Nobody listens any more.
    let _ = acceptor.offer(channel, driver).await;
}

/// Where sessions are to be reached, and from which addresses relays can be asked.
fn bind(options: &Options) -> Result<(rtc::Handle, Driver, Vec<SocketAddr>), Error> {
    let mut config = rtc::Config::default();
    let association = &mut config.session.association;
    association.receive_message_bytes_max = options.message_bytes_max;
    let window = association.receive_buffer_bytes_max;
    association.receive_buffer_bytes_max = window.max(2 * options.message_bytes_max);
    config.session.connect_timeout = options.handshake_timeout;
    config.sessions_max = 1;
    let hosts = link::hosts();
    config.session.loopback = hosts.iter().all(|ip| ip.is_loopback());
    let (handle, driver) = rtc::bind(config)?;
    let mut bases = Vec::new();
    for addr in handle.local_addrs() {
        for ip in hosts.iter().filter(|ip| ip.is_ipv4() == addr.is_ipv4()) {
            bases.push(SocketAddr::new(*ip, addr.port()));
        }
    }
    bases.iter().for_each(|base| handle.add_local(rtc::Local::Host(*base)));
    Ok((handle, driver, bases))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_peer_a_group_and_a_hub() {
        let place = |text: &str| Place::new(&text.parse().unwrap());
        let found = place("webrtc://bob@demo?via=wss://hub.example&as=alice&token=t").unwrap();
        assert_eq!((found.peer.as_str(), found.group.as_str()), ("bob", "demo"));
        assert_eq!(found.via, "wss://hub.example");
        assert_eq!(found.called, Some("alice".parse().unwrap()));
        for (text, why) in [
            ("webrtc://bob", "PEER@GROUP?via="),
            ("webrtc://bob@demo", "?via=wss://HUB"),
            ("webrtc://@demo?via=ws://h", "is no name"),
            ("webrtc://bob@a/b?via=ws://h", "is no name"),
            ("webrtc://bob@demo?via=ws://h&hub=x", "options via, as, token, ca"),
            ("webrtc://bob@demo?via=ws://h&ca=/nowhere", "/nowhere is no PEM file"),
        ] {
            let error = place(text).unwrap_err();
            assert!(error.to_string().contains(why), "{text}: {error}");
        }
    }
}
