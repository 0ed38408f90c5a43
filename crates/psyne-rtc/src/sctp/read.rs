//! What a packet from the peer does: which are taken, and what each chunk means.

use bytes::{BufMut, Bytes, BytesMut};

use super::assembly::Fault;
use super::machine::{Association, Phase};
use super::resets::Effect;
use super::wire::{self, Chunk, Data, Sack, Sum, cause, kind};
use crate::association::{Closed, Event};

/// The T bit of ABORT and SHUTDOWN COMPLETE: the tag is the receiver's own (RFC 9260, 8.5.1).
const REFLECTED: u8 = 1;
/// Bytes of a chunk that an error quotes.
const QUOTE_BYTES_MAX: usize = 64;

/// Whether the rest of a packet is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    GoOn,
    Stop,
}

impl Association {
    pub(super) fn read_packet(&mut self, packet: &Bytes) {
        if self.phase == Phase::Over {
            return;
        }
        let Some(mut rest) = self.check(packet) else {
            self.metrics.packets_dropped += 1;
            return;
        };
        self.metrics.packets_in += 1;
        (self.heartbeats, self.heartbeat_at) = (0, self.now + self.config.heartbeat);
        while !rest.is_empty() {
            let Some(chunk) = wire::take_chunk(&mut rest) else {
                self.metrics.chunks_dropped += 1;
                break;
            };
            match self.handle_chunk(chunk, packet) {
                Ok(Then::GoOn) => {}
                Ok(Then::Stop) => break,
                Err(fault) => {
                    self.abort_for(fault);
                    return;
                }
            }
        }
        let delay = self.config.ack_delay;
        let Some(link) = &mut self.link else { return };
        link.inbound.end_packet(self.now, delay);
        let effects = link.resets.arrived(link.inbound.cumulative());
        self.apply(effects);
    }

