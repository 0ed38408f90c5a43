//! Data channels over an association: who is on which stream (RFC 8831, RFC 8832).

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use psyne_core::Time;

use crate::Error;
use crate::association::{self, Association, Closed, Delivery, Message, Reliability};
use crate::dcep::{Dcep, Open};

/// Payload protocol identifiers (RFC 8831 §8).
mod ppid {
    pub(super) const DCEP: u32 = 50;
    pub(super) const TEXT: u32 = 51;
    pub(super) const BINARY: u32 = 53;
    pub(super) const TEXT_EMPTY: u32 = 56;
    pub(super) const BINARY_EMPTY: u32 = 57;
}

/// What may be open at once, and how long its names are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Channels, opened by either side. Each costs the other side a few hundred bytes of ours.
    pub channels_max: usize,
    /// Bytes of a label or a subprotocol.
    pub label_bytes_max: usize,
    /// A channel whose messages wait to be sent with more bytes than this says so when it has come
    /// down to it: half of what a browser's own window holds keeps it from running dry.
    pub drained_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { channels_max: 256, label_bytes_max: 1_024, drained_bytes: 64 * 1024 }
    }
}

/// Names a channel within its session, for ever: no other will have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(u32);

/// What a message holds: the two kinds of the browsers' API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

/// What happens to channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Messages can be sent and will come. One that the other side opened is first heard of here.
    Opened {
        /// The channel.
        channel: ChannelId,
        /// What it is, as who opened it said.
        open: Open,
    },
    /// A message came.
    Message {
        /// The channel.
        channel: ChannelId,
        /// What it holds.
        payload: Payload,
    },
    /// What waits to be sent has come down to [`Config::drained_bytes`], and there is room for what
    /// was refused.
    Drained {
        /// The channel.
        channel: ChannelId,
    },
    /// It is over: closed by either side, or refused for a limit.
    Closed {
        /// The channel.
        channel: ChannelId,
    },
}

#[derive(Debug)]
struct Channel {
    open: Open,
    /// Known from when it is known who counts even.
    stream: Option<u16>,
    /// Both sides know the stream from elsewhere: nothing is said by DCEP.
    negotiated: bool,
    /// The other side has read our opening: what is unordered can be sent so (RFC 8832 §6).
    answered: bool,
    closing: bool,
    /// Which directions of the stream have been reset.
    ours_reset: bool,
    theirs_reset: bool,
}

/// All channels of a session.
#[derive(Debug)]
pub(crate) struct Channels {
    config: Config,
    association: Option<Box<dyn Association>>,
    /// The DTLS client counts streams evenly (RFC 8832 §6).
    client: bool,
    connected: bool,
    channels: BTreeMap<ChannelId, Channel>,
    streams: BTreeMap<u16, ChannelId>,
    /// Those that will be told when they have drained, with the bytes of what was refused.
    filled: BTreeMap<ChannelId, usize>,
    streams_max: u16,
    next: u32,
    events: VecDeque<Event>,
}

/// What the channels want.
pub(crate) enum Output {
    Transmit(Bytes),
    Event(Event),
    Connected,
    Closed(Closed),
    Wait(Option<Time>),
}

impl Channels {
    pub(crate) fn new(config: Config, streams_max: u16) -> Self {
        Self {
            config,
            association: None,
            client: false,
            connected: false,
            channels: BTreeMap::new(),
            streams: BTreeMap::new(),
            filled: BTreeMap::new(),
            streams_max,
            next: 0,
            events: VecDeque::new(),
        }
    }

    /// Takes the association over which the channels go, made for the DTLS client or server.
    pub(crate) fn attach(&mut self, now: Time, association: Box<dyn Association>, client: bool) {
        let association = self.association.insert(association);
        self.client = client;
        if client {
            association.connect(now);
        }
    }

    /// Opens a channel, at once or when the session is connected. With a stream's number nothing is
    /// said to the other side, which must do the same.
    pub(crate) fn open(
        &mut self,
        now: Time,
        open: Open,
        stream: Option<u16>,
    ) -> Result<ChannelId, Error> {
        let max = self.config.label_bytes_max.min(u16::MAX.into());
        if open.label.len() > max || open.protocol.len() > max {
            return Err(Error::TooMuch { what: "label_bytes_max", max });
        }
        self.check_room()?;
        match stream {
            Some(stream) if stream >= self.streams_max || self.streams.contains_key(&stream) => {
                return Err(Error::State { what: "the number of this stream" });
            }
            _ => {}
        }
        let id = self.insert(open, stream, stream.is_some());
        if self.connected {
            self.begin(now, id);
        }
        Ok(id)
    }

    fn check_room(&self) -> Result<(), Error> {
        let max = self.config.channels_max;
        let room = self.channels.len() < max;
        room.then_some(()).ok_or(Error::TooMuch { what: "channels_max", max })
    }

    fn insert(&mut self, open: Open, stream: Option<u16>, negotiated: bool) -> ChannelId {
        let id = ChannelId(self.next);
        self.next += 1;
        let channel = Channel {
            open,
            stream,
            negotiated,
            answered: negotiated,
            closing: false,
            ours_reset: false,
            theirs_reset: false,
        };
        self.channels.insert(id, channel);
        if let Some(stream) = stream {
            self.streams.insert(stream, id);
        }
        id
    }

