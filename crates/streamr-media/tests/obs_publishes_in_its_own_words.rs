//! What OBS 29 says with its default settings, message by message as it was seen on a wire: which
//! commands on which chunk stream, which header forms, which times. One chunk stream carries
//! script, sound and pictures, and each header says only what differs from the message before,
//! whichever of them that was.

use std::time::Duration;

use psyne::Time;
use streamr_media::amf::{self, Value, amf0};
use streamr_media::flv::{self, Demuxer, Kind, Tag};
use streamr_media::media::{Codec, Demux, Event as Heard, Frame, TrackId};
use streamr_media::rtmp::chunk::{self, kind};
use streamr_media::rtmp::{Config, Event, Output, Server, StreamId};

const KEY: &str = "sk_0123456789abcdefghijklmnopqrstuvwx";
/// What OBS makes of its chunks before it says anything else.
const CHUNK_BYTES: usize = 4_096;
/// The first message stream: what `createStream` is answered with.
const STREAM: StreamId = StreamId(1);

const SPS_PPS: &[u8] = &[
    1, 0x64, 0, 0x1e, 0xff, 0xe1, 0, 0x1b, 0x67, 0x64, 0, 0x1e, 0xac, 0xd9, 0x40, 0xa0, 0x2f, 0xf9,
    0x70, 0x11, 0, 0, 3, 0, 1, 0, 0, 3, 0, 0x3c, 0x0f, 0x16, 0x2d, 0x96, 1, 0, 6, 0x68, 0xeb, 0xe3,
    0xcb, 0x22, 0xc0, 0xfd, 0xf8, 0xf8, 0,
];
/// AAC-LC of 48 kHz in stereo, and behind it that there is no SBR (ISO/IEC 14496-3, 1.6.2.1).
const AAC: &[u8] = &[0x11, 0x90, 0x56, 0xe5, 0x00];

/// How much of its header a message has (RTMP 1.0 §5.3.1.2).
#[derive(Clone, Copy)]
enum Form {
    /// All, the message stream too; the time is absolute.
    Full(u32),
    /// Time since the message before, length, kind.
    Short,
    /// Time since the message before: length and kind are the same.
    Time,
}

/// OBS at one end of the connection, the server at the other.
struct Obs {
    server: Server,
    now: Time,
    /// What the server says, read as OBS reads it.
    reader: chunk::Reader,
    answers: Vec<Vec<Value>>,
    events: Vec<Event>,
}

impl Obs {
    /// Its handshake is the plain one: its clock, zeros, noise; then what the server said, back.
    fn connected() -> Self {
        let limits = chunk::Limits {
            message_bytes_max: 65_536,
            partial_bytes_max: 65_536,
            chunk_streams_max: 8,
        };
        let mut obs = Self {
            server: Server::new(Config::default(), Time::ZERO, 1),
            now: Time::ZERO,
            reader: chunk::Reader::new(limits),
            answers: Vec::new(),
            events: Vec::new(),
        };
        let clock = [0x02, 0xf0, 0x96, 0x04, 0, 0, 0, 0];
        let noise = (0..1_528_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8);
        let noise: Vec<u8> = noise.collect();
        let said = [&[3][..], &clock, &noise].concat();
        obs.server.handle_input(Time::ZERO, &said).unwrap();
        let Output::Transmit(answer) = obs.server.poll_output() else { panic!("no answer") };
        assert_eq!((answer.len(), answer[0]), (1 + 2 * 1_536, 3));
        assert_eq!(answer[1 + 1_536 + 8..], noise, "the server repeats what it was told");
        obs.server.handle_input(Time::ZERO, &answer[1..=1_536]).unwrap();
        obs
    }

    fn say(&mut self, chunk_stream: u8, form: Form, time: u32, what: (u8, &[u8])) {
        let (kind, body) = what;
        let mut bytes = Vec::new();
        let code = match form {
            Form::Full(_) => 0,
            Form::Short => 1,
            Form::Time => 2,
        };
        bytes.push(code << 6 | chunk_stream);
        bytes.extend(&time.to_be_bytes()[1..]);
        if !matches!(form, Form::Time) {
            bytes.extend(&(body.len() as u32).to_be_bytes()[1..]);
            bytes.push(kind);
        }
        if let Form::Full(stream) = form {
            bytes.extend(stream.to_le_bytes());
        }
        for (n, piece) in body.chunks(CHUNK_BYTES).enumerate() {
            if n > 0 {
                bytes.push(3 << 6 | chunk_stream);
            }
            bytes.extend(piece);
        }
        self.server.handle_input(self.now, &bytes).unwrap();
        self.listen();
    }

    /// A command on chunk stream 3, which is the connection's own.
    fn command(&mut self, form: Form, values: &[Value]) {
        self.say(3, form, 0, (kind::COMMAND_AMF0, &encoded(values)));
    }

    /// Media on chunk stream 4, `ms` after the message before.
    fn media(&mut self, form: Form, ms: u32, kind: u8, body: &[u8]) {
        self.say(4, form, ms, (kind, body));
    }

