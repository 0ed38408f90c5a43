//! The server's side of a connection.

use std::collections::VecDeque;

use bytes::Bytes;
use psyne::Time;

use super::chunk::{Message, kind};
use super::command::{self, Command};
use super::handshake::Handshake;
use super::link::{Link, user};
use super::player::{self, PlayerControl};
use super::{Closed, Config, Output, limit, malformed};
use crate::amf::Value;
use crate::{Error, flv};

/// Names a message stream within its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

/// What a client does.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// It wants to publish. Answer with [`Server::accept`] or [`Server::reject`]. Media that it
    /// sends before the answer comes behind the answer.
    Publish {
        /// What to answer to.
        stream: StreamId,
        /// `live` of `rtmp://host/live/key`, without its query.
        app: String,
        /// Stream name or key as it was sent, without its query.
        name: String,
        /// What stood behind the `?` of the name, or else of the application.
        query: String,
    },
    /// It wants to play. Answer with [`Server::accept`] or [`Server::reject`].
    Play {
        /// What to answer to.
        stream: StreamId,
        /// As with `Publish`.
        app: String,
        /// Stream name, without its query.
        name: String,
        /// As with `Publish`.
        query: String,
    },
    /// A tag of a stream that publishes.
    Media {
        /// The stream.
        stream: StreamId,
        /// Its next tag.
        tag: flv::Tag,
    },
    /// A publisher ended its stream as it should.
    Unpublish {
        /// The stream.
        stream: StreamId,
    },
    /// A player left its stream.
    Stop {
        /// The stream.
        stream: StreamId,
    },
    /// Flush what was said and close the socket. The last event.
    Closed(Closed),
}

/// Why a request is refused. The client learns it by the protocol's own status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reject {
    /// The key or name gives no right to do this: `NetStream.Publish.Denied`,
    /// `NetStream.Play.Failed`.
    Denied,
    /// Somebody publishes under this name: `NetStream.Publish.BadName`.
    InUse,
    /// There is no such stream: `NetStream.Play.StreamNotFound`, `NetStream.Publish.BadName`.
    NotFound,
    /// The server has no room or is shutting down: `NetStream.Failed`.
    Unavailable,
}

/// What a client said of itself in `connect` (RTMP 1.0 §7.2.1.1, Enhanced RTMP v2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connect {
    /// Application without its query and trailing slash.
    pub app: String,
    /// What stood behind the application's `?`.
    pub query: String,
    /// The address it used.
    pub tc_url: String,
    /// Its own name and version, e.g. `FMLE/3.0 (compatible; FMSc/1.0)`.
    pub flash_version: String,
    /// Codecs that it announces as FourCC, from `fourCcList` and the info maps; `*` is any.
    pub four_ccs: Vec<String>,
    /// Bits of `capsEx`: 1 reconnect, 2 multitrack, 4 ModEx, 8 nanosecond offsets.
    pub caps_ex: u32,
}

/// What [`Server::into_player`] leaves.
#[derive(Debug)]
pub struct Parts {
    /// Goes on reading what the player says, with whatever it had said already.
    pub control: PlayerControl,
    /// To be sent before any media.
    pub output: Bytes,
    /// The chunk size that the player knows: media must be chunked by it.
    pub chunk_bytes: u32,
    /// The message stream for the media.
    pub stream: StreamId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    PublishAsked,
    Publishing,
    PlayAsked,
    Playing,
}

#[derive(Debug)]
struct Stream {
    id: u32,
    state: State,
    name: String,
    /// Media that came before the answer to `publish`.
    held: Vec<flv::Tag>,
    held_bytes: usize,
}

/// The server's side of one connection.
#[derive(Debug)]
pub struct Server {
    config: Config,
    link: Link,
    handshake: Option<Box<Handshake>>,
    connect: Option<Box<Connect>>,
    streams: Vec<Stream>,
    events: VecDeque<Event>,
    /// Since when it has neither published nor played.
    idle_since: Time,
    heard: Time,
    closed: bool,
}

impl Server {
    /// A connection that was accepted at `now`. `seed` makes its handshake differ from others.
    #[must_use]
    pub fn new(config: Config, now: Time, seed: u64) -> Self {
        Self {
            link: Link::new(&config),
            config,
            handshake: Some(Box::new(Handshake::server(seed))),
            connect: None,
            streams: Vec::new(),
            events: VecDeque::new(),
            idle_since: now,
            heard: now,
            closed: false,
        }
    }

