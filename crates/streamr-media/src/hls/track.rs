//! One track's parts and segments.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Config, part_target};
use crate::cmaf::{self, Sample};
use crate::media::{Kind, Track};
use crate::timeline::SampleClock;
use crate::{Error, media};

/// Where a segment of every track starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) at_us: i64,
    pub(super) discontinuity: bool,
    /// Wall time of presentation time 0, for `EXT-X-PROGRAM-DATE-TIME`.
    pub(super) unix_us_at_zero: i64,
}

#[derive(Debug)]
pub(super) struct Part {
    pub(super) duration_us: i64,
    pub(super) independent: bool,
    /// Nothing was there to be sent.
    pub(super) gap: bool,
    pub(super) bytes: Bytes,
}

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) msn: u64,
    pub(super) start_us: i64,
    pub(super) end_us: i64,
    pub(super) discontinuity: bool,
    pub(super) unix_us: i64,
    pub(super) init: u32,
    pub(super) parts: Vec<Part>,
    pub(super) bytes: usize,
    /// It does not grow any more.
    pub(super) complete: bool,
    /// All parts, one after the other, once somebody has asked for that.
    whole: Option<Bytes>,
}

impl Segment {
    pub(super) const fn duration_us(&self) -> i64 {
        self.end_us - self.start_us
    }

    pub(super) fn is_gap(&self) -> bool {
        self.parts.iter().all(|part| part.gap)
    }

    /// All parts, one after the other. From then on the parts are slices of the whole, so that
    /// the bytes are kept once. Most segments are never asked for as such: players at the live
    /// edge take parts.
    pub(super) fn whole(&mut self) -> Bytes {
        if let Some(whole) = &self.whole {
            return whole.clone();
        }
        let mut all = Vec::with_capacity(self.bytes);
        for part in &self.parts {
            all.extend_from_slice(&part.bytes);
        }
        let all = Bytes::from(all);
        let mut at = 0;
        for part in &mut self.parts {
            let end = at + part.bytes.len();
            part.bytes = all.slice(at..end);
            at = end;
        }
        self.whole.insert(all).clone()
    }
}

/// A guessed frame length is at most this, so that a wrong guess moves little.
const FLUSHED_US_MAX: i64 = 50_000;
/// A hole over this becomes a part without media.
const HOLE_US_MAX: i64 = 50_000;
/// A track that says nothing for longer does not cut the others.
const QUIET_US_MAX: i64 = 2_000_000;
/// A segment lasts at least this.
const SEGMENT_US_MIN: i64 = 1_000;

/// The growing part.
#[derive(Debug, Default)]
struct Open {
    samples: Vec<Sample>,
    bytes: usize,
    start_us: i64,
    /// Up to here the playlist is covered.
    cursor_us: i64,
}

#[derive(Debug)]
pub(super) struct TrackState {
    pub(super) track: Track,
    pub(super) clock: SampleClock,
    /// Pictures are of no use until the next keyframe.
    pub(super) awaits_keyframe: bool,
    pub(super) inits: VecDeque<(u32, Bytes)>,
    /// The last one is open as long as the track is alive.
    pub(super) segments: VecDeque<Segment>,
    /// How many of the front ones have left the playlist.
    pub(super) unlisted: usize,
    pub(super) discontinuities_gone: u64,
    pub(super) part_target_us: Option<i64>,
    pub(super) bytes: usize,
    pub(super) peak_bits_per_second: u64,
    pub(super) total_bits: u128,
    pub(super) total_us: i64,
    /// Grows whenever the playlist changes.
    pub(super) version: u64,
    timescale: u32,
    frame_us: i64,
    sequence: u32,
    probe: Vec<Sample>,
    pending: Option<Sample>,
    /// The end of the last frame whose length is known, in ticks: no frame begins before it.
    end: u64,
    open: Open,
}

