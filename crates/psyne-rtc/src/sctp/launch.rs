//! What leaves: which chunks go into the next packet, and whether it may go now.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};
use psyne_core::Time;

use super::flight::{Alarm, Flight, Sent, Stamp, State};
use super::streams::Streams;
use super::tickets::Verdict;
use super::wire::{self, Data, HEADER_BYTES, flag, kind};

/// Chunks in flight: what the blocks of a SACK can name with their 16 bits.
const CHUNKS_MAX: usize = u16::MAX as usize;

impl Flight {
    /// Whether a packet with data may leave at `now`.
    pub(super) fn may_send(&mut self, now: Time, streams: &Streams) -> bool {
        self.paced_until = None;
        if self.forward_due {
            return true;
        }
        if self.lost.is_empty() && (streams.is_empty() || !self.has_peer_window(streams)) {
            if streams.is_empty() && self.has_window() {
                self.idle_until = self.delivered + self.flying;
            }
            return false;
        }
        if self.probe_due {
            return true;
        }
        if !self.has_window() {
            return false;
        }
        if let Some(rate) = self.bbr.pacing_rate() {
            self.pacer.fill(now, rate);
            if !self.pacer.may_send() {
                self.paced_until = Some(self.pacer.next_time(rate));
                return false;
            }
        }
        true
    }

    /// Room for a whole packet, or at least for all that waits: no window is filled up in crumbs.
    /// One chunk may always be out to learn when a closed window opens (RFC 9260, 6.1, A).
    fn has_peer_window(&self, streams: &Streams) -> bool {
        let left = self.window.saturating_sub(self.flying_payload);
        let wanted = self.packet_bytes.min(streams.waiting());
        (left >= wanted || self.flying_payload == 0) && self.ring.len() < CHUNKS_MAX
    }

    /// Fills a packet up to `limit` bytes: what must be skipped, what was lost, what is new.
    pub(super) fn fill(
        &mut self,
        now: Time,
        streams: &mut Streams,
        out: &mut BytesMut,
        limit: usize,
    ) {
        let before = out.len();
        if core::mem::take(&mut self.forward_due) {
            self.write_forward(now, out, limit);
        }
        while self.send_again(now, streams, out, limit) {}
        if self.lost.is_empty() {
            while self.send_new(now, streams, out, limit) {}
        }
        for ticket in streams.take_expired() {
            self.tickets.release(ticket);
        }
        self.probe_due = false;
        self.pacer.spend(out.len() - before);
        if out.len() > before && !matches!(self.alarm, Some((_, Alarm::Timeout))) {
            self.arm(now);
        }
    }

    /// Sends the first lost chunk again; `false`: there is none, or no room.
    fn send_again(
        &mut self,
        now: Time,
        streams: &mut Streams,
        out: &mut BytesMut,
        limit: usize,
    ) -> bool {
        let Some(&tsn) = self.lost.front() else { return false };
        let sent = self.at(tsn).filter(|sent| sent.state == State::Lost);
        let Some((ticket, sends, stream)) = sent.map(|s| (s.ticket, s.sends, s.stream)) else {
            self.lost.pop_front();
            return true;
        };
        let verdict = self.tickets.gives_up(ticket, sends, now);
        if verdict != Verdict::Again {
            self.lost.pop_front();
            self.at(tsn).expect("found above").state = State::Dropped;
            if verdict == Verdict::Fresh {
                self.give_up(stream, ticket, streams);
                self.move_forward(now, false);
            }
            return true;
        }
        let payload = self.at(tsn).expect("found above").data.len();
        let size = self.size(payload);
        // One that no longer fits the path, because it became narrower, goes alone: it cannot be
        // cut.
        if out.len() + size as usize > limit && out.len() > HEADER_BYTES {
            return false;
        }
        self.lost.pop_front();
        self.repeats += 1;
        let stamp = self.stamp(now);
        let interleaved = self.interleaved;
        let sent = self.at(tsn).expect("found above");
        (sent.state, sent.stamp) = (State::Flying, stamp);
        sent.sends += 1;
        write(sent, tsn, interleaved, flag::IMMEDIATE, out);
        self.launch(stamp.turn, tsn, size, payload);
        true
    }