    /// The chunks of a packet that is whole and meant for this association.
    fn check<'a>(&self, packet: &'a [u8]) -> Option<&'a [u8]> {
        let (header, sum, chunks) = wire::parse(packet)?;
        let common = &self.config.common;
        let ports = header.source == common.remote_port && header.destination == common.local_port;
        let &[first, flags, ..] = chunks else { return None };
        // What sets an association up always has its checksum (RFC 9653, 5.2).
        let may_lack =
            self.config.zero_checksum && !matches!(first, kind::INIT | kind::COOKIE_ECHO);
        let whole = match sum {
            Sum::Right => true,
            Sum::Absent => may_lack || wire::checksum(packet) == 0,
            Sum::Wrong => false,
        };
        let reflects = matches!(first, kind::ABORT | kind::SHUTDOWN_COMPLETE);
        let tag = match first {
            kind::INIT => header.tag == 0,
            _ if reflects && flags & REFLECTED != 0 => {
                self.link.as_ref().is_some_and(|link| link.tag == header.tag)
            }
            _ => header.tag == self.tag,
        };
        (ports && whole && tag).then_some(chunks)
    }

    fn handle_chunk(&mut self, chunk: Chunk<'_>, packet: &Bytes) -> Result<Then, Fault> {
        match chunk.kind {
            kind::INIT => return Ok(self.handle_init(chunk.value)),
            kind::INIT_ACK => return Ok(self.handle_init_ack(chunk.value)),
            kind::COOKIE_ECHO => return Ok(self.handle_cookie(chunk.value)),
            kind::COOKIE_ACK if self.phase == Phase::CookieEchoed => self.open(),
            kind::COOKIE_ACK | kind::PAD => {}
            kind::ABORT => {
                self.end(Closed::Remote);
                return Ok(Then::Stop);
            }
            kind::ERROR => return Ok(self.handle_error(chunk.value)),
            _ if !self.is_joined() => self.metrics.chunks_dropped += 1,
            kind::DATA | kind::I_DATA => self.handle_data(chunk, packet)?,
            kind::SACK => self.handle_sack(chunk.value)?,
            kind::HEARTBEAT => self.echo(chunk.value),
            kind::HEARTBEAT_ACK => {}
            kind::SHUTDOWN => self.handle_shutdown(chunk.value)?,
            kind::SHUTDOWN_ACK => self.handle_shutdown_ack(),
            kind::SHUTDOWN_COMPLETE if self.phase == Phase::ShutdownAckSent => {
                self.end(Closed::Remote);
            }
            kind::SHUTDOWN_COMPLETE => {}
            kind::RE_CONFIG => self.handle_reconfig(chunk.value),
            kind::FORWARD_TSN | kind::I_FORWARD_TSN => self.handle_forward(chunk)?,
            _ => return Ok(self.handle_unknown(chunk)),
        }
        Ok(Then::GoOn)
    }

    /// Whether the peer has proved itself: before, nothing of it is taken but the handshake.
    fn is_joined(&self) -> bool {
        self.link.is_some() && !matches!(self.phase, Phase::CookieWait | Phase::CookieEchoed)
    }

    fn handle_data(&mut self, chunk: Chunk<'_>, packet: &Bytes) -> Result<(), Fault> {
        let takes =
            matches!(self.phase, Phase::Open | Phase::ShutdownPending | Phase::ShutdownSent);
        let Some(link) = self.link.as_mut().filter(|_| takes) else {
            self.metrics.chunks_dropped += 1;
            return Ok(());
        };
        if (chunk.kind == kind::I_DATA) != link.offers.interleaving {
            return Err(Fault::Violation("DATA where I-DATA was agreed, or the other way round"));
        }
        let data = Data::parse(chunk).ok_or(Fault::Violation("DATA too short"))?;
        if data.stream < self.config.common.streams_max {
            return link.inbound.handle_data(&data, packet);
        }
        // Acknowledged and dropped (RFC 9260, 6.5).
        if link.inbound.discard(data.tsn) {
            let mut out = BytesMut::new();
            wire::chunk(&mut out, kind::ERROR, 0, |out| {
                wire::tlv(out, cause::INVALID_STREAM, |out| {
                    out.put_u16(data.stream);
                    out.put_u16(0);
                });
            });
            self.answer(out);
        }
        Ok(())
    }

    fn handle_sack(&mut self, value: &[u8]) -> Result<(), Fault> {
        let sack = Sack::parse(value).ok_or(Fault::Violation("SACK too short"))?;
        self.flight.handle_sack(self.now, &sack, &mut self.streams)
    }

    /// A heartbeat comes back as it was, so the answer is never larger.
    fn echo(&mut self, value: &[u8]) {
        let mut out = BytesMut::with_capacity(value.len() + 8);
        wire::chunk(&mut out, kind::HEARTBEAT_ACK, 0, |out| out.put_slice(value));
        self.answer(out);
    }

    fn handle_forward(&mut self, chunk: Chunk<'_>) -> Result<(), Fault> {
        let Some(link) = &mut self.link else { return Ok(()) };
        let interleaved = chunk.kind == kind::I_FORWARD_TSN;
        if interleaved != link.offers.interleaving {
            return Err(Fault::Violation("FORWARD-TSN where I-FORWARD-TSN was agreed"));
        }
        link.inbound.handle_forward(chunk.value, interleaved)
    }

    fn handle_reconfig(&mut self, value: &[u8]) {
        let Some(link) = &mut self.link else { return };
        match link.resets.handle(value, link.inbound.cumulative()) {
            Some(effects) => self.apply(effects),
            None => self.metrics.chunks_dropped += 1,
        }
    }

    fn apply(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Incoming(streams) => self.reset_incoming(streams),
                Effect::Outgoing(streams) => {
                    for stream in streams {
                        self.streams.reset(stream);
                        self.events.push_back(Event::ResetDone { stream });
                    }
                }
                Effect::Refused(streams) => {
                    let done = streams.into_iter().map(|stream| Event::ResetDone { stream });
                    self.events.extend(done);
                }
                Effect::Answer(chunk) => self.answer(chunk),
            }
        }
    }

    fn reset_incoming(&mut self, streams: Vec<u16>) {
        let Some(link) = &mut self.link else { return };
        let assembly = &mut link.inbound.assembly;
        let streams = if streams.is_empty() { assembly.streams() } else { streams };
        for stream in streams {
            assembly.reset(stream);
            self.events.push_back(Event::Reset { stream });
        }
    }

    fn handle_shutdown(&mut self, value: &[u8]) -> Result<(), Fault> {
        let cumulative =
            wire::take_u32(&mut &*value).ok_or(Fault::Violation("SHUTDOWN too short"))?;
        let sack = Sack::of(cumulative, self.flight.window as u32);
        self.flight.handle_sack(self.now, &sack, &mut self.streams)?;
        match self.phase {
            Phase::Open | Phase::ShutdownPending => self.phase = Phase::ShutdownReceived,
            // Both at once (RFC 9260, 9.2).
            Phase::ShutdownSent => {
                self.phase = Phase::ShutdownAckSent;
                self.repeat_chunk(kind::SHUTDOWN_ACK, |_| ());
            }
            _ => {}
        }
        Ok(())
    }

    fn handle_shutdown_ack(&mut self) {
        if !matches!(self.phase, Phase::ShutdownSent | Phase::ShutdownAckSent) {
            return;
        }
        let mut out = BytesMut::new();
        wire::chunk(&mut out, kind::SHUTDOWN_COMPLETE, 0, |_| ());
        self.answer(out);
        self.end(if self.phase == Phase::ShutdownSent { Closed::Local } else { Closed::Remote });
    }

    fn handle_error(&mut self, value: &[u8]) -> Then {
        let stale =
            wire::take_parameter(&mut &*value).is_some_and(|(name, _)| name == cause::STALE_COOKIE);
        if stale && self.phase == Phase::CookieEchoed {
            self.begin_again();
            return Then::Stop;
        }
        Then::GoOn
    }

    /// The two highest bits say what to do (RFC 9260, 3.2).
    fn handle_unknown(&mut self, chunk: Chunk<'_>) -> Then {
        self.metrics.chunks_dropped += 1;
        if chunk.kind & 0x40 != 0 {
            let mut out = BytesMut::new();
            let quote = chunk.value.get(..QUOTE_BYTES_MAX).unwrap_or(chunk.value);
            wire::chunk(&mut out, kind::ERROR, 0, |out| {
                wire::tlv(out, cause::UNRECOGNIZED_CHUNK, |out| {
                    wire::chunk(out, chunk.kind, chunk.flags, |out| out.put_slice(quote));
                });
            });
            self.answer(out);
        }
        if chunk.kind & 0x80 == 0 { Then::Stop } else { Then::GoOn }
    }

    fn abort_for(&mut self, fault: Fault) {
        let (cause, text) = match fault {
            Fault::Violation(text) => (cause::PROTOCOL_VIOLATION, text),
            Fault::Resource => (cause::OUT_OF_RESOURCE, ""),
            // Its value is the TSN, which the text of the others has no use for either.
            Fault::Empty => (cause::NO_USER_DATA, "\0\0\0\0"),
        };
        self.abort_with(Closed::Violation, cause, text);
    }
}