    /// Gives a channel its stream and tells the other side.
    fn begin(&mut self, now: Time, id: ChannelId) {
        let stream = self.channels.get(&id).and_then(|channel| channel.stream);
        let Some(stream) = stream.or_else(|| self.free_stream()) else {
            self.remove(id);
            return;
        };
        let Some(channel) = self.channels.get_mut(&id) else { return };
        channel.stream = Some(stream);
        self.streams.insert(stream, id);
        let (open, negotiated) = (channel.open.clone(), channel.negotiated);
        if !negotiated && self.say(now, stream, &Dcep::Open(open.clone())).is_err() {
            self.remove(id);
            return;
        }
        self.events.push_back(Event::Opened { channel: id, open });
    }

    fn free_stream(&self) -> Option<u16> {
        let first = u16::from(!self.client);
        (first..self.streams_max).step_by(2).find(|stream| !self.streams.contains_key(stream))
    }

    fn say(&mut self, now: Time, stream: u16, dcep: &Dcep) -> Result<(), Error> {
        let association = self.association.as_mut().ok_or(Error::NotOpen)?;
        let message = Message { stream, ppid: ppid::DCEP, data: dcep.to_bytes() };
        let delivery = Delivery { ordered: true, reliability: Reliability::Reliable };
        association.send(now, message, delivery)
    }

    /// Sends a message.
    pub(crate) fn send(&mut self, now: Time, id: ChannelId, payload: Payload) -> Result<(), Error> {
        let channel = self.channels.get(&id).filter(|channel| self.connected && !channel.closing);
        let channel = channel.ok_or(Error::NotOpen)?;
        let stream = channel.stream.ok_or(Error::NotOpen)?;
        let ordered = channel.open.delivery.ordered || !channel.answered;
        let delivery = Delivery { ordered, ..channel.open.delivery };
        let association = self.association.as_mut().ok_or(Error::NotOpen)?;
        // SCTP knows no empty messages (RFC 8831 §6.6).
        let (ppid, data) = match payload {
            Payload::Text(text) if text.is_empty() => (ppid::TEXT_EMPTY, Bytes::from_static(&[0])),
            Payload::Binary(data) if data.is_empty() => {
                (ppid::BINARY_EMPTY, Bytes::from_static(&[0]))
            }
            Payload::Text(text) => (ppid::TEXT, text.into()),
            Payload::Binary(data) => (ppid::BINARY, data),
        };
        let bytes = data.len();
        // While others wait for room, nobody takes more than is left (Choudhury and Hahne, "Dynamic
        // queue length thresholds", 1998), or one that never rests would leave them none.
        let contended = self.filled.iter().any(|(other, refused)| *other != id && *refused > 0);
        let greedy = contended && association.buffered_bytes(stream) > association.room_bytes();
        let sent = if greedy {
            Err(Error::Full)
        } else {
            association.send(now, Message { stream, ppid, data }, delivery)
        };
        if sent == Err(Error::Full) {
            self.filled.insert(id, bytes);
        } else if association.buffered_bytes(stream) > self.config.drained_bytes {
            self.filled.entry(id).or_default();
        }
        sent
    }

    /// Closes a channel when what it was given has been sent.
    pub(crate) fn close(&mut self, now: Time, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(&id).filter(|channel| !channel.closing) else {
            return;
        };
        channel.closing = true;
        let stream = channel.stream.filter(|_| self.connected);
        match (stream, &mut self.association) {
            (Some(stream), Some(association)) => association.reset(now, stream),
            _ => self.remove(id),
        }
    }

    /// Bytes that wait to be sent or acknowledged.
    pub(crate) fn buffered_bytes(&mut self, id: ChannelId) -> usize {
        let stream = self.channels.get(&id).and_then(|channel| channel.stream);
        let association = self.association.as_mut();
        stream
            .zip(association)
            .map_or(0, |(stream, association)| association.buffered_bytes(stream))
    }

    /// As [`Association::hold_messages`].
    pub(crate) fn hold_messages(&mut self, hold: bool) {
        if let Some(association) = &mut self.association {
            association.hold_messages(hold);
        }
    }

    /// Nothing was measured before there is an association.
    pub(crate) fn metrics(&self) -> association::Metrics {
        self.association.as_ref().map(|association| association.metrics()).unwrap_or_default()
    }