    fn listen(&mut self) {
        loop {
            match self.server.poll_output() {
                Output::Transmit(bytes) => self.hear(&bytes),
                Output::Event(event) => self.events.push(event),
                Output::Wait(_) => return,
            }
        }
    }

    fn hear(&mut self, mut bytes: &[u8]) {
        while let Some(message) = self.reader.next(&mut bytes).unwrap() {
            match message.header.kind {
                kind::SET_CHUNK_SIZE => {
                    let size = message.body[..].try_into().expect("four bytes");
                    self.reader.resize_chunks(u32::from_be_bytes(size)).unwrap();
                }
                kind::COMMAND_AMF0 => self.answers.push(decoded(&message.body)),
                _ => {}
            }
        }
    }

    /// What the server has answered since the last look: name and transaction.
    fn answered(&mut self) -> Vec<(String, f64)> {
        let answers = std::mem::take(&mut self.answers).into_iter();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        answers.map(|values| (text(&values[0]), values[1].as_f64().unwrap_or(-1.0))).collect()
    }

    /// Everything up to the permission to publish.
    fn publishing() -> Self {
        let mut obs = Self::connected();
        obs.say(2, Form::Full(0), 0, (kind::SET_CHUNK_SIZE, &(CHUNK_BYTES as u32).to_be_bytes()));
        obs.command(Form::Full(0), &connect());
        assert_eq!(obs.answered(), [("_result".to_owned(), 1.0)]);
        for (n, name) in [(2.0, "releaseStream"), (3.0, "FCPublish")] {
            obs.command(Form::Short, &called(name, n, &[Value::string(KEY)]));
        }
        obs.command(Form::Short, &called("createStream", 4.0, &[]));
        let result = |n: f64| ("_result".to_owned(), n);
        let said = [result(2.0), result(3.0), ("onFCPublish".to_owned(), 0.0), result(4.0)];
        assert_eq!(obs.answered(), said);
        let publish = called("publish", 5.0, &[Value::string(KEY), Value::string("live")]);
        obs.say(4, Form::Full(STREAM.0), 0, (kind::COMMAND_AMF0, &encoded(&publish)));
        let (app, name, query) = ("live".into(), KEY.into(), String::new());
        assert_eq!(obs.events, [Event::Publish { stream: STREAM, app, name, query }]);
        obs.events.clear();
        obs.server.accept(STREAM);
        obs.listen();
        let status = obs.answers.last().expect("an answer to publish");
        assert_eq!(status[0].as_str(), Some("onStatus"));
        let code = status[3].field("code").and_then(Value::as_str);
        assert_eq!(code, Some("NetStream.Publish.Start"));
        obs.answers.clear();
        obs
    }

    fn tags(&mut self) -> Vec<Tag> {
        let events = std::mem::take(&mut self.events).into_iter();
        let tag = |event| match event {
            Event::Media { stream: STREAM, tag } => tag,
            other => panic!("{other:?}"),
        };
        events.map(tag).collect()
    }
}

fn encoded(values: &[Value]) -> Vec<u8> {
    let mut body = Vec::new();
    values.iter().for_each(|value| amf0::encode(value, &mut body));
    body
}

fn decoded(body: &[u8]) -> Vec<Value> {
    let limits = amf::Limits { depth_max: 8, values_max: 100, bytes_max: 10_000 };
    amf0::decode(body, limits).expect("the server speaks AMF0")
}

fn called(name: &str, transaction: f64, arguments: &[Value]) -> Vec<Value> {
    let head = [Value::string(name), Value::Number(transaction), Value::Null];
    head.into_iter().chain(arguments.iter().cloned()).collect()
}

fn connect() -> Vec<Value> {
    let url = || Value::string("rtmp://127.0.0.1:1935/live");
    let object = Value::object([
        ("app", Value::string("live")),
        ("type", Value::string("nonprivate")),
        ("supportsGoAway", Value::Boolean(true)),
        ("flashVer", Value::string("FMLE/3.0 (compatible; FMSc/1.0)")),
        ("swfUrl", url()),
        ("tcUrl", url()),
    ]);
    vec![Value::string("connect"), Value::Number(1.0), object]
}

fn metadata() -> Vec<u8> {
    let number = Value::Number;
    let object = Value::object([
        ("duration", number(0.0)),
        ("fileSize", number(0.0)),
        ("width", number(1_280.0)),
        ("height", number(720.0)),
        ("videocodecid", number(7.0)),
        ("videodatarate", number(2_500.0)),
        ("framerate", number(30.0)),
        ("audiocodecid", number(10.0)),
        ("audiodatarate", number(160.0)),
        ("audiosamplerate", number(48_000.0)),
        ("audiosamplesize", number(16.0)),
        ("audiochannels", number(2.0)),
        ("stereo", Value::Boolean(true)),
        ("7.1", Value::Boolean(false)),
        ("encoder", Value::string("obs-output module (libobs version 29.0.2)")),
    ]);
    encoded(&[Value::string("@setDataFrame"), Value::string("onMetaData"), object])
}

