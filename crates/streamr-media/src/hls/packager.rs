//! The machine.

use std::collections::VecDeque;

use bytes::Bytes;
use psyne::Time;

use super::Config;
use super::track::{Cut, TrackState};
use crate::Error;
use crate::cmaf::{self, Sample};
use crate::media::{self, Codec, Format, Frame, Kind, Track, TrackId};
use crate::timeline::{Placed, Timeline, opus_samples};

/// What the packager has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// This part and all before it can be fetched.
    PartReady {
        /// Of which track.
        track: TrackId,
        /// Its segment's media sequence number.
        msn: u64,
        /// Its index in the segment.
        part: u32,
    },
    /// This segment and all before it are complete.
    SegmentReady {
        /// Of which track.
        track: TrackId,
        /// Its media sequence number.
        msn: u64,
    },
    /// The broadcast is over; all that waits can be answered.
    Ended,
}

/// The packager's next output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Something is ready.
    Event(Event),
    /// Nothing more until the next input. The packager needs no timer: always `None`.
    Wait(Option<Time>),
}

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Frames that went into parts.
    pub frames: u64,
    /// Frames that were dropped: before their config, before the first keyframe, empty, too late,
    /// or on a track over `tracks_max`.
    pub frames_dropped: u64,
    /// Discontinuities.
    pub discontinuities: u64,
    /// Bytes of media held.
    pub held_bytes: usize,
}

/// What was last said about a track.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    part: Option<(u64, u32)>,
    segment: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) state: TrackState,
    told: Told,
    /// A new configuration that comes into force with the next frame that can use it.
    next: Option<(Track, Bytes)>,
    /// Rendered playlists of a version: whole and delta.
    pub(super) rendered: [Option<(u64, Bytes)>; 2],
}

/// Packages one rendition of one broadcast as low-latency HLS.
#[derive(Debug)]
pub struct Packager {
    /// Its target duration may grow.
    pub(super) config: Config,
    pub(super) epoch: u64,
    pub(super) first_number: u64,
    started: Time,
    unix_us: i64,
    timeline: Timeline,
    pub(super) slots: Vec<Slot>,
    cuts: VecDeque<Cut>,
    /// Media sequence number of the first of `cuts`.
    cuts_msn: u64,
    /// The next frame begins a discontinuity.
    breaks: bool,
    /// Since when media has been too far behind the wall clock.
    behind_since: Option<Time>,
    pub(super) ended: bool,
    told_end: bool,
    stats: Stats,
}

impl Packager {
    /// A packager before its first event. `epoch` names the broadcast in URLs and must never be
    /// used again for this stream; `unix_us` is the wall time in microseconds at `now`, from which
    /// come `EXT-X-PROGRAM-DATE-TIME` and the first media sequence number.
    ///
    /// # Panics
    /// If the config makes no sense: a frame must fit a part, times must be positive.
    #[must_use]
    pub fn new(config: Config, now: Time, epoch: u64, unix_us: i64) -> Self {
        assert!(config.frame_bytes_max <= config.part_bytes_max, "a frame must fit into a part");
        assert!(config.part_bytes_max <= 1 << 30, "the boxes of a part have 32-bit sizes");
        assert!(config.part_us > 0 && config.segment_us_min > 0, "times must be positive");
        assert!(config.target_duration_s > 0, "the target duration must be positive");
        let first_number = first_number(unix_us);
        Self {
            timeline: Timeline::new(config.timeline),
            config: config.normalized(),
            first_number,
            epoch,
            started: now,
            unix_us,
            slots: Vec::new(),
            cuts: VecDeque::new(),
            cuts_msn: first_number,
            breaks: false,
            behind_since: None,
            ended: false,
            told_end: false,
            stats: Stats::default(),
        }
    }

    /// Takes what the publisher sent. After [`Packager::handle_end`] nothing is taken any more.
    ///
    /// # Errors
    /// [`Error::Malformed`] if a codec configuration cannot be carried, [`Error::Limit`] if a frame
    /// is over `frame_bytes_max`. The packager stays usable.
    pub fn handle_event(&mut self, now: Time, event: media::Event) -> Result<(), Error> {
        if self.ended {
            return Ok(());
        }
        match event {
            media::Event::Track(track) => self.take_track(track)?,
            media::Event::Frame(frame) => self.take_frame(now, frame)?,
            media::Event::Metadata(_) => {}
            media::Event::End => self.handle_end(now),
        }
        Ok(())
    }

