//! What arrived: which TSNs, what of it is acknowledged, and when (RFC 9260, 6.2).

use bytes::{BufMut, Bytes, BytesMut};
use psyne_core::Time;

use super::assembly::{Assembly, Fault};
use super::config::Config;
use super::ranges::Ranges;
use super::wire::{self, Data, flag, kind, take_u16, take_u32, unwrap_u32};

/// TSNs ahead of the cumulative one that are looked at: what a SACK's 16 bits can name.
const TSN_WINDOW: u64 = u16::MAX as u64;
/// Duplicates that a SACK reports.
const DUPLICATES_MAX: usize = 16;
/// Bytes of a SACK without its lists.
const SACK_BYTES: usize = 16;

/// When what arrived is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Never,
    /// One packet came; at this time at the latest.
    Later(Time),
    Now,
}

/// The receiving side of an association.
#[derive(Debug)]
pub(super) struct Inbound {
    /// All up to here arrived or was given up.
    cumulative: u64,
    above: Ranges,
    duplicates: Vec<u32>,
    due: Due,
    /// Data came in the packet that is being read.
    fresh: bool,
    /// The window that the peer was told last.
    told: usize,
    bytes_max: usize,
    holes_max: usize,
    /// Chunks that were not taken: no room, or too far ahead. The peer sends them again.
    pub(super) refused: u64,
    /// Chunks that came more than once.
    pub(super) doubled: u64,
    pub(super) assembly: Assembly,
}

impl Inbound {
    pub(super) fn new(config: &Config, peer_tsn: u32) -> Self {
        let common = &config.common;
        Self {
            cumulative: (1 << 32) + u64::from(peer_tsn.wrapping_sub(1)),
            above: Ranges::default(),
            duplicates: Vec::with_capacity(DUPLICATES_MAX),
            due: Due::Never,
            fresh: false,
            told: common.receive_buffer_bytes_max,
            bytes_max: common.receive_buffer_bytes_max,
            holes_max: config.holes_max,
            refused: 0,
            doubled: 0,
            assembly: Assembly::new(common.receive_message_bytes_max, config.pieces_max),
        }
    }

    pub(super) fn cumulative(&self) -> u64 {
        self.cumulative
    }

    /// Takes a chunk of data.
    pub(super) fn handle_data(&mut self, data: &Data<'_>, packet: &Bytes) -> Result<(), Fault> {
        self.fresh = true;
        let tsn = unwrap_u32(data.tsn, self.cumulative);
        if tsn <= self.cumulative || self.above.contains(tsn) {
            self.doubled += 1;
            if self.duplicates.len() < DUPLICATES_MAX {
                self.duplicates.push(data.tsn);
            }
            self.due = Due::Now;
            return Ok(());
        }
        if !self.has_room(tsn, data.payload.len())? {
            self.refused += 1;
            self.due = Due::Now;
            return Ok(());
        }
        self.assembly.push(tsn, data, packet)?;
        if tsn == self.cumulative + 1 && self.above.len() == 0 {
            self.cumulative = tsn;
        } else {
            self.mark(tsn);
            self.due = Due::Now;
        }
        if data.flags & flag::IMMEDIATE != 0 {
            self.due = Due::Now;
        }
        Ok(())
    }

    fn mark(&mut self, tsn: u64) {
        self.above.insert(tsn, tsn, |_, _| ());
        self.cumulative = self.above.advance(self.cumulative);
    }

    /// Counts a chunk as arrived that carries nothing for anybody; `false`: it came before, or it
    /// has no room.
    pub(super) fn discard(&mut self, tsn: u32) -> bool {
        self.due = Due::Now;
        let tsn = unwrap_u32(tsn, self.cumulative);
        let new = tsn > self.cumulative && !self.above.contains(tsn);
        let taken = new && matches!(self.has_room(tsn, 0), Ok(true));
        if taken {
            self.mark(tsn);
        }
        taken
    }