    /// Takes bytes from the client, cut anywhere.
    ///
    /// # Errors
    /// They are malformed, unsupported or over a limit. Close the socket.
    pub fn handle_input(&mut self, now: Time, mut input: &[u8]) -> Result<(), Error> {
        self.heard = self.heard.max(now);
        if let Some(handshake) = &mut self.handshake {
            if !handshake.next(now, &mut input, &mut self.link.out)? {
                return Ok(());
            }
            self.handshake = None;
        }
        while !self.closed {
            let Some(message) = self.link.next(&mut input)? else { break };
            self.message(message)?;
            self.config.check_events(self.events.len())?;
        }
        Ok(())
    }

    /// Something that was to be waited for has come or not: see [`Output::Wait`].
    pub fn handle_timeout(&mut self, now: Time) {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            let publishing = self.streams.iter().any(|s| s.state == State::Publishing);
            self.close(if publishing { Closed::IdleTimeout } else { Closed::SetupTimeout });
        }
    }

    /// What to send, know or wait for next.
    pub fn poll_output(&mut self) -> Output {
        if let Some(bytes) = self.link.take_output() {
            return Output::Transmit(bytes);
        }
        if let Some(event) = self.events.pop_front() {
            return Output::Event(event);
        }
        // A burst must not leave its queue behind on a connection that falls silent.
        if self.events.capacity() > 64 {
            self.events = VecDeque::new();
        }
        Output::Wait(self.deadline())
    }

    /// What the client said of itself, once it has connected.
    #[must_use]
    pub fn connect(&self) -> Option<&Connect> {
        self.connect.as_deref()
    }

    /// Grants `Publish` or `Play`. Nothing happens if the client has gone from the stream since.
    pub fn accept(&mut self, stream: StreamId) {
        let Some(asked) = self.streams.iter_mut().find(|s| s.id == stream.0) else { return };
        let (link, name) = (&mut self.link, &asked.name);
        match asked.state {
            State::PublishAsked => {
                asked.state = State::Publishing;
                link.send_user_control(user::STREAM_BEGIN, &[stream.0]);
                let description = format!("{name} is now published.");
                link.send_status(stream.0, "status", "NetStream.Publish.Start", &description);
                asked.held_bytes = 0;
                let held = core::mem::take(&mut asked.held).into_iter();
                self.events.extend(held.map(|tag| Event::Media { stream, tag }));
            }
            State::PlayAsked => {
                asked.state = State::Playing;
                link.send_user_control(user::STREAM_BEGIN, &[stream.0]);
                let description = format!("Playing {name}.");
                link.send_status(stream.0, "status", "NetStream.Play.Reset", &description);
                link.send_status(stream.0, "status", "NetStream.Play.Start", &description);
            }
            State::Idle | State::Publishing | State::Playing => {}
        }
    }

    /// Refuses `Publish` or `Play`, or takes back what was granted, and ends the connection.
    pub fn reject(&mut self, stream: StreamId, reason: Reject) {
        let Some(asked) = self.streams.iter().find(|s| s.id == stream.0) else { return };
        let playing = matches!(asked.state, State::PlayAsked | State::Playing);
        let (code, description) = match (reason, playing) {
            (Reject::Denied, false) => ("NetStream.Publish.Denied", "This key may not publish."),
            (Reject::Denied, true) => ("NetStream.Play.Failed", "This stream may not be played."),
            (Reject::NotFound, true) => ("NetStream.Play.StreamNotFound", "No such stream."),
            (Reject::NotFound, false) => ("NetStream.Publish.BadName", "No such stream."),
            (Reject::InUse, _) => {
                ("NetStream.Publish.BadName", "This stream is being published already.")
            }
            (Reject::Unavailable, _) => ("NetStream.Failed", "The server cannot take this now."),
        };
        self.link.send_status(stream.0, "error", code, description);
        self.close(Closed::Rejected);
    }

    /// Ends the connection over media that cannot be carried (another codec, a broken header, a
    /// limit): the publisher learns why by `NetStream.Publish.Rejected` with the error's text,
    /// which OBS and ffmpeg show.
    pub fn reject_media(&mut self, stream: StreamId, error: &Error) {
        if !self.streams.iter().any(|s| s.id == stream.0 && s.state == State::Publishing) {
            return;
        }
        let code = "NetStream.Publish.Rejected";
        self.link.send_status(stream.0, "error", code, &error.to_string());
        self.close(Closed::Rejected);
    }

    /// Sends a tag to a stream that plays: for drivers without a fan-out.
    pub fn send(&mut self, stream: StreamId, tag: &flv::Tag) {
        if self.streams.iter().any(|s| s.id == stream.0 && s.state == State::Playing) {
            self.link.send(&super::chunk::Header::of(tag, stream.0), &tag.body);
        }
    }

    /// Tells a stream that plays that the publication is over.
    pub fn end(&mut self, stream: StreamId) {
        player::send_end(&mut self.link, stream.0);
    }

    /// Takes the machine apart so that somebody else can write media to the socket. If the client
    /// has gone from the stream since it asked, the control says [`super::PlayerEvent::Left`]
    /// first.
    #[must_use]
    pub fn into_player(mut self, stream: StreamId) -> Parts {
        let output = self.link.take_output().unwrap_or_default();
        let chunk_bytes = self.link.chunk_bytes;
        let left = !self.streams.iter().any(|s| s.id == stream.0 && s.state == State::Playing);
        let control = PlayerControl::new(self.link, stream.0, left);
        Parts { control, output, chunk_bytes, stream }
    }

    fn deadline(&self) -> Option<Time> {
        let any = |state| self.streams.iter().any(|stream| stream.state == state);
        if self.closed || any(State::Playing) {
            None
        } else if any(State::Publishing) {
            Some(self.heard + self.config.idle_timeout)
        } else {
            Some(self.idle_since + self.config.setup_timeout)
        }
    }

    fn close(&mut self, reason: Closed) {
        if !self.closed {
            self.closed = true;
            self.streams.clear();
            self.events.push_back(Event::Closed(reason));
        }
    }

    fn message(&mut self, message: Message) -> Result<(), Error> {
        let stream = message.header.stream;
        let timestamp_ms = message.header.timestamp_ms;
        match message.header.kind {
            kind::COMMAND_AMF0 | kind::COMMAND_AMF3 => {
                let command = Command::read(&message, self.config.command_bytes_max)?;
                self.command(stream, &command)
            }
            kind::AUDIO => self.media(
                stream,
                flv::Tag { kind: flv::Kind::Audio, timestamp_ms, body: message.body },
            ),
            kind::VIDEO => self.media(
                stream,
                flv::Tag { kind: flv::Kind::Video, timestamp_ms, body: message.body },
            ),
            kind::DATA_AMF0 | kind::DATA_AMF3 => match command::script_data(&message) {
                Some(body) => {
                    self.media(stream, flv::Tag { kind: flv::Kind::Script, timestamp_ms, body })
                }
                None => Ok(()),
            },
            kind::AGGREGATE => {
                for tag in flv::file::aggregate(&message.body, timestamp_ms) {
                    self.media(stream, tag?)?;
                }
                Ok(())
            }
            // Shared objects and whatever else nobody needs here.
            _ => Ok(()),
        }
    }

    fn media(&mut self, stream: u32, tag: flv::Tag) -> Result<(), Error> {
        let Some(publisher) = self.streams.iter_mut().find(|s| s.id == stream) else {
            return Ok(());
        };
        match publisher.state {
            State::Publishing => {
                self.events.push_back(Event::Media { stream: StreamId(stream), tag });
            }
            State::PublishAsked => {
                // An empty tag must not be free.
                publisher.held_bytes += tag.body.len() + size_of::<flv::Tag>();
                publisher.held.push(tag);
                if publisher.held_bytes > self.config.held_bytes_max as usize {
                    let max = self.config.held_bytes_max.into();
                    return Err(limit("held_bytes_max", publisher.held_bytes, max));
                }
            }
            State::Idle | State::PlayAsked | State::Playing => {}
        }
        Ok(())
    }

    fn command(&mut self, stream: u32, command: &Command) -> Result<(), Error> {
        let name = command.name.as_str();
        if self.connect.is_none() {
            return match name {
                "connect" => self.connected(command),
                _ => Err(malformed("a command before connect")),
            };
        }
        match name {
            "connect" => return Err(malformed("a second connect")),
            "createStream" => self.create_stream(command),
            "publish" => return self.ask(stream, command.text(0), State::PublishAsked),
            "play" => return self.ask(stream, command.text(0), State::PlayAsked),
            "play2" => {
                let options = command.argument(0);
                let name = options.and_then(|options| options.field("streamName"));
                let name = name.and_then(Value::as_str).unwrap_or_default();
                return self.ask(stream, name, State::PlayAsked);
            }
            "deleteStream" => self.leave(command.number(0) as u32, true),
            "closeStream" => self.leave(stream, false),
            "FCPublish" => self.answer_publish(command, "onFCPublish", "NetStream.Publish.Start"),
            "FCUnpublish" => {
                let code = "NetStream.Unpublish.Success";
                self.answer_publish(command, "onFCUnpublish", code);
                let named = |s: &&Stream| s.name == base_name(command.text(0)).0;
                if let Some(id) = self.streams.iter().find(named).map(|s| s.id) {
                    self.leave(id, false);
                }
            }
            "pause" | "pauseRaw" => {
                player::send_pause_notify(&mut self.link, stream, command.number(0) != 0.0);
            }
            "seek" => player::send_seek_failed(&mut self.link, stream),
            "getStreamLength" => self.answer(command, Value::Number(0.0)),
            "releaseStream" | "_checkbw" => self.answer(command, Value::Undefined),
            _ => {}
        }
        Ok(())
    }

    fn answer(&mut self, command: &Command, value: Value) {
        if command.transaction != 0.0 {
            let values = [Value::Null, value];
            self.link.send_command(0, "_result", command.transaction, &values);
        }
    }

    fn answer_publish(&mut self, command: &Command, name: &str, code: &str) {
        self.answer(command, Value::Undefined);
        let info = command::status("status", code, command.text(0));
        self.link.send_command(0, name, 0.0, &[Value::Null, info]);
    }

    fn connected(&mut self, command: &Command) -> Result<(), Error> {
        let connect = Connect::read(command);
        self.check_name(&connect.app)?;
        self.check_name(&connect.query)?;
        let config = &self.config;
        self.link.send_control(kind::WINDOW_ACK_SIZE, &config.window_bytes.to_be_bytes());
        let bandwidth = [&config.window_bytes.to_be_bytes()[..], &[DYNAMIC]].concat();
        self.link.send_control(kind::SET_PEER_BANDWIDTH, &bandwidth);
        self.link.announce_chunk_bytes(config.chunk_bytes);
        if !config.apps.is_empty() && !config.apps.contains(&connect.app) {
            let code = "NetConnection.Connect.Rejected";
            let info = command::status("error", code, "There is no such application.");
            self.link.send_command(0, "_error", command.transaction, &[Value::Null, info]);
            self.close(Closed::Rejected);
            return Ok(());
        }
        let Value::Object(mut info) =
            command::status("status", "NetConnection.Connect.Success", "Connection succeeded.")
        else {
            unreachable!("a status is an object")
        };
        let encoding = command.values.first().and_then(|object| object.field("objectEncoding"));
        let encoding = encoding.and_then(Value::as_f64).unwrap_or(0.0);
        info.push(("objectEncoding".into(), Value::Number(encoding)));
        let values = [properties(), Value::Object(info)];
        self.link.send_command(0, "_result", command.transaction, &values);
        self.connect = Some(Box::new(connect));
        Ok(())
    }

    fn create_stream(&mut self, command: &Command) {
        if self.streams.len() >= usize::from(self.config.streams_max) {
            let code = "NetConnection.Call.Failed";
            let info = command::status("error", code, "Too many streams on this connection.");
            self.link.send_command(0, "_error", command.transaction, &[Value::Null, info]);
            return;
        }
        let id = (1..).find(|id| self.streams.iter().all(|s| s.id != *id)).unwrap_or(1);
        self.streams.push(Stream {
            id,
            state: State::Idle,
            name: String::new(),
            held: Vec::new(),
            held_bytes: 0,
        });
        let values = [Value::Null, Value::Number(id.into())];
        self.link.send_command(0, "_result", command.transaction, &values);
    }

    /// `publish` or `play`: becomes an event.
    fn ask(&mut self, stream: u32, name: &str, wanted: State) -> Result<(), Error> {
        self.check_name(name)?;
        let Some(asked) = self.streams.iter_mut().find(|s| s.id == stream) else {
            return Err(malformed("publish or play on a stream that was not created"));
        };
        if asked.state != State::Idle {
            let code = match wanted {
                State::PublishAsked => "NetStream.Publish.BadName",
                _ => "NetStream.Play.Failed",
            };
            self.link.send_status(stream, "error", code, "This stream is in use.");
            return Ok(());
        }
        let Some(connect) = &self.connect else { return Ok(()) };
        let (name, query) = base_name(name);
        asked.state = wanted;
        name.clone_into(&mut asked.name);
        let (app, name) = (connect.app.clone(), name.to_owned());
        let query = if query.is_empty() { connect.query.clone() } else { query.to_owned() };
        let stream = StreamId(stream);
        self.events.push_back(match wanted {
            State::PublishAsked => Event::Publish { stream, app, name, query },
            _ => Event::Play { stream, app, name, query },
        });
        Ok(())
    }

    /// The client is done with a stream; `delete` frees its number too.
    fn leave(&mut self, id: u32, delete: bool) {
        let Some(index) = self.streams.iter().position(|s| s.id == id) else { return };
        let left = &mut self.streams[index];
        let stream = StreamId(id);
        match left.state {
            State::Publishing | State::PublishAsked => {
                if left.state == State::Publishing {
                    // It may publish anew, and has as long for it as at first.
                    self.idle_since = self.heard;
                }
                self.events.push_back(Event::Unpublish { stream });
                let code = "NetStream.Unpublish.Success";
                self.link.send_status(id, "status", code, "");
            }
            State::Playing | State::PlayAsked => self.events.push_back(Event::Stop { stream }),
            State::Idle => {}
        }
        *left = Stream { id, state: State::Idle, name: String::new(), held: vec![], held_bytes: 0 };
        if delete {
            self.streams.swap_remove(index);
        }
    }

    fn check_name(&self, name: &str) -> Result<(), Error> {
        let max = self.config.name_bytes_max;
        if name.len() > max.into() {
            return Err(limit("name_bytes_max", name.len(), max.into()));
        }
        Ok(())
    }
}

