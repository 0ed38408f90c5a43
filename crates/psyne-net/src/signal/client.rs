//! A member on a WebSocket.

use core::future::pending;
use std::collections::VecDeque;
use std::time::Instant;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use psyne_rtc::Time;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::{Event, Member, MemberConfig, MemberOutput, Name, SUBPROTOCOL, Signal, tls};
use crate::{Driver, Error};

/// Commands that wait for the driver.
const COMMANDS_MAX: usize = 64;
/// Events that wait for the application; then the hub is not read until they were taken.
const EVENTS_MAX: usize = 256;
/// Bytes of the longest message of a hub: a welcome to a group of thousands.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// What a client is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// `ws://host:port` or `wss://host:port`; without a path it is `/signal`.
    pub url: String,
    /// Authorities to believe instead of the public ones.
    pub authorities: Vec<CertificateDer<'static>>,
    /// The member's.
    pub member: MemberConfig,
}

impl Config {
    /// A member of this group by this hub.
    #[must_use]
    pub fn new(url: &str, group: Name) -> Self {
        let member = MemberConfig::new(group, random_name());
        Self { url: url.to_owned(), authorities: vec![], member }
    }
}

/// A name that nobody guesses: 128 bits of the operating system's randomness. For sessions, too.
///
/// # Panics
/// If the operating system has no randomness.
#[must_use]
pub fn random_name() -> Name {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    format!("{:032x}", u128::from_be_bytes(bytes)).parse().expect("digits are allowed")
}

/// A member of a group. Dropping it leaves.
#[derive(Debug)]
pub struct Client {
    commands: Sender,
    events: mpsc::Receiver<Event>,
}

/// What sends for a [`Client`]; as many as wanted.
#[derive(Clone, Debug)]
pub struct Sender(mpsc::Sender<Command>);

#[derive(Debug)]
enum Command {
    Send(Name, Name, Signal),
    Renew(String),
    Leave,
}

impl Client {
    /// A member that connects when its driver runs, again and again until it is welcome.
    ///
    /// # Errors
    /// [`Error::Uri`] if the address is none of a hub.
    pub fn new(config: Config) -> Result<(Self, Driver), Error> {
        let request = request(&config.url)?;
        let refuse = |why| Error::Connect { uri: config.url.clone(), why };
        let tls = tls::connector(&config.authorities).map_err(refuse)?;
        let (commands, commands_out) = mpsc::channel(COMMANDS_MAX);
        let (events_in, events) = mpsc::channel(EVENTS_MAX);
        let origin = Instant::now();
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).expect("the operating system has randomness");
        let member = Member::new(config.member, Time::ZERO, u64::from_ne_bytes(seed));
        let driver = Run { member, origin, request, tls, events: events_in, waiting: [].into() };
        let client = Self { commands: Sender(commands), events };
        Ok((client, Driver::new(driver.drive(commands_out))))
    }

    /// What happened next; nothing after [`Event::Ended`], or when the driver was dropped.
    pub async fn recv(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// What sends for this member.
    #[must_use]
    pub fn sender(&self) -> Sender {
        self.commands.clone()
    }

    /// Leaves the group; [`Event::Ended`] comes when that is done.
    pub async fn leave(&self) {
        let _ = self.commands.0.send(Command::Leave).await;
    }
}

impl Sender {
    /// Sends something to another member. If the hub is away it is held until it is back.
    ///
    /// # Errors
    /// [`Error::Lost`] if the member has ended.
    pub async fn send(&self, to: Name, session: Name, signal: Signal) -> Result<(), Error> {
        self.give(Command::Send(to, session, signal)).await
    }

    /// Uses this token from now on.
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub async fn renew(&self, token: String) -> Result<(), Error> {
        self.give(Command::Renew(token)).await
    }

    async fn give(&self, command: Command) -> Result<(), Error> {
        let lost = |_| Error::Lost { why: "the signaling client has ended".to_owned() };
        self.0.send(command).await.map_err(lost)
    }
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}
type Socket = WebSocketStream<Box<dyn Io>>;

struct Run {
    member: Member,
    origin: Instant,
    request: Request,
    tls: tokio_rustls::TlsConnector,
    events: mpsc::Sender<Event>,
    /// Events that the application has no room for yet.
    waiting: VecDeque<Event>,
}

/// Between two inputs.
enum Line {
    Down,
    Connecting(BoxFuture<'static, Result<Box<Socket>, String>>),
    Up(Box<Socket>),
}

impl Run {
    async fn drive(mut self, mut commands: mpsc::Receiver<Command>) {
        let (mut line, mut closed) = (Line::Down, false);
        loop {
            let Some(wait) = self.drain(&mut line).await else { break };
            tokio::select! {
                room = self.events.clone().reserve_owned(), if !self.waiting.is_empty() => {
                    match (room, self.waiting.pop_front()) {
                        (Ok(room), Some(event)) => drop(room.send(event)),
                        _ => self.member.leave(),
                    }
                }
                command = commands.recv() => self.perform(command),
                () = self.events.closed(), if !closed => {
                    closed = true;
                    self.member.leave();
                }
                () = sleep(self.origin, wait) => self.member.handle_timeout(self.now()),
                next = advance(&mut line, self.waiting.is_empty()) => self.take(&mut line, next),
            }
        }
        for event in self.waiting {
            // Nobody may be there to hear it.
            let _ = self.events.send(event).await;
        }
    }

    fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    fn perform(&mut self, command: Option<Command>) {
        match command {
            Some(Command::Send(to, session, signal)) => {
                if let Err(why) = self.member.send(to.clone(), session.clone(), signal) {
                    let (code, message) = (why.code().to_owned(), why.to_string());
                    let (to, session) = (Some(to), Some(session));
                    self.waiting.push_back(Event::Refused { code, message, to, session });
                }
            }
            Some(Command::Renew(token)) => {
                // It is used when the hub is back, too.
                let _ = self.member.renew(token);
            }
            Some(Command::Leave) | None => self.member.leave(),
        }
    }

