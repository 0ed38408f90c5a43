//! The client's side of a connection: one stream, published or played.

use std::collections::VecDeque;

use psyne::Time;

use super::chunk::{Header, Message, kind};
use super::command::{self, Command};
use super::handshake::Handshake;
use super::link::{Link, user};
use super::{Closed, Config, Output, Url};
use crate::amf::Value;
use crate::{Error, flv};

/// What to do with the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Intent {
    /// Send it.
    Publish,
    /// Receive it.
    Play,
}

/// What to connect to and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Application.
    pub app: String,
    /// The address as the server should know it, without the stream's name.
    pub tc_url: String,
    /// Stream name or key, with its query.
    pub name: String,
    /// What to do with it.
    pub intent: Intent,
}

impl Target {
    /// The stream that `url` names.
    #[must_use]
    pub fn new(url: &Url, intent: Intent) -> Self {
        Self { app: url.app.clone(), tc_url: url.tc_url(), name: url.name.clone(), intent }
    }
}

/// What a server does.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientEvent {
    /// It accepted: [`Client::send`] tags, or wait for `Media`.
    Ready,
    /// A tag of the stream that is played.
    Media(flv::Tag),
    /// It refused. Close the socket.
    Refused {
        /// Status code, e.g. `NetStream.Publish.BadName`.
        code: String,
        /// What it says about it.
        description: String,
    },
    /// The stream is over. The connection may go on.
    Ended,
    /// Close the socket. The last event.
    Closed(Closed),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Handshake,
    Connecting,
    Creating,
    Asking,
    Ready,
    Closed,
}

/// Transactions of the calls that we await an answer to.
const CONNECT: f64 = 1.0;
const RELEASE: f64 = 2.0;
const FC_PUBLISH: f64 = 3.0;
const CREATE: f64 = 4.0;
const ASK: f64 = 5.0;

/// The client's side of one connection.
#[derive(Debug)]
pub struct Client {
    config: Config,
    target: Target,
    link: Link,
    handshake: Handshake,
    state: State,
    stream: u32,
    events: VecDeque<ClientEvent>,
    started: Time,
    heard: Time,
}

impl Client {
    /// A connection that was opened at `now`. Starts the handshake.
    #[must_use]
    pub fn new(config: Config, target: Target, now: Time, seed: u64) -> Self {
        let mut link = Link::new(&config);
        let handshake = Handshake::client(seed, config.digest, now, &mut link.out);
        Self {
            config,
            target,
            link,
            handshake,
            state: State::Handshake,
            stream: 0,
            events: VecDeque::new(),
            started: now,
            heard: now,
        }
    }

    /// Takes bytes from the server, cut anywhere.
    ///
    /// # Errors
    /// They are malformed, unsupported or over a limit. Close the socket.
    pub fn handle_input(&mut self, now: Time, mut input: &[u8]) -> Result<(), Error> {
        self.heard = self.heard.max(now);
        if self.state == State::Handshake {
            if !self.handshake.next(now, &mut input, &mut self.link.out)? {
                return Ok(());
            }
            self.state = State::Connecting;
            self.call_connect();
        }
        while self.state != State::Closed {
            let Some(message) = self.link.next(&mut input)? else { break };
            self.message(message)?;
            self.config.check_events(self.events.len())?;
        }
        Ok(())
    }

