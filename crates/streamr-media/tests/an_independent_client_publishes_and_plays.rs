//! The crate rml_rtmp, which knows nothing of ours, against our server.

use bytes::Bytes;
use psyne::Time;
use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
use rml_rtmp::sessions::{
    ClientSession, ClientSessionConfig, ClientSessionEvent, ClientSessionResult, PublishRequestType,
};
use rml_rtmp::time::RtmpTimestamp;
use streamr_media::flv::{Kind, Tag};
use streamr_media::rtmp::{Config, Event, Output, Server, StreamId};

struct Peers {
    server: Server,
    session: ClientSession,
    events: Vec<Event>,
    theirs: Vec<ClientSessionEvent>,
}

impl Peers {
    /// Shakes hands and connects to the application `live`.
    fn connected() -> Self {
        let mut server = Server::new(Config::default(), Time::ZERO, 1);
        let mut shake = Handshake::new(PeerType::Client);
        let mut up = shake.generate_outbound_p0_and_p1().unwrap();
        let rest = loop {
            server.handle_input(Time::ZERO, &up).unwrap();
            let Output::Transmit(down) = server.poll_output() else { panic!("no answer") };
            match shake.process_bytes(&down).unwrap() {
                HandshakeProcessResult::InProgress { response_bytes } => up = response_bytes,
                HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
                    server.handle_input(Time::ZERO, &response_bytes).unwrap();
                    break remaining_bytes;
                }
            }
        };
        let (session, first) = ClientSession::new(ClientSessionConfig::new()).unwrap();
        let mut peers = Self { server, session, events: vec![], theirs: vec![] };
        peers.take(first);
        let more = peers.session.handle_input(&rest).unwrap();
        peers.take(more);
        let request = peers.session.request_connection("live".into()).unwrap();
        peers.take(vec![request]);
        assert_eq!(peers.theirs.pop(), Some(ClientSessionEvent::ConnectionRequestAccepted));
        peers
    }

    /// Carries what they say to our server, and its answers back, until both are silent.
    fn take(&mut self, results: Vec<ClientSessionResult>) {
        for result in results {
            match result {
                ClientSessionResult::OutboundResponse(packet) => {
                    self.server.handle_input(Time::ZERO, &packet.bytes).unwrap();
                }
                ClientSessionResult::RaisedEvent(event) => self.theirs.push(event),
                ClientSessionResult::UnhandleableMessageReceived(_) => {}
            }
        }
        loop {
            match self.server.poll_output() {
                Output::Transmit(bytes) => {
                    let results = self.session.handle_input(&bytes).unwrap();
                    self.take(results);
                }
                Output::Event(event) => self.events.push(event),
                Output::Wait(_) => return,
            }
        }
    }
}

#[test]
fn it_publishes() {
    let mut peers = Peers::connected();
    let request = peers.session.request_publishing("key".into(), PublishRequestType::Live);
    peers.take(vec![request.unwrap()]);
    assert!(matches!(&peers.events[..], [Event::Publish { name, .. }] if name == "key"));
    peers.server.accept(StreamId(1));
    peers.take(vec![]);
    assert!(peers.theirs.contains(&ClientSessionEvent::PublishRequestAccepted));
    let body = Bytes::from(vec![9; 5_000]);
    for time in [10, 50, 90, 0x0100_0000] {
        let time = RtmpTimestamp::new(time);
        let packet = peers.session.publish_video_data(body.clone(), time, false).unwrap();
        peers.take(vec![packet]);
    }
    let expected = [10, 50, 90, 0x0100_0000].map(|timestamp_ms| Event::Media {
        stream: StreamId(1),
        tag: Tag { kind: Kind::Video, timestamp_ms, body: body.clone() },
    });
    assert_eq!(peers.events[1..], expected);
}

#[test]
fn it_plays() {
    let mut peers = Peers::connected();
    let request = peers.session.request_playback("name".into()).unwrap();
    peers.take(vec![request]);
    assert!(matches!(&peers.events[..], [Event::Play { name, .. }] if name == "name"));
    peers.server.accept(StreamId(1));
    peers.take(vec![]);
    assert!(peers.theirs.contains(&ClientSessionEvent::PlaybackRequestAccepted));
    let body = Bytes::from(vec![9; 70_000]);
    let tag = Tag { kind: Kind::Video, timestamp_ms: 0x0100_0000, body: body.clone() };
    peers.server.send(StreamId(1), &tag);
    peers.take(vec![]);
    let timestamp = RtmpTimestamp::new(tag.timestamp_ms);
    let expected = ClientSessionEvent::VideoDataReceived { timestamp, data: body };
    assert_eq!(peers.theirs.last(), Some(&expected));
}