    pub(crate) fn handle_packet(&mut self, now: Time, packet: Bytes) {
        if let Some(association) = &mut self.association {
            association.handle_packet(now, packet);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Time) {
        if let Some(association) = &mut self.association {
            association.handle_timeout(now);
        }
    }

    /// Ends the association and all channels.
    pub(crate) fn abort(&mut self, now: Time) {
        if let Some(association) = &mut self.association {
            association.abort(now);
        }
    }

    pub(crate) fn poll_output(&mut self, now: Time) -> Output {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Output::Event(event);
            }
            let Some(association) = &mut self.association else { return Output::Wait(None) };
            match association.poll_output() {
                association::Output::Transmit(packet) => return Output::Transmit(packet),
                association::Output::Wait(next) => {
                    if !self.note_drained() {
                        return Output::Wait(next);
                    }
                }
                association::Output::Event(event) => {
                    if let Some(output) = self.event(now, event) {
                        return output;
                    }
                }
            }
        }
    }

    fn event(&mut self, now: Time, event: association::Event) -> Option<Output> {
        match event {
            association::Event::Connected => {
                self.connected = true;
                let waiting: Vec<ChannelId> = self.channels.keys().copied().collect();
                for id in waiting {
                    self.begin(now, id);
                }
                return Some(Output::Connected);
            }
            association::Event::Message(message) => self.message(now, message),
            association::Event::Reset { stream } => self.note_reset(now, stream, true),
            association::Event::ResetDone { stream } => self.note_reset(now, stream, false),
            association::Event::Closed(reason) => {
                self.connected = false;
                for id in self.channels.keys().copied().collect::<Vec<_>>() {
                    self.remove(id);
                }
                return Some(Output::Closed(reason));
            }
        }
        None
    }

    fn message(&mut self, now: Time, message: Message) {
        let stream = message.stream;
        let known = self.streams.get(&stream).copied();
        if message.ppid == ppid::DCEP {
            match (Dcep::parse(&message.data), known) {
                (Ok(Dcep::Open(open)), None) => self.accept(now, stream, open),
                (Ok(Dcep::Ack), Some(id)) => self.note_answer(id),
                // A stream that was reset here may still be spoken of.
                (Ok(Dcep::Ack), None) => {}
                (Ok(Dcep::Open(_)), Some(id)) => self.close(now, id),
                (Err(_), Some(id)) => self.close(now, id),
                (Err(_), None) => self.refuse(now, stream),
            }
            return;
        }
        let Some(channel) = known else { return };
        self.note_answer(channel);
        let text = |data: Bytes| String::from_utf8(data.into()).ok();
        let payload = match message.ppid {
            ppid::TEXT => text(message.data).map(Payload::Text),
            ppid::BINARY => Some(Payload::Binary(message.data)),
            ppid::TEXT_EMPTY => Some(Payload::Text(String::new())),
            ppid::BINARY_EMPTY => Some(Payload::Binary(Bytes::new())),
            _ => None,
        };
        match payload {
            Some(payload) => self.events.push_back(Event::Message { channel, payload }),
            // What is no text, or nothing that is known, cannot be handed over.
            None => self.close(now, channel),
        }
    }

    /// A channel that the other side opens.
    fn accept(&mut self, now: Time, stream: u16, open: Open) {
        let theirs = stream.is_multiple_of(2) != self.client;
        let max = self.config.label_bytes_max;
        let short = open.label.len() <= max && open.protocol.len() <= max;
        let fits = theirs && short && stream < self.streams_max && self.check_room().is_ok();
        if !fits || self.say(now, stream, &Dcep::Ack).is_err() {
            self.refuse(now, stream);
            return;
        }
        let channel = self.insert(open.clone(), Some(stream), false);
        self.note_answer(channel);
        self.events.push_back(Event::Opened { channel, open });
    }

    fn refuse(&mut self, now: Time, stream: u16) {
        if let Some(association) = &mut self.association {
            association.reset(now, stream);
        }
    }

    fn note_answer(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.answered = true;
        }
    }

    /// One direction of a stream is over. When both are, so is the channel (RFC 8831 §6.7).
    fn note_reset(&mut self, now: Time, stream: u16, theirs: bool) {
        let Some(&id) = self.streams.get(&stream) else { return };
        if theirs {
            self.close(now, id);
        }
        let Some(channel) = self.channels.get_mut(&id) else { return };
        channel.theirs_reset |= theirs;
        channel.ours_reset |= !theirs;
        if channel.ours_reset && channel.theirs_reset {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.remove(&id) else { return };
        if let Some(stream) = channel.stream {
            self.streams.remove(&stream);
        }
        self.filled.remove(&id);
        self.events.push_back(Event::Closed { channel: id });
    }

    /// Says which channels have drained. Whether any has.
    fn note_drained(&mut self) -> bool {
        let Some(association) = &mut self.association else { return false };
        let mut drained = Vec::new();
        let room = association.room_bytes();
        let refused_count = self.filled.values().filter(|refused| **refused > 0).count();
        for (id, refused) in &self.filled {
            let stream = self.channels.get(id).and_then(|channel| channel.stream);
            let waiting = stream.map_or(0, |stream| association.buffered_bytes(stream));
            // To be refused again at once would cost more than it sends.
            let others = refused_count > usize::from(*refused > 0);
            let fits = *refused <= room && (!others || waiting <= room / 2);
            if waiting <= self.config.drained_bytes && fits {
                drained.push(*id);
            }
        }
        for channel in &drained {
            self.filled.remove(channel);
            self.events.push_back(Event::Drained { channel: *channel });
        }
        !drained.is_empty()
    }
}