    /// The publisher is gone for now: what it sent last becomes available. Harmless if it goes on.
    pub fn handle_pause(&mut self, _now: Time) {
        for slot in &mut self.slots {
            slot.state.flush(&self.config);
        }
    }

    /// The publisher went and came back within the grace period: the broadcast goes on after a
    /// discontinuity.
    pub fn handle_reconnect(&mut self, now: Time) {
        self.handle_pause(now);
        self.timeline.handle_reconnect();
        self.behind_since = None;
        for slot in &mut self.slots {
            slot.state.awaits_keyframe = slot.state.id().kind == Kind::Video;
        }
    }

    /// The broadcast is over: segments are finished and playlists get their end.
    pub fn handle_end(&mut self, now: Time) {
        if self.ended {
            return;
        }
        self.handle_pause(now);
        for slot in &mut self.slots {
            let state = &mut slot.state;
            if state.is_started() {
                let end = state.ticks(state.cursor_us());
                state.close_segment(&self.config, u64::try_from(end).unwrap_or(0));
            }
            state.version += 1;
        }
        self.ended = true;
    }

    /// What is ready since it was last asked. Parts are not told one by one: an event stands for
    /// all before it.
    pub fn poll_output(&mut self) -> Output {
        for Slot { state, told, .. } in &mut self.slots {
            let track = state.id();
            let part = state.newest_part();
            if let Some((msn, index)) = part.filter(|_| told.part != part) {
                told.part = part;
                return Output::Event(Event::PartReady { track, msn, part: index });
            }
            let segment = state.newest_complete();
            if let Some(msn) = segment.filter(|_| told.segment != segment) {
                told.segment = segment;
                return Output::Event(Event::SegmentReady { track, msn });
            }
        }
        if self.ended && !self.told_end {
            self.told_end = true;
            return Output::Event(Event::Ended);
        }
        Output::Wait(None)
    }