    /// What fills a hole has twice the room, since it lets others go. That is all there is: more
    /// waits for the application, if it has something to take, and can only be meant ill if not.
    fn has_room(&self, tsn: u64, bytes: usize) -> Result<bool, Fault> {
        let used = self.assembly.used() + bytes;
        if tsn != self.cumulative + 1 {
            let far = tsn > self.cumulative + TSN_WINDOW;
            let apart = self.above.len() >= self.holes_max && self.above.is_apart(tsn);
            return Ok(!far && !apart && used <= self.bytes_max && !self.assembly.is_crowded());
        }
        let over = used > 2 * self.bytes_max;
        match self.assembly.has_ready() {
            _ if used <= self.bytes_max => Ok(true),
            true => Ok(!over && (self.above.len() > 0 || self.assembly.is_incomplete())),
            false if over => Err(Fault::Resource),
            false => Ok(true),
        }
    }

    /// The packet is read: its data counts towards an acknowledgement.
    pub(super) fn end_packet(&mut self, now: Time, delay: core::time::Duration) {
        if core::mem::take(&mut self.fresh) {
            self.due = match self.due {
                Due::Never => Due::Later(now + delay),
                Due::Later(_) | Due::Now => Due::Now,
            };
        }
    }

    /// The peer gave up everything up to `tsn32` (RFC 3758, 3.6; RFC 8260, 2.3.1).
    pub(super) fn handle_forward(&mut self, value: &[u8], interleaved: bool) -> Result<(), Fault> {
        let short = Fault::Violation("FORWARD-TSN too short");
        let mut rest = value;
        let tsn = unwrap_u32(take_u32(&mut rest).ok_or(short)?, self.cumulative);
        self.due = Due::Now;
        if tsn <= self.cumulative {
            return Ok(());
        }
        self.cumulative = self.above.advance(tsn);
        self.assembly.skip_tsn(tsn);
        while !rest.is_empty() {
            let (stream, more) = take_u16(&mut rest).zip(take_u16(&mut rest)).ok_or(short)?;
            if interleaved {
                let number = take_u32(&mut rest).ok_or(short)?;
                self.assembly.skip_messages(stream, more & 1 != 0, number);
            } else {
                self.assembly.skip_ordered(stream, more.into(), false);
            }
        }
        Ok(())
    }

    /// Whether an acknowledgement must be sent at `now`.
    pub(super) fn is_due(&self, now: Time) -> bool {
        match self.due {
            Due::Never => false,
            Due::Later(time) => time <= now,
            Due::Now => true,
        }
    }

    /// An acknowledgement that is not due yet rides along with data.
    pub(super) fn is_waiting(&self) -> bool {
        self.due != Due::Never
    }

    pub(super) fn next_time(&self) -> Option<Time> {
        match self.due {
            Due::Later(time) => Some(time),
            Due::Never | Due::Now => None,
        }
    }

    /// The application took a message: a window that had been almost shut is announced again.
    pub(super) fn taken(&mut self) {
        let open = self.window();
        if self.told < self.bytes_max / 4 && open >= self.bytes_max / 2 {
            self.due = Due::Now;
        }
    }

    fn window(&self) -> usize {
        self.bytes_max.saturating_sub(self.assembly.used())
    }

    /// Writes a SACK of at most `room` bytes, which is at least that of an empty one.
    pub(super) fn write_sack(&mut self, out: &mut BytesMut, room: usize) {
        self.due = Due::Never;
        self.told = self.window();
        let window = u32::try_from(self.told).unwrap_or(u32::MAX);
        let lists = room.saturating_sub(SACK_BYTES) / 4;
        let doubles = self.duplicates.len().min(lists);
        let gaps = self.above.len().min(lists - doubles);
        wire::chunk(out, kind::SACK, 0, |out| {
            out.put_u32(self.cumulative as u32);
            out.put_u32(window);
            out.put_u16(gaps as u16);
            out.put_u16(doubles as u16);
            for (first, last) in self.above.iter().take(gaps) {
                out.put_u16((first - self.cumulative) as u16);
                out.put_u16((last - self.cumulative) as u16);
            }
            self.duplicates.drain(..).take(doubles).for_each(|tsn| out.put_u32(tsn));
        });
    }
}
