//! How two ends meet (RFC 9260, 5). Both may begin at once, as WebRTC's ends do (RFC 8841, 9.3).
//!
//! A peer that begins again on an open association gets no answer: over DTLS a new beginning is a
//! new DTLS association (RFC 8261, 6.1), so what comes is old or means ill.

use core::time::Duration;

use bytes::{BufMut, BytesMut};

use super::cookie::{Bad, Cookie, Peer};
use super::machine::{Association, Phase};
use super::read::Then;
use super::wire::{self, Init, cause, kind, parameter};

/// Bytes of unknown parameters that an INIT ACK reports.
const UNKNOWN_BYTES_MAX: usize = 256;

impl Association {
    pub(super) fn begin_handshake(&mut self) {
        self.phase = Phase::CookieWait;
        let mut chunk = BytesMut::new();
        self.init(&[]).write(&mut chunk, kind::INIT, &[]);
        let value = chunk.split_off(4);
        self.repeat_chunk(kind::INIT, |out| out.put_slice(&value));
    }

    /// The peer found the cookie too old: from the beginning, as often as a beginning is repeated.
    pub(super) fn begin_again(&mut self) {
        let count = self.repeat.as_ref().map_or(0, |repeat| repeat.count);
        self.link = None;
        self.begin_handshake();
        if let Some(repeat) = &mut self.repeat {
            repeat.count = count + 1;
        }
    }

    fn init<'a>(&self, cookie: &'a [u8]) -> Init<'a> {
        let common = &self.config.common;
        Init {
            tag: self.tag,
            window: u32::try_from(common.receive_buffer_bytes_max).unwrap_or(u32::MAX),
            streams_out: common.streams_max,
            streams_in: common.streams_max,
            tsn: self.tsn,
            offers: self.offers(),
            cookie,
        }
    }

    /// INIT: answered from what it says alone, so a flood of them costs nothing that lasts.
    pub(super) fn handle_init(&mut self, value: &[u8]) -> Then {
        let before = matches!(self.phase, Phase::Idle | Phase::CookieWait | Phase::CookieEchoed);
        let mut unknown = BytesMut::new();
        let init = Init::parse(value, |name, value| {
            if unknown.len() + value.len() + 12 <= UNKNOWN_BYTES_MAX {
                wire::tlv(&mut unknown, parameter::UNRECOGNIZED, |out| {
                    wire::tlv(out, name, |out| out.put_slice(value));
                });
            }
        });
        let Some(init) = init.filter(|_| before) else {
            self.metrics.chunks_dropped += 1;
            return Then::Stop;
        };
        let cookie = Cookie { made: self.now, tag: self.tag, peer: peer(&init) }.seal(&self.key);
        let mut out = BytesMut::new();
        self.init(&cookie).write(&mut out, kind::INIT_ACK, &unknown);
        self.answer_to(init.tag, true, out);
        Then::Stop
    }

    pub(super) fn handle_init_ack(&mut self, value: &[u8]) -> Then {
        let init = Init::parse(value, |_, _| ());
        let waits = self.phase == Phase::CookieWait;
        let init = init.filter(|init| waits && !init.cookie.is_empty());
        let Some(init) = init else {
            self.metrics.chunks_dropped += 1;
            return Then::Stop;
        };
        let repeat = self.repeat.as_ref();
        let rtt = repeat.filter(|repeat| repeat.count == 0).map(|r| self.now.since(r.made));
        let count = repeat.map_or(0, |repeat| repeat.count);
        self.join(&peer(&init), rtt);
        self.phase = Phase::CookieEchoed;
        self.repeat_chunk(kind::COOKIE_ECHO, |out| out.put_slice(init.cookie));
        if let Some(repeat) = &mut self.repeat {
            repeat.count = count;
        }
        Then::Stop
    }

    /// COOKIE ECHO (RFC 9260, 5.2.4): ours, fresh, and about this very association, or dropped.
    pub(super) fn handle_cookie(&mut self, value: &[u8]) -> Then {
        let cookie = match Cookie::open(value, &self.key, self.now, self.config.cookie_life) {
            Ok(cookie) if cookie.tag == self.tag => cookie,
            Err(Bad::Stale(over)) => {
                self.answer_stale(value, over);
                return Then::Stop;
            }
            _ => {
                self.metrics.chunks_dropped += 1;
                return Then::Stop;
            }
        };
        match self.phase {
            Phase::Idle | Phase::CookieWait | Phase::CookieEchoed => {
                let same = self.link.as_ref().is_some_and(|link| link.tag == cookie.peer.tag);
                if !same {
                    let rtt = self.now.since(cookie.made);
                    self.join(&cookie.peer, Some(rtt).filter(|rtt| !rtt.is_zero()));
                }
                self.open();
            }
            // A repetition: its answer was lost.
            _ if self.link.as_ref().is_some_and(|link| link.tag == cookie.peer.tag) => {}
            _ => return Then::Stop,
        }
        let mut out = BytesMut::new();
        wire::chunk(&mut out, kind::COOKIE_ACK, 0, |_| ());
        self.answer(out);
        Then::GoOn
    }

    fn answer_stale(&mut self, value: &[u8], over: Duration) {
        // Its tag is known from the proof, which only the age spoilt.
        let Ok(cookie) = Cookie::open(value, &self.key, self.now, Duration::MAX) else { return };
        let micros = u32::try_from(over.as_micros()).unwrap_or(u32::MAX);
        let mut out = BytesMut::new();
        wire::chunk(&mut out, kind::ERROR, 0, |out| {
            wire::tlv(out, cause::STALE_COOKIE, |out| out.put_u32(micros));
        });
        self.answer_to(cookie.peer.tag, true, out);
    }
}

fn peer(init: &Init<'_>) -> Peer {
    Peer {
        tag: init.tag,
        tsn: init.tsn,
        window: init.window,
        streams_in: init.streams_in,
        offers: init.offers,
    }
}