    /// Something that was to be waited for has come or not: see [`Output::Wait`].
    pub fn handle_timeout(&mut self, now: Time) {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            let ready = self.state == State::Ready;
            self.state = State::Closed;
            let reason = if ready { Closed::IdleTimeout } else { Closed::SetupTimeout };
            self.events.push_back(ClientEvent::Closed(reason));
        }
    }

    /// What to send, know or wait for next.
    pub fn poll_output(&mut self) -> Output<ClientEvent> {
        if let Some(bytes) = self.link.take_output() {
            return Output::Transmit(bytes);
        }
        match self.events.pop_front() {
            Some(event) => Output::Event(event),
            None => Output::Wait(self.deadline()),
        }
    }

    /// Publishes a tag. Poll the output before sending more: it is the driver that waits for the
    /// socket.
    ///
    /// # Panics
    /// The client does not publish, or is not [`ClientEvent::Ready`] yet.
    pub fn send(&mut self, tag: &flv::Tag) {
        assert!(self.target.intent == Intent::Publish, "this client plays");
        if self.state == State::Closed {
            return;
        }
        assert!(self.state == State::Ready, "the server has not accepted the stream yet");
        let header = Header::of(tag, self.stream);
        if tag.kind == flv::Kind::Script {
            let mut body = Vec::with_capacity(tag.body.len() + 16);
            crate::amf::amf0::encode(&Value::string("@setDataFrame"), &mut body);
            body.extend(&tag.body);
            self.link.send(&header, &body);
        } else {
            self.link.send(&header, &tag.body);
        }
    }

    /// Ends the stream as one should. Flush and close the socket afterwards.
    pub fn close(&mut self) {
        if self.state == State::Ready {
            if self.target.intent == Intent::Publish {
                self.call(0, "FCUnpublish", 6.0, &[Value::string(&self.target.name)]);
            }
            self.call(0, "deleteStream", 7.0, &[Value::Number(self.stream.into())]);
        }
        self.state = State::Closed;
    }

    /// Asks a server that sends the stream to pause or to go on.
    pub fn pause(&mut self, paused: bool) {
        if self.state == State::Ready {
            self.call(self.stream, "pause", 0.0, &[Value::Boolean(paused), Value::Number(0.0)]);
        }
    }

    fn deadline(&self) -> Option<Time> {
        match (self.state, self.target.intent) {
            (State::Closed, _) | (State::Ready, Intent::Publish) => None,
            (State::Ready, Intent::Play) => Some(self.heard + self.config.idle_timeout),
            _ => Some(self.started + self.config.setup_timeout),
        }
    }

    fn call(&mut self, stream: u32, name: &str, transaction: f64, arguments: &[Value]) {
        let values = [&[Value::Null], arguments].concat();
        self.link.send_command(stream, name, transaction, &values);
    }

    fn call_connect(&mut self) {
        let codes = ["avc1", "hvc1", "av01", "vp09", "mp4a", "Opus"];
        let object = Value::object([
            ("app", Value::string(&self.target.app)),
            ("type", Value::string("nonprivate")),
            ("flashVer", Value::string("FMLE/3.0 (compatible; streamr)")),
            ("tcUrl", Value::string(&self.target.tc_url)),
            ("fpad", Value::Boolean(false)),
            ("capabilities", Value::Number(15.0)),
            ("audioCodecs", Value::Number(4_071.0)),
            ("videoCodecs", Value::Number(252.0)),
            ("videoFunction", Value::Number(1.0)),
            ("objectEncoding", Value::Number(0.0)),
            ("fourCcList", Value::Array(codes.map(Value::string).into())),
            ("capsEx", Value::Number(14.0)),
        ]);
        self.link.send_command(0, "connect", CONNECT, &[object]);
    }

    fn message(&mut self, message: Message) -> Result<(), Error> {
        let timestamp_ms = message.header.timestamp_ms;
        let kind = match message.header.kind {
            kind::COMMAND_AMF0 | kind::COMMAND_AMF3 => {
                let command = Command::read(&message, self.config.command_bytes_max)?;
                self.command(&command);
                return Ok(());
            }
            kind::AGGREGATE => {
                for tag in flv::file::aggregate(&message.body, timestamp_ms) {
                    self.media(tag?);
                }
                return Ok(());
            }
            kind::DATA_AMF0 | kind::DATA_AMF3 => {
                if let Some(body) = command::script_data(&message) {
                    self.media(flv::Tag { kind: flv::Kind::Script, timestamp_ms, body });
                }
                return Ok(());
            }
            kind::AUDIO => flv::Kind::Audio,
            kind::VIDEO => flv::Kind::Video,
            _ => return Ok(()),
        };
        self.media(flv::Tag { kind, timestamp_ms, body: message.body });
        Ok(())
    }

    fn media(&mut self, tag: flv::Tag) {
        if self.state == State::Ready && self.target.intent == Intent::Play {
            self.events.push_back(ClientEvent::Media(tag));
        }
    }

    fn command(&mut self, command: &Command) {
        match (command.name.as_str(), self.state, command.transaction) {
            ("_result", State::Connecting, CONNECT) => self.connected(),
            ("_result", State::Creating, CREATE) => {
                self.stream = command.number(0) as u32;
                self.ask();
            }
            ("_error", State::Connecting, CONNECT) | ("_error", State::Creating, CREATE) => {
                self.refused(command);
            }
            ("onStatus", _, _) => self.status(command),
            _ => {}
        }
    }

    fn connected(&mut self) {
        self.link.announce_chunk_bytes(self.config.chunk_bytes);
        let window = self.config.window_bytes.to_be_bytes();
        self.link.send_control(kind::WINDOW_ACK_SIZE, &window);
        if self.target.intent == Intent::Publish {
            let name = [Value::string(&self.target.name)];
            self.call(0, "releaseStream", RELEASE, &name);
            self.call(0, "FCPublish", FC_PUBLISH, &name);
        }
        self.call(0, "createStream", CREATE, &[]);
        self.state = State::Creating;
    }

    fn ask(&mut self) {
        let name = Value::string(&self.target.name);
        match self.target.intent {
            Intent::Publish => {
                self.call(self.stream, "publish", ASK, &[name, Value::string("live")]);
            }
            Intent::Play => {
                // -2000: live if there is one (RTMP 1.0 §7.2.2.1).
                self.call(self.stream, "play", ASK, &[name, Value::Number(-2_000.0)]);
                self.link.send_user_control(user::SET_BUFFER_LENGTH, &[self.stream, 1_000]);
            }
        }
        self.state = State::Asking;
    }

    fn status(&mut self, command: &Command) {
        let info = command.argument(0);
        let text = |name| info.and_then(|i| i.field(name)).and_then(Value::as_str);
        match (text("code").unwrap_or_default(), self.state) {
            ("NetStream.Publish.Start" | "NetStream.Play.Start", State::Asking) => {
                self.state = State::Ready;
                self.events.push_back(ClientEvent::Ready);
            }
            (
                "NetStream.Play.UnpublishNotify"
                | "NetStream.Play.Stop"
                | "NetStream.Play.Complete"
                | "NetStream.Unpublish.Success",
                State::Ready,
            ) => self.events.push_back(ClientEvent::Ended),
            // A seek that fails changes nothing.
            ("NetStream.Seek.Failed", _) => {}
            _ if text("level") == Some("error") => self.refused(command),
            _ => {}
        }
    }

    fn refused(&mut self, command: &Command) {
        let info = command.argument(0);
        let text = |name| info.and_then(|i| i.field(name)).and_then(Value::as_str);
        let code = text("code").unwrap_or(&command.name).to_owned();
        let description = text("description").unwrap_or_default().to_owned();
        self.state = State::Closed;
        self.events.push_back(ClientEvent::Refused { code, description });
    }
}