impl TrackState {
    pub(super) fn new(track: Track) -> Result<Self, Error> {
        let init = cmaf::init_segment(&track)?;
        let timescale = cmaf::timescale(&track);
        Ok(Self {
            clock: SampleClock::new(timescale),
            awaits_keyframe: track.id.kind == Kind::Video,
            track,
            timescale,
            inits: VecDeque::from([(0, init)]),
            segments: VecDeque::new(),
            unlisted: 0,
            discontinuities_gone: 0,
            part_target_us: None,
            bytes: 0,
            peak_bits_per_second: 0,
            total_bits: 0,
            total_us: 0,
            version: 0,
            frame_us: 0,
            sequence: 0,
            probe: Vec::new(),
            pending: None,
            end: 0,
            open: Open::default(),
        })
    }

    /// Takes a new codec configuration; `init` is its init segment. All frames before it must have
    /// been cut off.
    pub(super) fn reconfigure(&mut self, track: Track, init: Bytes) {
        self.timescale = cmaf::timescale(&track);
        self.end = u64::try_from(self.ticks(self.open.cursor_us)).unwrap_or(0);
        self.clock = SampleClock::new(self.timescale);
        self.track = track;
        let used =
            |index: u32| self.segments.iter().any(|s| s.init == index && s.end_us > s.start_us);
        let next = self.inits.back().map_or(0, |(index, _)| index + 1);
        self.inits.retain(|&(index, _)| used(index));
        self.inits.push_back((next, init));
        if let Some(open) = self.segments.back_mut() {
            open.init = next;
        }
    }

    pub(super) fn us(&self, ticks: i64) -> i64 {
        scale(ticks, 1_000_000, self.timescale.into())
    }

    pub(super) fn ticks(&self, us: i64) -> i64 {
        scale(us, self.timescale.into(), 1_000_000)
    }

    pub(super) fn is_started(&self) -> bool {
        !self.segments.is_empty()
    }

    /// Whether its frames still come at `at_us`: none is missing for two seconds and two frames.
    pub(super) fn is_alive(&self, at_us: i64) -> bool {
        let last_us = self.pending.as_ref().map_or(self.open.cursor_us, |p| self.us(p.dts as i64));
        let quiet_us = QUIET_US_MAX.max(2 * self.frame_us);
        self.is_started() && !self.awaits_keyframe && at_us - last_us <= quiet_us
    }

    /// The open segment; `None` before the first frame.
    pub(super) fn open_segment(&self) -> Option<&Segment> {
        self.segments.back().filter(|s| !s.complete)
    }

    /// The end of the known media, without the pending frame.
    pub(super) const fn cursor_us(&self) -> i64 {
        self.open.cursor_us
    }

    /// The usual length of a frame, as far as known.
    pub(super) const fn frame_us(&self) -> i64 {
        self.frame_us
    }

    /// Opens the first segment, at `start_us`.
    pub(super) fn start(&mut self, msn: u64, cut: Cut, start_us: i64) {
        self.open = Open { start_us, cursor_us: start_us, ..Open::default() };
        self.push_segment(msn, cut, start_us);
    }

    fn push_segment(&mut self, msn: u64, cut: Cut, start_us: i64) {
        self.segments.push_back(Segment {
            msn,
            start_us,
            end_us: start_us,
            discontinuity: cut.discontinuity,
            unix_us: cut.unix_us_at_zero.saturating_add(start_us),
            init: self.inits.back().map_or(0, |(index, _)| *index),
            parts: Vec::new(),
            bytes: 0,
            complete: false,
            whole: None,
        });
    }

    /// Takes the next frame; the one before gets its duration from it. Its segment must be open.
    /// A frame whose place is taken, as a length was guessed too long, moves up.
    pub(super) fn push(&mut self, config: &Config, mut sample: Sample) {
        self.complete_pending(config, sample.dts);
        let late = self.end.saturating_sub(sample.dts);
        sample.dts += late;
        sample.composition = i32::try_from(i64::from(sample.composition) - late.cast_signed())
            .unwrap_or(0)
            .min(sample.composition);
        if self.is_sound() {
            sample.composition = 0;
        }
        self.pending = Some(sample);
    }

