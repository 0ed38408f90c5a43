//! Puts the tracks of one sender in step.

use super::Report;

/// How much of a track's own progress may be added or taken away to bring it into step: 5 % is
/// faster than any clock drifts, and nobody sees it.
const SLEW: i64 = 20;
/// What a sender claims beyond that is a mistake, and is not followed.
const SHIFT_US_MAX: i64 = 2_000_000;

/// The clock of one track. A track begins at the time at which it arrived. Sender reports say later
/// how far that is from being in step with sound, and the distance is made up slowly. Sound itself
/// is never moved: players hear that.
#[derive(Debug)]
pub(super) struct Clock {
    ticks_per_second: i64,
    begun: Option<Begun>,
    report: Option<Report>,
}

#[derive(Debug, Clone, Copy)]
struct Begun {
    ticks: u64,
    at_us: i64,
    /// What has been made up so far.
    shift_us: i64,
    newest_us: i64,
}

impl Clock {
    pub(super) const fn new(ticks_per_second: u32) -> Self {
        Self { ticks_per_second: ticks_per_second as i64, begun: None, report: None }
    }

    /// The time of a frame, in microseconds of the clock on which `arrived_us` was read.
    pub(super) fn time_us(&mut self, ticks: u64, arrived_us: i64, master: Option<&Self>) -> i64 {
        let fresh = Begun { ticks, at_us: arrived_us, shift_us: 0, newest_us: arrived_us };
        let mut begun = *self.begun.get_or_insert(fresh);
        let raw_us = begun.at_us.saturating_add(self.since_us(begun.ticks, ticks));
        if let Some(wanted) = master.and_then(|master| self.wanted_shift_us(master)) {
            let passed_us = raw_us.saturating_add(begun.shift_us) - begun.newest_us;
            let most = (passed_us / SLEW).max(0);
            begun.shift_us += (wanted - begun.shift_us).clamp(-most, most);
        }
        let time_us = raw_us.saturating_add(begun.shift_us);
        begun.newest_us = time_us;
        self.begun = Some(begun);
        time_us
    }

    pub(super) fn set_report(&mut self, report: Option<Report>) {
        self.report = report.or(self.report);
    }

    /// How far this track has to be moved to be in step with `master`, by what the sender says.
    fn wanted_shift_us(&self, master: &Self) -> Option<i64> {
        // Times of day for which each track says zero.
        let (ours, theirs) = (self.origin_us()?, master.origin_us()?);
        let wanted = ours.checked_sub(theirs)?;
        (-SHIFT_US_MAX..=SHIFT_US_MAX).contains(&wanted).then_some(wanted)
    }

    /// The sender's time of day at which this track's times, unmoved, are 0.
    fn origin_us(&self) -> Option<i64> {
        let (begun, report) = (self.begun?, self.report?);
        let at_us = begun.at_us.checked_add(self.since_us(begun.ticks, report.ticks))?;
        report.unix_us.checked_sub(at_us)
    }

    fn since_us(&self, from: u64, to: u64) -> i64 {
        let ticks = i128::from(to) - i128::from(from);
        let us = ticks * 1_000_000 / i128::from(self.ticks_per_second);
        i64::try_from(us).unwrap_or(if us < 0 { i64::MIN / 4 } else { i64::MAX / 4 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIX_US: i64 = 1_700_000_000_000_000;

    /// Sound arrives at once, pictures 80 ms after they were taken: reports say so, and both are in
    /// step a little later, without a jump.
    #[test]
    fn pictures_come_into_step_with_sound_slowly() {
        let (mut audio, mut video) = (Clock::new(48_000), Clock::new(90_000));
        let (audio_base, video_base) = (7_000_000_u64, u64::from(u32::MAX));
        let mut last = i64::MIN;
        for frame in 0..300_i64 {
            let at_us = frame * 20_000;
            let audio_ticks = audio_base + (frame as u64) * 960;
            let video_ticks = video_base + (frame as u64) * 1_800;
            if frame == 10 {
                audio.set_report(Some(Report { unix_us: UNIX_US + at_us, ticks: audio_ticks }));
                video.set_report(Some(Report { unix_us: UNIX_US + at_us, ticks: video_ticks }));
            }
            let heard_us = audio.time_us(audio_ticks, at_us, None);
            let seen_us = video.time_us(video_ticks, at_us + 80_000, Some(&audio));
            assert_eq!(heard_us, at_us);
            let step_us = seen_us.saturating_sub(last);
            assert!(frame == 0 || (18_900..=21_100).contains(&step_us), "{frame}: {step_us}");
            last = seen_us;
            let apart_us = seen_us - heard_us;
            match frame {
                0..10 => assert_eq!(apart_us, 80_000),
                100.. => assert!(apart_us.abs() <= 1, "{frame}: {apart_us}"),
                _ => {}
            }
        }
    }

    #[test]
    fn nonsense_from_a_sender_moves_nothing_and_breaks_nothing() {
        for (unix_us, ticks) in [
            (0, 0),
            (i64::MAX, u64::MAX),
            (i64::MIN, 0),
            (i64::MAX, 0),
            (UNIX_US + 10_000_000, 90_000),
        ] {
            let (mut audio, mut video) = (Clock::new(48_000), Clock::new(90_000));
            audio.set_report(Some(Report { unix_us: UNIX_US, ticks: 0 }));
            video.set_report(Some(Report { unix_us, ticks }));
            audio.time_us(0, 0, None);
            for frame in 0..100 {
                let ticks = frame * 3_000;
                let at_us = video.time_us(ticks, 0, Some(&audio));
                assert_eq!(at_us, (frame as i64) * 100_000 / 3, "{unix_us} {ticks}");
            }
            video.time_us(u64::MAX, 0, Some(&audio));
            video.time_us(0, 0, Some(&audio));
        }
    }
}