    /// Sends a new piece; `false`: nothing waits, or there is no room.
    fn send_new(
        &mut self,
        now: Time,
        streams: &mut Streams,
        out: &mut BytesMut,
        limit: usize,
    ) -> bool {
        if !self.has_peer_window(streams) {
            return false;
        }
        let room = limit.saturating_sub(out.len() + self.header()) & !3;
        let alone = out.len() <= HEADER_BYTES;
        let Some(piece) = streams.next(now, room, alone) else { return false };
        let tsn = self.first + self.ring.len() as u64;
        let stamp = self.stamp(now);
        // Each fragment in flight holds its message's ticket; the last takes over that of the
        // queue.
        if piece.flags & flag::END == 0 {
            self.tickets.hold(piece.ticket);
        }
        let sent = Sent::new(piece, State::Flying, stamp);
        let immediate = if self.probe_due { flag::IMMEDIATE } else { 0 };
        write(&sent, tsn, self.interleaved, immediate, out);
        let payload = sent.data.len();
        if payload > self.window.saturating_sub(self.flying_payload) {
            self.window_probe = Some(tsn);
        }
        self.ring.push_back(sent);
        self.held += payload;
        self.launch(stamp.turn, tsn, self.size(payload), payload);
        true
    }

    fn stamp(&mut self, now: Time) -> Stamp {
        if self.flying == 0 {
            (self.first_at, self.delivered_at) = (now, now);
        }
        self.turn += 1;
        Stamp {
            at: now,
            turn: self.turn,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_at: self.first_at,
            flight: self.flying,
            lost: self.lost_bytes,
            idle: self.idle_until > self.delivered,
        }
    }

    fn launch(&mut self, turn: u64, tsn: u64, size: u64, payload: usize) {
        self.flying += size;
        self.flying_payload += payload;
        self.log.push_back((turn, tsn));
    }

    /// Tells the peer what it need not wait for (RFC 3758, 3.2; RFC 8260, 2.3.1).
    fn write_forward(&mut self, now: Time, out: &mut BytesMut, limit: usize) {
        let each = if self.interleaved { 8 } else { 4 };
        let room = limit.saturating_sub(out.len() + 8) / each;
        let (mut skips, mut point) = (BTreeMap::new(), self.first - 1);
        let count = (self.forward + 1).saturating_sub(self.first) as usize;
        for sent in self.ring.iter().take(count) {
            let unordered = sent.flags & flag::UNORDERED != 0;
            let gone = self.tickets.is_given_up(sent.ticket) && sent.state != State::Acked;
            if gone && (self.interleaved || !unordered) {
                let key = (sent.stream, unordered);
                if skips.len() == room && !skips.contains_key(&key) {
                    break;
                }
                skips.insert(key, sent.number);
            }
            point += 1;
        }
        if point < self.first {
            return;
        }
        self.forward_at = now;
        let interleaved = self.interleaved;
        let kind = if interleaved { kind::I_FORWARD_TSN } else { kind::FORWARD_TSN };
        wire::chunk(out, kind, 0, |out| {
            out.put_u32(point as u32);
            for ((stream, unordered), number) in skips {
                out.put_u16(stream);
                if interleaved {
                    out.put_u16(unordered.into());
                    out.put_u32(number);
                } else {
                    out.put_u16(number as u16);
                }
            }
        });
    }
}

fn write(sent: &Sent, tsn: u64, interleaved: bool, flags: u8, out: &mut BytesMut) {
    let data = Data {
        interleaved,
        flags: sent.flags | flags,
        tsn: tsn as u32,
        stream: sent.stream,
        number: sent.number,
        protocol: sent.protocol,
        fragment: sent.fragment,
        payload: &sent.data,
    };
    data.write(out);
}
