//! Chooses a track's `PART-TARGET`.

/// What the target adds to whole frames: twice the rounding of a millisecond clock at each end.
const MARGIN_US: i64 = 4_000;
/// Slower pictures than one in two seconds get parts without a frame.
const TARGET_US_MAX: i64 = 2_000_000;
/// Bounds the number of parts whatever the publisher does.
const TARGET_US_MIN: i64 = 20_000;

/// The part target for frames of these lengths, and the usual length of one, in microseconds.
///
/// A part may never be longer than the target, and but for the last of its segment never shorter
/// than 85 % of it (draft §4.4.3.7). So the target is a whole number of frames, the one nearest to
/// `wanted_us`, and a little for rounding.
pub(super) fn choose(wanted_us: i64, frames_us: &mut [i64]) -> (i64, i64) {
    frames_us.sort_unstable();
    let frame_us = frames_us.get(frames_us.len() / 2).copied().unwrap_or(wanted_us).max(1);
    let frames = ((wanted_us + frame_us / 2) / frame_us).max(1);
    let target_us = (frames * frame_us + MARGIN_US + 999) / 1_000 * 1_000;
    (target_us.clamp(TARGET_US_MIN, TARGET_US_MAX), frame_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_frames_fit_every_common_rate() {
        let rates = [
            (24.0, 213_000),
            (25.0, 204_000),
            (29.97, 205_000),
            (30.0, 204_000),
            (50.0, 204_000),
            (60.0, 204_000),
            (120.0, 204_000),
            (44_100.0 / 1_024.0, 213_000),
            (46.875, 196_000),
            (44_100.0 / 2_048.0, 190_000),
            (5.0, 204_000),
            (1.0, 1_004_000),
            (0.1, 2_000_000),
        ];
        for (rate, expected) in rates {
            let frame_us = (1_000_000.0 / rate) as i64;
            let (target_us, usual_us) = choose(200_000, &mut [frame_us; 6]);
            assert_eq!((target_us, usual_us), (expected, frame_us), "{rate}");
            let part_us = (target_us / frame_us) * frame_us;
            assert!(frame_us > target_us || part_us * 100 >= target_us * 85, "{rate}");
        }
        assert_eq!(choose(200_000, &mut []), (204_000, 200_000));
        assert_eq!(choose(200_000, &mut [1, 1, 1]).0, 204_000);
        assert_eq!(choose(200_000, &mut [33_000, 34_000, 5_000_000]).0, 208_000);
    }
}