    /// Counts since the start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let held_bytes = self.slots.iter().map(|s| s.state.bytes).sum();
        Stats { held_bytes, ..self.stats }
    }

    /// The tracks, as they were last described.
    pub fn tracks(&self) -> impl Iterator<Item = &Track> {
        self.slots.iter().map(|slot| &slot.state.track)
    }

    fn take_track(&mut self, track: Track) -> Result<(), Error> {
        let tracks = self.slots.len();
        if let Some(slot) = self.slots.iter_mut().find(|s| s.state.id() == track.id) {
            if slot.state.track == track {
                slot.next = None;
            } else {
                let init = cmaf::init_segment(&track)?;
                slot.next = Some((track, init));
            }
            return Ok(());
        }
        if tracks < self.config.tracks_max {
            let state = TrackState::new(track)?;
            self.slots.push(Slot {
                state,
                told: Told::default(),
                next: None,
                rendered: [None, None],
            });
        }
        Ok(())
    }

    fn take_frame(&mut self, now: Time, frame: Frame) -> Result<(), Error> {
        let bytes = frame.data.len();
        if bytes > self.config.frame_bytes_max {
            let (value, max) = (bytes as u64, self.config.frame_bytes_max as u64);
            return Err(Error::Limit { limit: "frame_bytes_max", value, max });
        }
        if self.place(now, &frame).is_some() {
            self.stats.frames += 1;
        } else {
            self.stats.frames_dropped += 1;
        }
        Ok(())
    }

    /// Puts the frame where it belongs; `None` if it is dropped.
    fn place(&mut self, now: Time, frame: &Frame) -> Option<()> {
        let index = self.slots.iter().position(|s| s.state.id() == frame.track)?;
        let placed = self.timeline.place(frame)?;
        self.breaks |= placed.discontinuity || self.stood_still(now, index, (frame, placed));
        let is_late = self.is_late(index, placed.dts_us);
        let Slot { state, next, .. } = &mut self.slots[index];
        let is_useless = frame.track.kind == Kind::Video
            && (state.awaits_keyframe || next.is_some())
            && !frame.keyframe;
        if frame.data.is_empty() || is_useless || is_late {
            // What follows refers to the picture that is not shown.
            state.awaits_keyframe |= is_late && frame.track.kind == Kind::Video;
            return None;
        }
        if next.is_some() {
            let newest = self.cuts_msn + (self.cuts.len() as u64).saturating_sub(1);
            let at_last_cut = state.open_segment().is_some_and(|open| open.msn >= newest);
            // Where another track has broken off already, this one breaks off with it: a cut of its
            // own would leave a sliver of a segment between.
            let breaks_with = |cut: &Cut| cut.discontinuity && !at_last_cut;
            self.breaks |= state.is_started() && !self.cuts.back().is_some_and(breaks_with);
            // Others may have cut later: a segment has one configuration, so this one begins there.
            let at_us = self.cuts.back().map_or(placed.dts_us, |cut| placed.dts_us.max(cut.at_us));
            let at_us = if state.is_started() { at_us } else { placed.dts_us };
            let end = state.ticks(at_us);
            self.cut(now, index, at_us, end);
            let Slot { state, next, .. } = &mut self.slots[index];
            if let Some((track, init)) = next.take() {
                state.reconfigure(track, init);
            }
            if self.is_late(index, placed.dts_us) {
                let state = &mut self.slots[index].state;
                state.awaits_keyframe = frame.track.kind == Kind::Video;
                return None;
            }
        }
        let sample = sample(&mut self.slots[index].state, frame, placed)?;
        let at_us = self.slots[index].state.us(sample.dts.cast_signed());
        self.lengthen(index, at_us, &sample);
        self.cut(now, index, at_us, sample.dts.cast_signed());
        if self.needs_cut(index, at_us, &sample) {
            self.push_cut(now, at_us);
            self.follow_cuts(index, at_us, sample.dts.cast_signed());
        }
        let state = &mut self.slots[index].state;
        state.awaits_keyframe = false;
        state.push(&self.config, sample);
        self.advance_laggards(at_us);
        self.evict();
        Some(())
    }

    /// Whether a new segment has to be dated anew from this frame on: the publisher stood still,
    /// and what it sends since is as far behind the wall clock as it stood. A network that stood
    /// still hands over what it kept, which makes up for it.
    fn stood_still(&mut self, now: Time, index: usize, (frame, placed): (&Frame, Placed)) -> bool {
        let Some(cut) = self.cuts.back() else { return false };
        let due_us = cut.unix_us_at_zero.saturating_add(placed.dts_us);
        let most_us = self.config.behind_us_max;
        if self.wall_us(now).saturating_sub(due_us) <= most_us {
            self.behind_since = None;
            return false;
        }
        let since = *self.behind_since.get_or_insert(now);
        let long = now.since(since).as_micros() >= u128::from(most_us.unsigned_abs());
        let stood = long && frame.keyframe && self.leader(placed.dts_us) == Some(index);
        if stood {
            self.behind_since = None;
        }
        stood
    }

    /// The wall clock, in microseconds since the Unix epoch.
    fn wall_us(&self, now: Time) -> i64 {
        let past_us = i64::try_from(now.since(self.started).as_micros()).unwrap_or(i64::MAX);
        self.unix_us.saturating_add(past_us)
    }

    /// Brings the track to the segment that `at_us` (`end` in its ticks) lies in.
    fn cut(&mut self, now: Time, index: usize, at_us: i64, end: i64) {
        if self.cuts.is_empty() || self.breaks {
            let last_us = self.cuts.back().map_or(at_us, |cut| cut.at_us);
            self.push_cut(now, at_us.max(last_us));
        }
        if !self.slots[index].state.is_started() {
            self.join(index, at_us);
            return;
        }
        self.follow_cuts(index, at_us, end);
        while let Some(start_us) = self.overdue(index, at_us) {
            self.push_cut(now, start_us + self.config.segment_us_max());
            self.follow_cuts(index, at_us, end);
        }
    }

    /// Whether a frame at `at_us` lies before the track's segment, or, for its first one, before
    /// all segments that are still known.
    fn is_late(&self, index: usize, at_us: i64) -> bool {
        let open = self.slots[index].state.open_segment();
        match open {
            Some(segment) => at_us < segment.start_us - LATE_US,
            None => self.cuts.front().is_some_and(|cut| at_us < cut.at_us),
        }
    }

    /// Starts the track in the segment that `at_us` lies in. That need not be the newest one: the
    /// track may lag behind the others, and what it shares with them is the time, the number of a
    /// segment, and the count of discontinuities before it.
    fn join(&mut self, index: usize, at_us: i64) {
        let nth = self.cuts.iter().rposition(|cut| cut.at_us <= at_us).unwrap_or(0);
        let to_come = self.cuts.iter().skip(nth).filter(|cut| cut.discontinuity).count() as u64;
        let state = &mut self.slots[index].state;
        state.discontinuities_gone = self.stats.discontinuities - to_come;
        state.start(self.cuts_msn + nth as u64, self.cuts[nth], at_us);
    }

    /// The start of the track's segment if no cut is due and it got too long.
    fn overdue(&self, index: usize, at_us: i64) -> Option<i64> {
        let open = self.slots[index].state.open_segment()?;
        let long = at_us - open.start_us > self.config.segment_us_max();
        (long && self.cut_after(open.msn).is_none()).then_some(open.start_us)
    }

    /// Whether a new segment should begin with this frame.
    fn needs_cut(&self, index: usize, at_us: i64, sample: &Sample) -> bool {
        let state = &self.slots[index].state;
        let Some(open) = state.open_segment().filter(|s| self.cut_after(s.msn).is_none()) else {
            return false;
        };
        let least_us = self.config.segment_us_min - self.config.segment_us_min / 20;
        let at_keyframe = sample.keyframe && self.leader(at_us) == Some(index);
        let is_full = self.is_full(index, at_us);
        let bytes = state.open_bytes() + sample.data.len();
        at_keyframe && at_us - open.start_us >= least_us
            || is_full && at_us > open.start_us
            || bytes > self.config.segment_bytes_max && at_us > open.start_us
    }

    /// Whether the track's open segment is too long with one more frame at `at_us`.
    fn is_full(&self, index: usize, at_us: i64) -> bool {
        let state = &self.slots[index].state;
        let end_us = at_us + state.frame_us();
        state.open_segment().is_some_and(|s| end_us - s.start_us > self.config.segment_us_max())
    }

    /// Raises the target duration if keyframes are further apart.
    fn lengthen(&mut self, index: usize, at_us: i64, sample: &Sample) {
        let target_s = self.config.target_duration_s_max;
        let leader = self.leader(at_us);
        let seen = leader.is_some_and(|n| self.slots[n].state.id().kind == Kind::Video);
        let ends = leader == Some(index) && sample.keyframe;
        let grows = seen && !ends && self.is_full(index, at_us);
        if grows && self.config.target_duration_s < target_s {
            self.config.target_duration_s = target_s;
            for slot in &mut self.slots {
                slot.state.version += 1;
            }
        }
    }

    /// The track whose keyframes cut: the first that is seen, or else the first that is heard.
    fn leader(&self, at_us: i64) -> Option<usize> {
        let first = |kind| {
            let leads = |s: &Slot| s.state.id().kind == kind && s.state.is_alive(at_us);
            self.slots.iter().position(leads)
        };
        first(Kind::Video).or_else(|| first(Kind::Audio))
    }

    /// Cuts at `at_us`, and as often before as no segment gets too long.
    fn push_cut(&mut self, now: Time, at_us: i64) {
        let breaks = core::mem::take(&mut self.breaks);
        while let Some(last) = self.cuts.back().copied()
            && at_us - last.at_us > self.config.segment_us_max()
        {
            let at_us = last.at_us + self.config.segment_us_max();
            self.cuts.push_back(Cut { at_us, discontinuity: false, ..last });
        }
        self.breaks = breaks;
        let discontinuity = core::mem::take(&mut self.breaks) && !self.cuts.is_empty();
        let unix_us_at_zero = match self.cuts.back() {
            Some(last) if !discontinuity => last.unix_us_at_zero,
            _ => self.wall_us(now).saturating_sub(at_us),
        };
        self.stats.discontinuities += u64::from(discontinuity);
        self.cuts.push_back(Cut { at_us, discontinuity, unix_us_at_zero });
    }

    fn cut_after(&self, msn: u64) -> Option<Cut> {
        let index = usize::try_from((msn + 1).checked_sub(self.cuts_msn)?).ok()?;
        self.cuts.get(index).copied()
    }

    /// Cuts the track wherever others have cut up to `at_us`, `end` in its ticks.
    fn follow_cuts(&mut self, index: usize, at_us: i64, end: i64) {
        while let Some((msn, start_us)) = self.open_of(index) {
            let Some(cut) = self.cut_after(msn).filter(|cut| cut.at_us <= at_us + NEAR_US) else {
                return;
            };
            let state = &mut self.slots[index].state;
            let is_near = at_us - cut.at_us <= self.config.part_us
                && at_us - start_us <= self.config.segment_us_max();
            let end = if is_near { end } else { state.ticks(cut.at_us) };
            state.cut(&self.config, cut, u64::try_from(end).unwrap_or(0));
        }
    }

    fn open_of(&self, index: usize) -> Option<(u64, i64)> {
        self.slots[index].state.open_segment().map(|s| (s.msn, s.start_us))
    }

    /// Tracks that stay silent get their segments without media.
    fn advance_laggards(&mut self, now_us: i64) {
        for index in 0..self.slots.len() {
            while let Some((msn, _)) = self.open_of(index) {
                let overdue = |cut: &Cut| now_us - cut.at_us > self.config.lag_us_max;
                let Some(cut) = self.cut_after(msn).filter(overdue) else { break };
                let state = &mut self.slots[index].state;
                state.flush(&self.config);
                let end = u64::try_from(state.ticks(cut.at_us)).unwrap_or(0);
                state.cut(&self.config, cut, end);
            }
        }
        let oldest = self.slots.iter().filter_map(|s| s.state.open_segment()).map(|s| s.msn).min();
        while oldest.is_some_and(|msn| self.cuts_msn < msn) && self.is_first_cut_over(now_us) {
            self.cuts.pop_front();
            self.cuts_msn += 1;
        }
    }

    /// Whether a track that joins now cannot begin in the oldest known segment any more.
    fn is_first_cut_over(&self, now_us: i64) -> bool {
        let over = |next: &Cut| now_us - next.at_us > self.config.lag_us_max;
        self.cuts.get(1).is_some_and(over) || self.cuts.len() > self.config.segments_max.max(1)
    }

    fn evict(&mut self) {
        for slot in &mut self.slots {
            slot.state.evict(&self.config);
        }
        while self.slots.iter().map(|s| s.state.bytes).sum::<usize>() > self.config.stream_bytes_max
        {
            let heaviest = self.slots.iter_mut().max_by_key(|s| s.state.bytes);
            if !heaviest.is_some_and(|slot| slot.state.drop_oldest()) {
                break;
            }
        }
    }
}

