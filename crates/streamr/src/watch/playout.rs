//! A player without a screen: plays what has arrived in real time and counts where it ran dry.

use std::collections::VecDeque;

/// Simulated play-out of one presentation timeline. Times are microseconds: `now_us` on the
/// viewer's monotonic clock, `*_us` of media on the presentation timeline.
#[derive(Debug)]
pub(super) struct Playout {
    hold_us: i64,
    state: State,
    ends_us: [Option<i64>; 2],
    stalls: Vec<u64>,
    waiting: VecDeque<Waiting>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was played yet.
    Starting,
    /// Media time minus the viewer's clock.
    Playing { offset_us: i64 },
    /// Ran dry at this media time, since then.
    Stalled { at_us: i64, since_us: i64 },
}

/// A stamped frame that has arrived and waits to be shown.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    pts_us: i64,
    sent_unix_us: u64,
}

/// Stamped frames that may wait to be shown: a minute at 60 frames a second; older ones are
/// forgotten first, which only costs samples.
const WAITING_MAX: usize = 3_600;

impl Playout {
    /// A player that starts `hold_us` behind the newest media and resumes after a stall when it
    /// has as much again.
    pub(super) fn new(hold_us: i64) -> Self {
        Self {
            hold_us,
            state: State::Starting,
            ends_us: [None; 2],
            stalls: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    /// Media of one track (0 picture, 1 sound) is there up to `end_us`. `tracks` is how many
    /// tracks have to be there before anything plays.
    pub(super) fn handle_media(&mut self, now_us: i64, track: usize, end_us: i64, tracks: usize) {
        self.handle_time(now_us);
        if let Some(end) = self.ends_us.get_mut(track) {
            *end = Some(end.map_or(end_us, |old| old.max(end_us)));
        }
        let Some(end_us) = self.playable_end_us(tracks) else { return };
        match self.state {
            State::Starting => {
                self.state = State::Playing { offset_us: end_us - self.hold_us - now_us };
            }
            State::Stalled { at_us, since_us } if end_us - at_us >= self.hold_us => {
                self.stalls.push(u64::try_from(now_us - since_us).unwrap_or(0));
                self.state = State::Playing { offset_us: at_us - now_us };
            }
            State::Stalled { .. } | State::Playing { .. } => {}
        }
    }

    /// A frame shown at `pts_us` carries the time it was sent at.
    pub(super) fn handle_stamp(&mut self, pts_us: i64, sent_unix_us: u64) {
        if self.waiting.len() == WAITING_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back(Waiting { pts_us, sent_unix_us });
    }

    /// Time passes: the playhead moves, and stops where the media ends.
    pub(super) fn handle_time(&mut self, now_us: i64) {
        let State::Playing { offset_us } = self.state else { return };
        let tracks = self.ends_us.iter().flatten().count();
        let Some(end_us) = self.playable_end_us(tracks) else { return };
        if now_us + offset_us > end_us {
            self.state = State::Stalled { at_us: end_us, since_us: end_us - offset_us };
        }
    }

    /// Timestamps start anew, and the player with them.
    pub(super) fn handle_discontinuity(&mut self) {
        self.state = State::Starting;
        self.ends_us = [None; 2];
        self.waiting.clear();
    }

    /// Stamps of the frames shown until now, as (when it was shown, when it was sent), the first
    /// on the viewer's clock.
    pub(super) fn poll_shown(&mut self, now_us: i64) -> Option<(i64, u64)> {
        let State::Playing { offset_us } = self.state else { return None };
        let at = self.waiting.iter().position(|frame| frame.pts_us - offset_us <= now_us)?;
        let frame = self.waiting.remove(at)?;
        Some((frame.pts_us - offset_us, frame.sent_unix_us))
    }

    /// Something is being, or was, shown.
    pub(super) fn started(&self) -> bool {
        self.state != State::Starting
    }

    /// Lengths of the stalls until `now_us`, in microseconds; the one that lasts counts.
    pub(super) fn stalls_us(&self, now_us: i64) -> Vec<u64> {
        let mut all = self.stalls.clone();
        if let State::Stalled { since_us, .. } = self.state {
            all.push(u64::try_from(now_us - since_us).unwrap_or(0));
        }
        all
    }

    fn playable_end_us(&self, tracks: usize) -> Option<i64> {
        let ends = self.ends_us.iter().flatten();
        (ends.clone().count() >= tracks.max(1)).then(|| ends.min().copied())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000;

    #[test]
    fn steady_media_plays_without_a_stall() {
        let mut playout = Playout::new(600 * MS);
        for part in 1..100 {
            let now = part * 200 * MS;
            playout.handle_media(now, 0, 5_000 * MS + now, 2);
            playout.handle_media(now, 1, 5_000 * MS + now, 2);
        }
        assert!(playout.started());
        assert_eq!(playout.stalls_us(100 * 200 * MS), Vec::<u64>::new());
    }

    #[test]
    fn it_stalls_where_the_shorter_track_ends_and_goes_on_from_there() {
        let mut playout = Playout::new(500 * MS);
        playout.handle_media(0, 0, 5_000 * MS, 2);
        assert!(!playout.started());
        playout.handle_media(0, 1, 1_000 * MS, 2);
        playout.handle_time(700 * MS);
        playout.handle_media(800 * MS, 1, 1_100 * MS, 2);
        assert_eq!(playout.stalls_us(800 * MS), [300_000]);
        playout.handle_media(900 * MS, 1, 1_600 * MS, 2);
        assert_eq!(playout.stalls_us(2_000 * MS), [400_000]);
    }

    #[test]
    fn a_stamped_frame_is_shown_when_the_playhead_reaches_it() {
        let mut playout = Playout::new(500 * MS);
        playout.handle_media(0, 0, 1_000 * MS, 1);
        playout.handle_stamp(700 * MS, 42);
        assert_eq!(playout.poll_shown(199 * MS), None);
        assert_eq!(playout.poll_shown(300 * MS), Some((200 * MS, 42)));
        assert_eq!(playout.poll_shown(300 * MS), None);
    }

    #[test]
    fn waiting_stamps_are_bounded() {
        let mut playout = Playout::new(0);
        for pts_us in 0..2 * WAITING_MAX as i64 {
            playout.handle_stamp(pts_us, 1);
        }
        assert_eq!(playout.waiting.len(), WAITING_MAX);
    }
}
