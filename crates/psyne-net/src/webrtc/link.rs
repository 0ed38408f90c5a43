//! A session on its way: descriptions and candidates go back and forth until both data channels are
//! open.

use core::future::pending;
use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use psyne_rtc::sdp;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::channel::{self, Driver, Options};
use crate::rtc::{Channel, Event, Open, Session};
use crate::signal::client::Sender;
use crate::signal::{Ice, Name, Signal};
use crate::{Error, rtc};

/// The data channel of messages, that of what is said about them, and their protocol
/// (docs/wire/channel.md).
const DATA: &str = "psyne";
const CONTROL: &str = "psyne.control";
const PROTOCOL: &str = "psyne.channel.1";
const CONTROL_STREAM: u16 = 0;

/// One session, which has sockets of its own: it is driven by whoever drives its channel.
pub(super) struct Link {
    pub(super) sockets: Driver,
    pub(super) side: Side,
    signals: mpsc::Receiver<Signal>,
    /// Asks the relays, until all are asked.
    relaying: Option<Driver>,
}

/// Our side of a session, and what speaks about it over the hub.
pub(super) struct Side {
    pub(super) session: Session,
    /// Who is at the other side.
    pub(super) peer: Name,
    name: Name,
    sender: Sender,
    offers: bool,
    /// What the other side takes, by its description.
    bytes_max: AtomicUsize,
}

/// A link whose channels are open.
pub(super) struct Opened {
    pub(super) link: Link,
    pub(super) data: Channel,
    pub(super) control: Channel,
}

impl Link {
    /// A session with this peer, of this name.
    pub(super) fn new(
        (peer, name): (Name, Name),
        sender: Sender,
        signals: mpsc::Receiver<Signal>,
        ice: &[Ice],
        options: &Options,
    ) -> Result<Self, Error> {
        let (handle, sockets, bases) = super::bind(options)?;
        let session = handle.session()?;
        let (offers, bytes_max) = (false, AtomicUsize::new(0));
        let side = Side { session, peer, name, sender, offers, bytes_max };
        let relaying = super::relay::add(side.session.clone(), bases, ice.to_vec());
        Ok(Self { sockets, side, signals, relaying: Some(Driver::new(relaying)) })
    }

    /// Offers, and waits until the channels are open. Otherwise it says why not.
    pub(super) async fn offer(mut self, options: &Options) -> Result<Opened, String> {
        self.side.offers = true;
        let offer = self.side.session.offer().map_err(|error| error.to_string())?;
        self.side.tell(Signal::Offer(offer)).await?;
        let (session, delivery) = (self.side.session.clone(), delivery(options));
        let opening = async {
            let (label, protocol) = (DATA.to_owned(), PROTOCOL.to_owned());
            let data = session.open(Open { label, protocol, delivery });
            tokio::try_join!(data, session.open_negotiated(control(), CONTROL_STREAM))
        };
        self.until(options, opening).await
    }

    /// Answers, and waits until the channels are open.
    pub(super) async fn answer(self, offer: &str, options: &Options) -> Result<Opened, String> {
        if let Err(why) = self.side.take_offer(offer).await {
            return Err(self.side.refuse(why).await);
        }
        let session = self.side.session.clone();
        let opening = async {
            tokio::try_join!(accepted(&session), session.open_negotiated(control(), CONTROL_STREAM))
        };
        self.until(options, opening).await
    }

    /// Drives the session until its channels are open.
    async fn until(
        mut self,
        options: &Options,
        opening: impl Future<Output = Result<(Channel, Channel), Error>>,
    ) -> Result<Opened, String> {
        let limit = options.handshake_timeout;
        let opened = tokio::select! {
            opened = timeout(limit, opening) => match opened {
                Err(_) => Err(format!("no path to {} was found in {limit:?}", self.side.peer)),
                Ok(opened) => opened.map_err(|error| error.to_string()),
            },
            why = self.drive() => Err(why),
        };
        match opened {
            Ok((data, control)) => Ok(Opened { link: self, data, control }),
            Err(why) => Err(self.side.refuse(why).await),
        }
    }

    /// Sends and receives, and tells and hears what signaling brings, until the session is over;
    /// why it is. Safe to cancel.
    pub(super) async fn drive(&mut self) -> String {
        let mut hears = true;
        loop {
            tokio::select! {
                () = &mut self.sockets => return "its sockets are gone".to_owned(),
                () = rest(&mut self.relaying) => self.relaying = None,
                event = self.side.session.event() => match event {
                    None => return self.side.over(),
                    Some(event) => self.side.note(event).await,
                },
                signal = self.signals.recv(), if hears => match signal {
                    None => hears = false,
                    Some(Signal::Bye(why)) => return why,
                    Some(signal) => {
                        if let Err(why) = self.side.hear(signal).await {
                            return why;
                        }
                    }
                },
            }
        }
    }
}

