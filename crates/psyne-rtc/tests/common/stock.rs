//! The crate `sctp-proto` as an end: an independent implementation to talk to, and to be measured
//! against.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use psyne_core::Time;
use psyne_rtc::Error;
use psyne_rtc::association::{
    Association, Closed, Config, Delivery, Event, Message, Metrics, Output, Reliability,
};
use sctp_proto as sctp;

const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5_000);

pub(crate) struct Stock {
    epoch: Instant,
    now: Instant,
    endpoint: sctp::Endpoint,
    transport: Arc<sctp::TransportConfig>,
    association: Option<(sctp::AssociationHandle, sctp::Association)>,
    packets: VecDeque<Bytes>,
    events: VecDeque<Event>,
    connected: bool,
    buffer_bytes_max: usize,
}

impl std::fmt::Debug for Stock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stock").finish_non_exhaustive()
    }
}

impl Stock {
    pub(crate) fn new(config: &Config) -> Self {
        let transport = sctp::TransportConfig::default()
            .with_max_receive_buffer_size(config.receive_buffer_bytes_max as u32)
            .with_max_receive_message_size(config.receive_message_bytes_max as u32)
            .with_max_send_message_size(config.send_message_bytes_max as u32);
        let transport = Arc::new(transport);
        let mut settings = sctp::EndpointConfig::new();
        settings.max_payload_size(config.packet_bytes_max as u32 - 28);
        let mut server = sctp::ServerConfig::new();
        server.transport = Arc::clone(&transport);
        let epoch = Instant::now();
        Self {
            epoch,
            now: epoch,
            endpoint: sctp::Endpoint::new(Arc::new(settings), Some(Arc::new(server))),
            transport,
            association: None,
            packets: VecDeque::new(),
            events: VecDeque::new(),
            connected: false,
            buffer_bytes_max: config.send_buffer_bytes_max,
        }
    }

    fn advance(&mut self, now: Time) {
        self.now = self.now.max(self.epoch + Duration::from_micros(now.as_micros()));
    }

    fn collect(&mut self) {
        let Some((handle, association)) = &mut self.association else { return };
        loop {
            while let Some(event) = association.poll_endpoint_event() {
                if let Some(event) = self.endpoint.handle_event(*handle, event) {
                    association.handle_event(event);
                }
            }
            while let Some(event) = association.poll() {
                self.connected |= matches!(event, sctp::Event::Connected);
                self.events.extend(translate(event));
            }
            let transmit =
                association.poll_transmit(self.now).or_else(|| self.endpoint.poll_transmit());
            let Some(sctp::Payload::RawEncode(packets)) = transmit.map(|t| t.payload) else {
                break;
            };
            self.packets.extend(packets);
        }
        for stream in association.stream_ids() {
            while let Some(chunks) =
                association.stream(stream).ok().and_then(|mut s| s.read().ok()?)
            {
                let mut data = vec![0; chunks.len()];
                chunks.read(&mut data).expect("as long as it says");
                let ppid = chunks.ppi as u32;
                let message = Message { stream, ppid, data: data.into() };
                self.events.push_back(Event::Message(message));
            }
        }
    }
}

fn translate(event: sctp::Event) -> Option<Event> {
    match event {
        sctp::Event::Connected => Some(Event::Connected),
        sctp::Event::HandshakeFailed { .. } => Some(Event::Closed(Closed::Silent)),
        sctp::Event::AssociationLost { .. } => Some(Event::Closed(Closed::Remote)),
        sctp::Event::Stream(sctp::StreamEvent::Finished { id })
        | sctp::Event::Stream(sctp::StreamEvent::Stopped { id, .. }) => {
            Some(Event::Reset { stream: id })
        }
        _ => None,
    }
}

impl Association for Stock {
    fn connect(&mut self, _: Time) {
        let mut config = sctp::ClientConfig::new();
        config.transport = Arc::clone(&self.transport);
        self.association = Some(self.endpoint.connect(config, PEER).expect("an association"));
    }

    fn handle_packet(&mut self, now: Time, packet: Bytes) {
        self.advance(now);
        match self.endpoint.handle(self.now, PEER, None, None, packet) {
            Some((handle, sctp::DatagramEvent::NewAssociation(association))) => {
                self.association = Some((handle, association));
            }
            Some((_, sctp::DatagramEvent::AssociationEvent(event))) => {
                if let Some((_, association)) = &mut self.association {
                    association.handle_event(event);
                }
            }
            None => {}
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        self.advance(now);
        if let Some((_, association)) = &mut self.association {
            association.handle_timeout(self.now);
        }
    }

    fn send(&mut self, now: Time, message: Message, delivery: Delivery) -> Result<(), Error> {
        self.advance(now);
        // Before that it refuses, and yet counts the message.
        let association = self.association.as_mut().filter(|_| self.connected);
        let (_, association) = association.ok_or(Error::NotOpen)?;
        if association.stream(message.stream).is_err() {
            let opened =
                association.open_stream(message.stream, sctp::PayloadProtocolIdentifier::Binary);
            opened.map_err(|_| Error::NotOpen)?;
        }
        let mut stream = association.stream(message.stream).map_err(|_| Error::NotOpen)?;
        if stream.buffered_amount().unwrap_or(0) + message.data.len() > self.buffer_bytes_max {
            return Err(Error::Full);
        }
        let (kind, value) = match delivery.reliability {
            Reliability::Reliable => (sctp::ReliabilityType::Reliable, 0),
            Reliability::Retransmits(count) => (sctp::ReliabilityType::Rexmit, count),
            Reliability::Lifetime(life) => (sctp::ReliabilityType::Timed, life.as_millis() as u32),
        };
        stream.set_reliability_params(!delivery.ordered, kind, value).expect("it is open");
        let ppid = sctp::PayloadProtocolIdentifier::from(message.ppid);
        stream.write_sctp(&message.data, ppid).map(drop).map_err(|_| Error::NotOpen)
    }

    fn reset(&mut self, now: Time, stream: u16) {
        self.advance(now);
        let (_, association) = self.association.as_mut().expect("it is open");
        association.stream(stream).expect("it is open").close().expect("it is open");
    }

    fn hold_messages(&mut self, _: bool) {
        // It hands over whatever it has.
    }

    fn room_bytes(&self) -> usize {
        usize::MAX
    }

    fn metrics(&self) -> Metrics {
        Metrics::default()
    }

    fn abort(&mut self, now: Time) {
        self.advance(now);
        let (_, association) = self.association.as_mut().expect("it is open");
        association.close().expect("it is open");
    }

    fn buffered_bytes(&self, _: u16) -> usize {
        0
    }

    fn poll_output(&mut self) -> Output {
        if self.packets.is_empty() && self.events.is_empty() {
            self.collect();
        }
        if let Some(packet) = self.packets.pop_front() {
            return Output::Transmit(packet);
        }
        if let Some(event) = self.events.pop_front() {
            return Output::Event(event);
        }
        let wake =
            self.association.as_ref().and_then(|(_, association)| association.poll_timeout());
        let micros = |at: Instant| at.saturating_duration_since(self.epoch).as_micros() as u64;
        Output::Wait(wake.map(|at| Time::from_micros(micros(at))))
    }
}