/// Set Peer Bandwidth's limit type (RTMP 1.0 §5.4.5).
const DYNAMIC: u8 = 2;

/// Enhanced RTMP v2 `capsEx`: multitrack, ModEx, nanosecond offsets. Reconnect requests are not
/// sent.
const CAPS_EX: f64 = 14.0;

/// Enhanced RTMP v2 FourCcInfoMask: we forward, we do not decode.
const CAN_FORWARD: f64 = 4.0;

/// The server's properties in the answer to `connect`.
fn properties() -> Value {
    let map = |codes: &[&str]| {
        let entry = |code: &&str| ((*code).to_owned(), Value::Number(CAN_FORWARD));
        Value::Object(codes.iter().map(entry).collect())
    };
    let video = ["avc1", "hvc1", "av01", "vp09"];
    let audio = ["mp4a", "Opus"];
    let all = video.iter().chain(&audio).map(|code| Value::string(*code)).collect();
    Value::object([
        ("fmsVer", Value::string("FMS/3,0,1,123")),
        ("capabilities", Value::Number(31.0)),
        ("fourCcList", Value::Array(all)),
        ("videoFourCcInfoMap", map(&video)),
        ("audioFourCcInfoMap", map(&audio)),
        ("capsEx", Value::Number(CAPS_EX)),
    ])
}