impl Side {
    /// Bytes of the longest message that the other side takes.
    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max.load(Ordering::Relaxed)
    }

    /// Tells the other side that there will be no session.
    async fn refuse(&self, why: String) -> String {
        let text: String = why.chars().take(100).collect();
        // If nobody hears it, they find out by themselves.
        let _ = self.tell(Signal::Bye(text)).await;
        why
    }

    fn over(&self) -> String {
        self.session.over().map_or_else(String::new, |why| format!("the session is over: {why:?}"))
    }

    async fn note(&self, event: Event) {
        let signal = match event {
            Event::Candidate(candidate) => Signal::Candidate(candidate),
            // One side must begin, and both know which.
            Event::PathLost if self.offers => match self.session.restart() {
                Ok(offer) => Signal::Offer(offer),
                Err(_) => return,
            },
            _ => return,
        };
        // Without a hub the session lives with what it has.
        let _ = self.tell(signal).await;
    }

    async fn hear(&self, signal: Signal) -> Result<(), String> {
        let words = |error: Error| format!("the peer's signal makes no sense: {error}");
        match signal {
            Signal::Offer(offer) if !self.offers => self.take_offer(&offer).await,
            Signal::Answer(answer) if self.offers => {
                self.note_size(&answer);
                self.session.accept(&answer).map_err(words)
            }
            // Such as names that nobody resolves: one candidate less.
            Signal::Candidate(candidate) => {
                if !candidate.is_empty() {
                    let _ = self.session.add_candidate(&candidate);
                }
                Ok(())
            }
            Signal::Offer(_) | Signal::Answer(_) | Signal::Bye(_) => Ok(()),
        }
    }

    async fn take_offer(&self, offer: &str) -> Result<(), String> {
        self.note_size(offer);
        let answer = self.session.answer(offer).map_err(|error| error.to_string())?;
        self.tell(Signal::Answer(answer)).await
    }

    fn note_size(&self, description: &str) {
        let theirs = sdp::Description::parse(description, &sdp::Limits::default()).ok();
        let theirs = theirs.as_ref().and_then(|theirs| theirs.data());
        if let Some(sdp::Kind::Data { message_bytes_max, .. }) = theirs.map(|theirs| &theirs.kind) {
            let bytes = usize::try_from(*message_bytes_max).unwrap_or(usize::MAX);
            // 0 is no limit (RFC 8841, 6.1); ours is what may wait to be sent.
            let bytes = if bytes == 0 { usize::MAX } else { bytes };
            let buffer = psyne_rtc::association::Config::default().send_buffer_bytes_max;
            self.bytes_max.store(bytes.min(buffer), Ordering::Relaxed);
        }
    }

    async fn tell(&self, signal: Signal) -> Result<(), String> {
        let sent = self.sender.send(self.peer.clone(), self.name.clone(), signal).await;
        sent.map_err(|error| error.to_string())
    }
}

/// Waits for it if it is there, else for ever.
async fn rest(driver: &mut Option<Driver>) {
    match driver {
        Some(driver) => driver.await,
        None => pending().await,
    }
}

/// The channel of messages that the other side opens. What it opens beside it is closed.
async fn accepted(session: &Session) -> Result<Channel, Error> {
    while let Some(channel) = session.channel().await {
        let Open { label, protocol, .. } = channel.description();
        if label == DATA && protocol == PROTOCOL {
            return Ok(channel);
        }
    }
    Err(Error::Lost { why: "the session ended before it was open".to_owned() })
}

fn control() -> Open {
    let (label, protocol) = (CONTROL.to_owned(), PROTOCOL.to_owned());
    Open { label, protocol, ..Open::default() }
}

fn delivery(options: &Options) -> rtc::Delivery {
    let channel::Delivery { ordered, reliability } = options.delivery;
    let reliability = match reliability {
        channel::Reliability::Reliable => rtc::Reliability::Reliable,
        channel::Reliability::Retransmits(times) => rtc::Reliability::Retransmits(times.into()),
        channel::Reliability::Lifetime(time) => rtc::Reliability::Lifetime(time),
    };
    rtc::Delivery { ordered, reliability }
}

/// The addresses from which this machine reaches others; loopback if it reaches none. Asking sends
/// nothing: to connect a UDP socket only looks up the route (to documentation's addresses, RFC 5737
/// and 3849).
pub(super) fn hosts() -> Vec<IpAddr> {
    let from = |bind: &str, to: &str| {
        let socket = UdpSocket::bind(bind).ok()?;
        socket.connect(to).ok()?;
        socket.local_addr().ok().map(|addr| addr.ip())
    };
    let ways = [from("0.0.0.0:0", "192.0.2.1:9"), from("[::]:0", "[2001:db8::1]:9")];
    let found: Vec<IpAddr> = ways.into_iter().flatten().filter(|ip| !ip.is_loopback()).collect();
    if found.is_empty() { vec![std::net::Ipv4Addr::LOCALHOST.into()] } else { found }
}

/// As bytes of the control channel.
pub(super) fn frame(frame: &crate::frame::Frame) -> rtc::Payload {
    let mut bytes = bytes::BytesMut::new();
    frame.encode_datagram(&mut bytes);
    rtc::Payload::Binary(Bytes::from(bytes))
}