/// A picture whose message has `bytes` bytes, shown `shift_ms` after it is decoded.
fn picture(key: bool, shift_ms: u8, bytes: usize) -> Vec<u8> {
    let (kind, nal) = if key { (0x17, 0x65) } else { (0x27, 0x41) };
    let mut body = vec![kind, 1, 0, 0, shift_ms];
    body.extend(((bytes - 9) as u32).to_be_bytes());
    body.push(nal);
    body.resize(bytes, 0x55);
    body
}

/// The first 200 ms: three B-frames between references, sound every 21 or 22 ms.
fn first_media(obs: &mut Obs) {
    let sound = [0xaf, 1, 0x21, 0x10, 0x04, 0x60, 0x8c, 0x1c];
    let full = Form::Full(STREAM.0);
    obs.media(full, 0, kind::DATA_AMF0, &metadata());
    obs.media(full, 0, kind::AUDIO, &[&[0xaf, 0], AAC].concat());
    obs.media(full, 0, kind::VIDEO, &[&[0x17, 0, 0, 0, 0], SPS_PPS].concat());
    obs.media(full, 0, kind::VIDEO, &picture(true, 66, 25_526));
    obs.media(Form::Short, 33, kind::VIDEO, &picture(false, 166, 2_729));
    obs.media(Form::Short, 33, kind::VIDEO, &picture(false, 66, 156));
    obs.media(Form::Short, 0, kind::AUDIO, &sound);
    obs.media(Form::Time, 21, kind::AUDIO, &sound);
    obs.media(Form::Short, 12, kind::VIDEO, &picture(false, 0, 51));
    obs.media(Form::Short, 9, kind::AUDIO, &sound);
    obs.media(Form::Time, 22, kind::AUDIO, &sound);
    obs.media(Form::Short, 2, kind::VIDEO, &picture(false, 33, 887));
    obs.media(Form::Short, 19, kind::AUDIO, &sound);
    obs.media(Form::Short, 15, kind::VIDEO, &picture(false, 166, 4_867));
}

#[test]
fn its_first_media_come_with_their_times() {
    let mut obs = Obs::publishing();
    first_media(&mut obs);
    let tags = obs.tags();
    let times: Vec<_> = tags.iter().map(|tag| (tag.kind, tag.timestamp_ms)).collect();
    let (sound, picture) = (Kind::Audio, Kind::Video);
    let expected = [
        (Kind::Script, 0),
        (sound, 0),
        (picture, 0),
        (picture, 0),
        (picture, 33),
        (picture, 66),
        (sound, 66),
        (sound, 87),
        (picture, 99),
        (sound, 108),
        (sound, 130),
        (picture, 132),
        (sound, 151),
        (picture, 166),
    ];
    assert_eq!(times, expected);
    assert_eq!(tags[3].body.len(), 25_526, "a picture of seven chunks");

    let (tracks, frames) = demuxed(&tags);
    assert_eq!(
        tracks,
        [(Codec::Aac, "mp4a.40.2"), (Codec::H264, "avc1.64001e")]
            .map(|(codec, name)| (codec, name.to_owned()))
    );
    let shown = frames.iter().filter(|frame| frame.track == TrackId::VIDEO);
    let shown: Vec<_> = shown.map(|frame| (frame.dts_us, frame.pts_us, frame.keyframe)).collect();
    let ms = |dts: i64, pts: i64, key| (dts * 1_000, pts * 1_000, key);
    let expected = [
        ms(0, 66, true),
        ms(33, 199, false),
        ms(66, 132, false),
        ms(99, 99, false),
        ms(132, 165, false),
        ms(166, 332, false),
    ];
    assert_eq!(shown, expected);
    assert_eq!(frames.len() - shown.len(), 5, "frames of sound");
}

fn demuxed(tags: &[Tag]) -> (Vec<(Codec, String)>, Vec<Frame>) {
    let mut demuxer = Demuxer::new(flv::Config::default());
    let (mut tracks, mut frames) = (Vec::new(), Vec::new());
    for tag in tags {
        demuxer.push_tag(tag).unwrap();
        while let Some(event) = demuxer.poll_event() {
            match event {
                Heard::Track(track) => tracks.push((track.codec, track.codec_string)),
                Heard::Frame(frame) => frames.push(frame),
                Heard::Metadata(_) | Heard::End => {}
            }
        }
    }
    (tracks, frames)
}

#[test]
fn its_goodbye_ends_the_publication_once() {
    let mut obs = Obs::publishing();
    first_media(&mut obs);
    obs.tags();
    obs.now = Time::ZERO + Duration::from_secs(3_600);
    obs.command(Form::Short, &called("FCUnpublish", 6.0, &[Value::string(KEY)]));
    obs.command(Form::Short, &called("deleteStream", 7.0, &[Value::Number(1.0)]));
    assert_eq!(obs.events, [Event::Unpublish { stream: STREAM }]);
    let answers: Vec<_> = obs.answered().into_iter().map(|(name, _)| name).collect();
    assert_eq!(answers, ["_result", "onFCUnpublish", "onStatus"]);
    // Then it closes the socket; it could as well publish anew, and has as long for it as at first.
    let until = obs.now + Config::default().setup_timeout;
    assert_eq!(obs.server.poll_output(), Output::Wait(Some(until)));
}
