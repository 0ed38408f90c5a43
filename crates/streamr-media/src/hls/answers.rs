//! The packager's answers to players.

use bytes::Bytes;

use super::multivariant::{AudioInfo, RenditionInfo, VideoInfo, multivariant};
use super::packager::{Packager, Slot};
use super::playlist::{Playlist, Report};
use super::response::{CACHE_BLOCKING, CACHE_PLAIN};
use super::track::TrackState;
use super::{Reply, Request, Resource, Response, Until, Wanted};
use crate::media::{Format, TrackId};

/// The multivariant playlist waits this long for tracks that were announced but sent nothing.
const PATIENCE_US: i64 = 1_000_000;

impl Packager {
    /// Answers a request. The rendition's name is the caller's to look up; the multivariant
    /// playlist lists this one as `source`.
    pub fn respond(&mut self, request: &Request) -> Response {
        match request.resource {
            Resource::Multivariant => match self.rendition_info("source") {
                Some(info) => Response::Ready(Reply::playlist(multivariant(&[info]), CACHE_PLAIN)),
                None if self.ended => Response::Ready(Reply::not_found()),
                None => Response::Block(Until { track: None, msn: 0, part: Some(0) }),
            },
            Resource::Playlist { track, wanted, skip } => self.playlist(track, wanted, skip),
            Resource::Init { track, epoch, index } => {
                Response::Ready(self.init(track, epoch, index))
            }
            Resource::Segment { track, epoch, msn } => {
                Response::Ready(self.segment(track, epoch, msn))
            }
            Resource::Part { track, epoch, msn, part } => self.part(track, epoch, (msn, part)),
        }
    }

    /// What a multivariant playlist says about this rendition under `name`; `None` as long as
    /// tracks that were announced are awaited: until each has a part, or one has a second.
    #[must_use]
    pub fn rendition_info(&self, name: &str) -> Option<RenditionInfo> {
        let states = || self.slots.iter().map(|slot| &slot.state);
        let has_media = |state: &TrackState| state.newest_part().is_some();
        let is_long = |state: &TrackState| {
            state.segments.front().is_some_and(|s| state.cursor_us() - s.start_us >= PATIENCE_US)
        };
        if !states().any(has_media)
            || !(states().all(has_media) || self.ended || states().any(is_long))
        {
            return None;
        }
        let mut info = RenditionInfo { name: name.into(), ..RenditionInfo::default() };
        for state in states().filter(|state| has_media(state)) {
            describe(&mut info, state);
        }
        info.video.sort_by(|a, b| a.track.cmp(&b.track));
        info.audio.sort_by(|a, b| a.track.cmp(&b.track));
        Some(info)
    }

    fn playlist(&mut self, id: TrackId, wanted: Option<Wanted>, skip: bool) -> Response {
        let Some(index) = self.slots.iter().position(|s| s.state.id() == id) else {
            return Response::Ready(Reply::not_found());
        };
        let state = &self.slots[index].state;
        if state.newest_part().is_none() {
            let nothing = Response::Ready(Reply::not_found());
            let until = Until { track: Some(id), msn: 0, part: Some(0) };
            return if self.ended { nothing } else { Response::Block(until) };
        }
        if let Some(wanted) = wanted.filter(|_| !self.ended) {
            match standing(state, wanted) {
                Standing::There => {}
                Standing::Soon(msn, part) => {
                    return Response::Block(Until { track: Some(id), msn, part });
                }
                Standing::TooFar => return Response::Ready(Reply::bad_request()),
            }
        }
        let cache = if wanted.is_some() { CACHE_BLOCKING } else { CACHE_PLAIN };
        Response::Ready(Reply::playlist(self.render(index, skip), cache))
    }

    /// Renders once a version, for all who wait for it.
    pub(super) fn render(&mut self, index: usize, skip: bool) -> Bytes {
        let state = &self.slots[index].state;
        let version = state.version;
        if let Some((at, text)) = &self.slots[index].rendered[usize::from(skip)]
            && *at == version
        {
            return text.clone();
        }
        let reports: Vec<Report> =
            self.slots.iter().filter_map(|slot| report(slot, state)).collect();
        let playlist = Playlist {
            config: &self.config,
            epoch: self.epoch,
            first_number: self.first_number,
            track: state,
            reports: &reports,
            ended: self.ended,
        };
        let text = Bytes::from(playlist.render(skip));
        self.slots[index].rendered[usize::from(skip)] = Some((version, text.clone()));
        text
    }

    fn state(&self, id: TrackId, epoch: u64) -> Option<&TrackState> {
        let mut states = self.slots.iter().map(|slot| &slot.state);
        states.find(|state| state.id() == id && epoch == self.epoch)
    }