/// A frame this little before a cut belongs after it: sound is re-timed by a few milliseconds.
const NEAR_US: i64 = 10_000;
/// A frame this far before the open segment's start is too late for it.
const LATE_US: i64 = 100_000;

/// Media sequence numbers of a broadcast count from here: quarter seconds
/// since 2020. No broadcast cuts four times a second, so the numbers of a later broadcast of the
/// same stream are higher, and players, blocked requests and caches that know an earlier one go on
/// with it. Fits 31 bits until 2037, for players that need that.
const fn first_number(unix_us: i64) -> u64 {
    let since_us = unix_us.saturating_sub(1_577_836_800_000_000);
    if since_us < 0 { 0 } else { since_us.cast_unsigned() / 250_000 }
}

/// Times a frame in its track's ticks; `None` if its place is taken.
fn sample(state: &mut TrackState, frame: &Frame, placed: Placed) -> Option<Sample> {
    let dts = match audio_samples(&state.track, &frame.data) {
        Some(samples) => state.clock.place(placed.dts_us, samples)?,
        None => state.ticks(placed.dts_us),
    };
    let composition = match frame.track.kind {
        Kind::Video => state.ticks(placed.pts_us) - dts,
        Kind::Audio => 0,
    };
    Some(Sample {
        dts: u64::try_from(dts).unwrap_or(0),
        duration: 0,
        composition: i32::try_from(composition).unwrap_or(0),
        keyframe: frame.keyframe || frame.track.kind == Kind::Audio,
        data: frame.data.clone(),
    })
}

/// How many samples a frame of sound has, if that can be told.
fn audio_samples(track: &Track, data: &[u8]) -> Option<u32> {
    match (track.codec, track.format) {
        (Codec::Opus, Format::Audio { sample_rate, .. }) => {
            let at_rate = u64::from(opus_samples(data)?) * u64::from(sample_rate) / 48_000;
            u32::try_from(at_rate).ok().filter(|&samples| samples > 0)
        }
        (_, Format::Audio { samples_per_frame, .. }) => samples_per_frame.filter(|&n| n > 0),
        (_, Format::Video { .. }) => None,
    }
}