/// Name and query.
fn base_name(name: &str) -> (&str, &str) {
    name.split_once('?').unwrap_or((name, ""))
}

impl Connect {
    fn read(command: &Command) -> Self {
        let nothing = Value::Null;
        let object = command.values.first().unwrap_or(&nothing);
        let text = |name| object.field(name).and_then(Value::as_str).unwrap_or_default();
        let (app, query) = base_name(text("app"));
        let listed = match object.field("fourCcList") {
            Some(Value::Array(codes)) => codes.iter().filter_map(Value::as_str).collect(),
            _ => vec![],
        };
        let map = |name| object.field(name).map(Value::fields).unwrap_or_default();
        let maps = map("videoFourCcInfoMap").iter().chain(map("audioFourCcInfoMap"));
        let mapped = maps.map(|(code, _)| code.as_str());
        let mut four_ccs: Vec<String> = listed.into_iter().chain(mapped).map(Into::into).collect();
        four_ccs.sort_unstable();
        four_ccs.dedup();
        Self {
            app: app.trim_matches('/').to_owned(),
            query: query.to_owned(),
            tc_url: text("tcUrl").to_owned(),
            flash_version: text("flashVer").to_owned(),
            four_ccs,
            caps_ex: object.field("capsEx").and_then(Value::as_f64).unwrap_or(0.0) as u32,
        }
    }
}