    /// Nothing follows for now: the pending frame lasts as long as its like, but within its
    /// segment.
    pub(super) fn flush(&mut self, config: &Config) {
        let usual = self.ticks(self.frame_us.clamp(1_000, FLUSHED_US_MAX)).max(1);
        if let Some(end) = self.pending.as_ref().map(|p| p.dts.saturating_add_signed(usual)) {
            self.complete_pending(config, end);
        }
        self.settle(config);
        self.close_part(self.open.cursor_us);
    }

    fn complete_pending(&mut self, config: &Config, end: u64) {
        if let Some(mut sample) = self.pending.take() {
            let usual = u64::try_from(self.ticks(self.frame_us)).unwrap_or(0);
            let ticks = match end.saturating_sub(sample.dts).max(1) {
                // Silence is a hole; a picture may well stand still.
                ticks if self.is_sound() && usual > 0 && ticks > 4 * usual => usual,
                ticks => ticks,
            };
            sample.duration = u32::try_from(ticks).unwrap_or(u32::MAX);
            self.end = sample.dts + u64::from(sample.duration);
            self.append(config, sample);
        }
    }

    /// Ends the open segment near `end` ticks and opens the next one there.
    pub(super) fn cut(&mut self, config: &Config, cut: Cut, end: u64) {
        self.close_segment(config, end);
        let start_us = self.open.start_us;
        if let Some(msn) = self.segments.back().map(|s| s.msn + 1) {
            self.push_segment(msn, cut, start_us);
        }
    }

    /// Ends the open segment near `end` ticks: where its last part ends. The parts of a segment
    /// always add up to it, and each begins where the one before ended, so a frame that reaches
    /// over the cut moves it, and a hole too small for a part goes to the next segment.
    pub(super) fn close_segment(&mut self, config: &Config, end: u64) {
        self.complete_pending(config, end);
        self.settle(config);
        let target_us = self.part_target_us.unwrap_or(config.part_us);
        let end_us = self.us(i64::try_from(end).unwrap_or(i64::MAX));
        let hole_us = end_us - self.open.cursor_us;
        let fits = hole_us > 0 && end_us - self.open.start_us <= target_us;
        self.close_part(if fits { end_us } else { self.open.cursor_us });
        let is_empty = self.segments.back().is_some_and(|s| s.parts.is_empty());
        if is_empty || end_us - self.open.start_us > (target_us / 2).min(HOLE_US_MAX) {
            self.fill(end_us.max(self.open.start_us + SEGMENT_US_MIN));
        }
        self.count_segment();
    }

    fn count_segment(&mut self) {
        let Some(segment) = self.segments.back_mut() else { return };
        segment.complete = true;
        let bits = segment.bytes as u64 * 8;
        let duration_us = u64::try_from(segment.duration_us()).unwrap_or(0);
        // Shorter ones say little about the rate and much about their keyframe.
        if duration_us >= 500_000 {
            let rate = bits.saturating_mul(1_000_000) / duration_us;
            self.peak_bits_per_second = self.peak_bits_per_second.max(rate);
        }
        self.total_us += segment.duration_us();
        self.total_bits += u128::from(bits);
        self.version += 1;
    }

