//! What playback at the live edge begins with, so that a page can bring it along.

use bytes::Bytes;

use super::packager::Packager;
use super::track::{Part, Segment, TrackState};
use crate::media::Kind;

/// Media that has to lie behind the keyframe that playback begins with, in microseconds. A player
/// needs some 0.3 s to begin, in which as much comes; together that is half a second ahead.
const AHEAD_US_MIN: i64 = 300_000;
/// Parts that are named at most: two tracks, a group of pictures of 4 s and parts of 200 ms.
const PARTS_MAX: usize = 40;

/// The first minute of a viewer in requests: what a player would ask for one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// Names and texts of the media playlists: `video0.m3u8`.
    pub playlists: Vec<(String, Bytes)>,
    /// Names of the initialization segments, and of the parts from the keyframe on that lies
    /// nearest to the hold-back.
    pub media: Vec<String>,
}

impl Packager {
    /// What a player that opens this rendition now will need: of the first track that is seen, and
    /// of the first that is heard. `None` if it has no media yet, or has ended.
    pub fn opening(&mut self) -> Option<Opening> {
        let first = |kind| self.slots.iter().position(|s| s.state.id().kind == kind);
        let tracks: Vec<usize> = [Kind::Video, Kind::Audio].into_iter().filter_map(first).collect();
        let leader = &self.slots.get(*tracks.first()?)?.state;
        if self.ended || leader.newest_part().is_none() {
            return None;
        }
        let start_us = self.beginning(leader)?;
        let mut opening = Opening::default();
        for &index in &tracks {
            self.media_from(start_us, &self.slots[index].state, &mut opening.media);
        }
        for &index in &tracks {
            let name = format!("{}.m3u8", self.slots[index].state.id());
            opening.playlists.push((name, self.render(index, false)));
        }
        opening.media.truncate(PARTS_MAX);
        Some(opening)
    }

    /// Where a player begins: at the keyframe that is nearest to the hold-back.
    fn beginning(&self, leader: &TrackState) -> Option<i64> {
        let edge_us = leader.newest_end_us();
        let aim_us = edge_us - self.config.hold_back_us(leader);
        let starts = self.parts(leader).filter(|(_, _, _, part)| part.independent);
        let enough = starts.map(|(_, _, at_us, _)| at_us).filter(|at| edge_us - at >= AHEAD_US_MIN);
        enough.min_by_key(|at_us| (at_us - aim_us).abs())
    }

    /// The listed parts of a track: segment, index, start and part.
    fn parts<'a>(
        &'a self,
        track: &'a TrackState,
    ) -> impl Iterator<Item = (&'a Segment, usize, i64, &'a Part)> {
        let listed = track.segments.iter().skip(track.unlisted);
        listed.filter(|segment| track.lists_parts(&self.config, segment)).flat_map(|segment| {
            let mut at_us = segment.start_us;
            segment.parts.iter().enumerate().map(move |(index, part)| {
                let start_us = at_us;
                at_us += part.duration_us;
                (segment, index, start_us, part)
            })
        })
    }

    fn media_from(&self, start_us: i64, track: &TrackState, media: &mut Vec<String>) {
        let (id, epoch) = (track.id(), self.epoch);
        let mut init = None;
        for (segment, index, at_us, part) in self.parts(track) {
            if part.gap || at_us + part.duration_us <= start_us {
                continue;
            }
            if init != Some(segment.init) {
                init = Some(segment.init);
                media.push(format!("{id}/{epoch}-init{}.mp4", segment.init));
            }
            media.push(format!("{id}/{epoch}-{}.{index}.m4s", segment.msn));
        }
    }
}