    fn take(&mut self, line: &mut Line, next: Next) {
        let now = self.now();
        match next {
            Next::Connected(Ok(socket)) => {
                *line = Line::Up(socket);
                self.member.handle_connected(now);
            }
            Next::Text(text) => self.member.handle_text(now, &text),
            Next::Connected(Err(reason)) | Next::Closed(reason) => {
                *line = Line::Down;
                self.member.handle_closed(now, &reason);
            }
        }
    }

    /// Does what the member wants. Nothing comes back when it has ended.
    async fn drain(&mut self, line: &mut Line) -> Option<Option<Time>> {
        let mut ended = false;
        loop {
            match self.member.poll_output() {
                MemberOutput::Connect => {
                    let connecting = connect(self.request.clone(), self.tls.clone());
                    *line = Line::Connecting(connecting.boxed());
                }
                MemberOutput::Send(text) => {
                    if let Line::Up(socket) = line {
                        // If it is gone, reading says so. If the hub does not read, silence does.
                        let limit = core::time::Duration::from_secs(1);
                        let sent = socket.send(Message::text(text));
                        let _ = tokio::time::timeout(limit, sent).await;
                    }
                }
                MemberOutput::Disconnect => {
                    if let Line::Up(mut socket) = core::mem::replace(line, Line::Down) {
                        let limit = core::time::Duration::from_secs(1);
                        let _ = tokio::time::timeout(limit, (*socket).close(None)).await;
                    }
                }
                MemberOutput::Event(event) => {
                    ended |= matches!(event, Event::Ended { .. });
                    self.waiting.push_back(event);
                }
                MemberOutput::Wait(_) if ended => return None,
                MemberOutput::Wait(wait) => return Some(wait),
            }
        }
    }
}

enum Next {
    Connected(Result<Box<Socket>, String>),
    Text(String),
    Closed(String),
}

/// What the connection brings next; nothing while nobody takes what it brought before.
async fn advance(line: &mut Line, may_read: bool) -> Next {
    match line {
        Line::Connecting(connecting) => Next::Connected(connecting.await),
        Line::Up(socket) if may_read => loop {
            match socket.next().await {
                Some(Ok(Message::Text(text))) => return Next::Text(text.as_str().to_owned()),
                Some(Ok(Message::Close(Some(frame)))) if !frame.reason.is_empty() => {
                    return Next::Closed(frame.reason.as_str().to_owned());
                }
                Some(Ok(Message::Close(_))) | None => {
                    return Next::Closed("the hub closed the connection".to_owned());
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Next::Closed(error.to_string()),
            }
        },
        Line::Down | Line::Up(_) => pending().await,
    }
}

async fn sleep(origin: Instant, wait: Option<Time>) {
    let at = wait.and_then(|at| origin.checked_add(at.since(Time::ZERO)));
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => pending().await,
    }
}

/// The member says how long this may take.
async fn connect(request: Request, tls: tokio_rustls::TlsConnector) -> Result<Box<Socket>, String> {
    let words = |error: std::io::Error| error.to_string();
    let uri = request.uri();
    let secure = uri.scheme_str() == Some("wss");
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let tcp = TcpStream::connect((host.as_str(), port)).await.map_err(words)?;
    tcp.set_nodelay(true).map_err(words)?;
    let io: Box<dyn Io> = if secure {
        let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
        Box::new(tls.connect(name, tcp).await.map_err(words)?)
    } else {
        Box::new(tcp)
    };
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let connected = client_async_with_config(request, io, Some(config)).await;
    connected.map(|(socket, _)| Box::new(socket)).map_err(|error| in_words(&error))
}

/// What the server said if it is none of ours.
fn in_words(error: &WsError) -> String {
    match error {
        WsError::Http(response) => {
            let body = response.body().as_deref().unwrap_or_default();
            let body = String::from_utf8_lossy(body.get(..200).unwrap_or(body)).into_owned();
            format!("it answered {}: {}", response.status(), body.trim())
        }
        error => error.to_string(),
    }
}

fn request(url: &str) -> Result<Request, Error> {
    let refuse = |why: &str| Error::Uri { uri: url.to_owned(), why: why.to_owned() };
    let mut whole = url.to_owned();
    let rest = url.split_once("://").map(|(_, rest)| rest);
    if rest.is_some_and(|rest| !rest.contains(['/', '?'])) {
        whole.push_str("/signal");
    }
    let help = "write wss://host or ws://host:port";
    let mut request = whole.into_client_request().map_err(|_| refuse(help))?;
    if !matches!(request.uri().scheme_str(), Some("ws" | "wss")) {
        return Err(refuse(help));
    }
    let protocol = HeaderValue::from_static(SUBPROTOCOL);
    request.headers_mut().insert("Sec-WebSocket-Protocol", protocol);
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_path_is_that_of_a_hub() {
        for (url, expected) in [
            ("ws://127.0.0.1:7400", "ws://127.0.0.1:7400/signal"),
            ("wss://hub.example", "wss://hub.example/signal"),
            ("wss://hub.example/", "wss://hub.example/"),
            ("wss://hub.example/a/signal", "wss://hub.example/a/signal"),
        ] {
            assert_eq!(request(url).unwrap().uri().to_string(), expected);
        }
        for url in ["", "hub.example", "http://hub.example", "wss://", "ws://a b"] {
            assert_eq!(request(url).unwrap_err().code(), "uri", "{url}");
        }
    }
}