    fn append(&mut self, config: &Config, sample: Sample) {
        let Some(target_us) = self.part_target_us else {
            self.probe.push(sample);
            let first = self.probe.first().map_or(0, |s| s.dts);
            let last = self.probe.last().map_or(0, |s| s.dts + u64::from(s.duration));
            if self.us((last - first) as i64) >= config.part_us {
                self.settle(config);
            }
            return;
        };
        let begin_us = self.us(sample.dts as i64);
        let end_us = self.us((sample.dts + u64::from(sample.duration)) as i64);
        if begin_us - self.open.cursor_us > target_us {
            self.close_part(self.open.cursor_us);
            self.fill(begin_us);
        }
        let bytes = self.open.bytes + sample.data.len();
        let follows = self.open.samples.last().is_none_or(|last| last.ends_at(sample.dts));
        if !follows || end_us - self.open.start_us > target_us || bytes > config.part_bytes_max {
            self.close_part(self.open.cursor_us);
        }
        self.open.bytes += sample.data.len();
        self.open.samples.push(sample);
        self.open.cursor_us = self.open.cursor_us.max(end_us);
        self.close_full_part(target_us);
    }

    fn close_full_part(&mut self, target_us: i64) {
        let cursor_us = self.open.cursor_us;
        let length_us = cursor_us - self.open.start_us;
        if length_us > target_us {
            self.close_part(self.open.start_us + target_us);
            if cursor_us - self.open.start_us > target_us / 2 {
                self.fill(cursor_us);
            }
            self.open.cursor_us = cursor_us;
        } else if length_us * 100 >= target_us * 85 && length_us + self.frame_us > target_us {
            self.close_part(cursor_us);
        }
    }

    /// Chooses the part target from the frames so far, and cuts them.
    fn settle(&mut self, config: &Config) {
        if self.part_target_us.is_some() {
            return;
        }
        let mut frames_us: Vec<i64> =
            self.probe.iter().map(|s| self.us(s.duration.into())).collect();
        let (target_us, frame_us) = part_target::choose(config.part_us, &mut frames_us);
        self.part_target_us = Some(target_us);
        self.frame_us = frame_us;
        for sample in core::mem::take(&mut self.probe) {
            self.append(config, sample);
        }
    }

    /// Ends the growing part at `end_us`, if it has frames.
    fn close_part(&mut self, end_us: i64) {
        if self.open.samples.is_empty() {
            return;
        }
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = cmaf::chunk(self.sequence, &self.open.samples);
        let independent = self.open.samples.first().is_some_and(|s| s.keyframe);
        self.open.samples.clear();
        self.open.bytes = 0;
        self.push_part(end_us, independent, bytes);
    }

    /// Covers the playlist up to `end_us` with parts that have no media.
    fn fill(&mut self, end_us: i64) {
        let target_us = self.part_target_us.unwrap_or(i64::MAX).max(1);
        let length_us = end_us - self.open.start_us;
        let count = length_us / target_us + i64::from(length_us % target_us > 0);
        let start_us = self.open.start_us;
        for n in 1..=count {
            self.push_part(start_us + length_us * n / count, false, Bytes::new());
        }
    }

    fn push_part(&mut self, end_us: i64, independent: bool, bytes: Bytes) {
        let duration_us = end_us - self.open.start_us;
        debug_assert!(self.part_target_us.is_some_and(|max| (0..=max).contains(&duration_us)));
        self.open.start_us = end_us;
        self.open.cursor_us = self.open.cursor_us.max(end_us);
        self.version += 1;
        if let Some(segment) = self.segments.back_mut() {
            self.bytes += bytes.len();
            segment.bytes += bytes.len();
            segment.end_us = end_us;
            segment.parts.push(Part { duration_us, independent, gap: bytes.is_empty(), bytes });
        }
    }

    /// Bytes of the open segment with its unfinished part.
    pub(super) fn open_bytes(&self) -> usize {
        let probe: usize = self.probe.iter().map(|s| s.data.len()).sum();
        let pending = self.pending.as_ref().map_or(0, |s| s.data.len());
        self.open_segment().map_or(0, |s| s.bytes) + self.open.bytes + probe + pending
    }