    fn init(&self, id: TrackId, epoch: u64, index: u32) -> Reply {
        let Some(state) = self.state(id, epoch) else { return Reply::not_found() };
        let found = state.inits.iter().find(|(n, _)| *n == index);
        found.map_or_else(Reply::not_found, |(_, init)| Reply::media(init.clone(), mime(id)))
    }

    fn segment(&mut self, id: TrackId, epoch: u64, msn: u64) -> Reply {
        let mut states = self.slots.iter_mut().map(|slot| &mut slot.state);
        let state = states.find(|state| state.id() == id && epoch == self.epoch);
        let Some(state) = state else { return Reply::not_found() };
        if state.segments.front().is_some_and(|first| msn < first.msn) {
            return Reply::gone();
        }
        let segment = state.segment_mut(msn).filter(|s| s.complete && !s.is_gap());
        segment.map_or_else(Reply::not_found, |s| Reply::media(s.whole(), mime(id)))
    }

    fn part(&self, id: TrackId, epoch: u64, (msn, part): (u64, u32)) -> Response {
        let Some(state) = self.state(id, epoch) else { return Response::Ready(Reply::not_found()) };
        if state.segments.front().is_some_and(|first| msn < first.msn) {
            return Response::Ready(Reply::gone());
        }
        let Some(segment) = state.segment(msn) else { return Response::Ready(Reply::not_found()) };
        let index = usize::try_from(part).unwrap_or(usize::MAX);
        match segment.parts.get(index) {
            Some(part) if !part.gap => Response::Ready(Reply::media(part.bytes.clone(), mime(id))),
            // Hinted: it comes next.
            None if !segment.complete && index == segment.parts.len() => {
                Response::Block(Until { track: Some(id), msn, part: Some(part) })
            }
            None if !segment.complete => Response::Ready(Reply::not_found()),
            // Hinted once, but a keyframe came and ended the segment; or never had media.
            _ => Response::Ready(Reply::gone()),
        }
    }
}

fn report(slot: &Slot, of: &TrackState) -> Option<Report> {
    let track = slot.state.id();
    let (msn, part) = slot.state.newest_part().filter(|_| track != of.id())?;
    Some(Report { track, msn, part })
}

const fn mime(id: TrackId) -> &'static str {
    match id.kind {
        crate::media::Kind::Video => "video/mp4",
        crate::media::Kind::Audio => "audio/mp4",
    }
}

fn describe(info: &mut RenditionInfo, state: &TrackState) {
    let track = state.id().to_string();
    let codec = state.track.codec_string.clone();
    let (peak_bits_per_second, average_bits_per_second) = state.rates();
    match state.track.format {
        Format::Video { width, height, frames_per_kilosecond } => info.video.push(VideoInfo {
            track,
            codec,
            width,
            height,
            frames_per_kilosecond,
            peak_bits_per_second,
            average_bits_per_second,
        }),
        Format::Audio { channels, .. } => info.audio.push(AudioInfo {
            track,
            codec,
            channels,
            peak_bits_per_second,
            average_bits_per_second,
        }),
    }
}

/// How a wanted part stands to what is there (draft §6.2.5.2).
enum Standing {
    There,
    Soon(u64, Option<u32>),
    TooFar,
}

fn standing(state: &TrackState, wanted: Wanted) -> Standing {
    let Some(newest) = state.segments.back() else {
        return Standing::Soon(wanted.msn, wanted.part);
    };
    let (open, parts) = if newest.complete {
        (newest.msn + 1, 0)
    } else {
        (newest.msn, u32::try_from(newest.parts.len()).unwrap_or(u32::MAX))
    };
    // The advance part limit: three parts, or three seconds of them, whichever is more.
    let target_us = state.part_target_us.unwrap_or(1_000_000).clamp(1, 1_000_000);
    let ahead = u32::try_from(3_000_000 / target_us).unwrap_or(3).max(3);
    match wanted.part {
        _ if wanted.msn > open + 1 => Standing::TooFar,
        None if wanted.msn < open => Standing::There,
        None => Standing::Soon(wanted.msn, None),
        Some(part) if wanted.msn < open => {
            let of = state.segment(wanted.msn).map_or(0, |s| s.parts.len());
            let beyond = wanted.msn + 1 == open && part as usize >= of && parts == 0;
            let expired = state.segment(wanted.msn).is_none();
            if beyond && !expired { Standing::Soon(open, Some(0)) } else { Standing::There }
        }
        Some(part) if wanted.msn == open && part < parts => Standing::There,
        Some(part) if wanted.msn == open && part < parts.saturating_add(ahead) => {
            Standing::Soon(open, Some(part))
        }
        Some(part) if wanted.msn == open + 1 && part < ahead => {
            Standing::Soon(wanted.msn, Some(part))
        }
        Some(_) => Standing::TooFar,
    }
}