    /// Takes segments off the playlist that the window no longer needs, and drops those that
    /// lingered long enough.
    pub(super) fn evict(&mut self, config: &Config) {
        let window_us = config.window_us_min.max(3 * config.target_us());
        let end_us = self.segments.back().map_or(0, |s| s.start_us);
        while self.segments.len() - self.unlisted > 2 {
            let next_start_us = self.segments[self.unlisted + 1].start_us;
            let too_many = self.segments.len() - self.unlisted > config.segments_max;
            if end_us - next_start_us < window_us && !too_many {
                break;
            }
            self.unlist();
        }
        let first_us = self.segments.get(self.unlisted).map_or(0, |s| s.start_us);
        let lingered = |s: &Segment| first_us - s.end_us > config.linger_us;
        while self.unlisted > 0
            && (self.segments.front().is_some_and(lingered) || self.unlisted > config.segments_max)
        {
            self.drop_oldest();
        }
    }

    fn unlist(&mut self) {
        if self.segments.get(self.unlisted).is_some_and(|s| s.discontinuity) {
            self.discontinuities_gone += 1;
        }
        self.unlisted += 1;
        self.version += 1;
    }

    /// Forgets the oldest segment; false if only the open one is left.
    pub(super) fn drop_oldest(&mut self) -> bool {
        if self.segments.len() < 2 {
            return false;
        }
        if self.unlisted == 0 {
            self.unlist();
        }
        self.unlisted -= 1;
        if let Some(gone) = self.segments.pop_front() {
            self.bytes -= gone.bytes;
        }
        true
    }

    pub(super) fn segment(&self, msn: u64) -> Option<&Segment> {
        self.segments.get(self.index(msn)?)
    }

    pub(super) fn segment_mut(&mut self, msn: u64) -> Option<&mut Segment> {
        let index = self.index(msn)?;
        self.segments.get_mut(index)
    }

    fn index(&self, msn: u64) -> Option<usize> {
        usize::try_from(msn.checked_sub(self.segments.front()?.msn)?).ok()
    }

    /// Whether the playlist names the parts of `segment`: it is open, or near the live edge.
    pub(super) fn lists_parts(&self, config: &Config, segment: &Segment) -> bool {
        !segment.complete || segment.end_us > self.cursor_us() - config.parts_listed_us
    }

    /// Where the newest part ends.
    pub(super) fn newest_end_us(&self) -> i64 {
        self.segments.back().map_or(0, |segment| segment.end_us)
    }

    /// Media sequence number and index of the newest part.
    pub(super) fn newest_part(&self) -> Option<(u64, u32)> {
        let newest = self.segments.iter().rev().find(|s| !s.parts.is_empty())?;
        Some((newest.msn, u32::try_from(newest.parts.len()).unwrap_or(u32::MAX) - 1))
    }

    /// The newest complete segment.
    pub(super) fn newest_complete(&self) -> Option<u64> {
        self.segments.iter().rev().find(|s| s.complete).map(|s| s.msn)
    }

    fn is_sound(&self) -> bool {
        self.track.id.kind == Kind::Audio
    }

    pub(super) const fn id(&self) -> media::TrackId {
        self.track.id
    }

    /// Peak and average rate in bits a second, as far as known.
    pub(super) fn rates(&self) -> (u64, u64) {
        let (open_bits, open_us) =
            self.open_segment().map_or((0, 0), |s| (s.bytes as u128 * 8, s.duration_us()));
        let us = u128::try_from(self.total_us + open_us).unwrap_or(0).max(1);
        let average = (self.total_bits + open_bits) * 1_000_000 / us;
        let average = u64::try_from(average).unwrap_or(u64::MAX);
        (self.peak_bits_per_second.max(average), average)
    }
}

/// `value * by / of`, kept within 64 bits. 128-bit division is slow and only for absurd times.
fn scale(value: i64, by: i64, of: i64) -> i64 {
    if let Some(product) = value.checked_mul(by) {
        return product / of;
    }
    let exact = i128::from(value) * i128::from(by) / i128::from(of);
    i64::try_from(exact).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}
