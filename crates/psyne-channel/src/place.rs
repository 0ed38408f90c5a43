//! How far away the other side's core is, as far as lines show that arrive from it.
//!
//! On a virtual machine that changes at any time, and nobody says. Two things depend on it: how a
//! server looks for requests, and whether what is written goes through the caches or past them.

use std::time::{Duration, Instant};

/// A line that takes longer to come is far. Measured, with 25 ns for the clock: 40 to 70 ns where
/// cores share a cache, 150 to 220 where they don't.
const FAR: Duration = Duration::from_nanos(100);

/// Where the other core is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nothing was seen yet.
    #[default]
    Unknown,
    /// It shares a cache with ours.
    Near,
    /// It does not.
    Far,
}

/// What two lines in a row said: one may have been late for another reason.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Places {
    last: Place,
    agreed: Place,
}

impl Places {
    /// Where it was by the last two that agreed.
    #[inline]
    pub(crate) fn agreed(self) -> Place {
        self.agreed
    }

    /// A line that the other side had written took so long to come.
    pub(crate) fn saw(&mut self, took: Duration) {
        let place = place(took);
        if place == self.last {
            self.agreed = place;
        }
        self.last = place;
    }
}

/// Where a line came from that took so long.
pub(crate) fn place(took: Duration) -> Place {
    if took > FAR { Place::Far } else { Place::Near }
}

/// What `look` says, and how long it took. A model has no time.
#[inline]
pub(crate) fn timed<T>(look: impl FnOnce() -> T) -> (T, Duration) {
    if cfg!(loom) {
        return (look(), Duration::ZERO);
    }
    let start = Instant::now();
    let seen = look();
    (seen, start.elapsed())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn one_late_line_moves_nobody() {
        let (near, far) = (FAR / 2, FAR * 2);
        let mut places = Places::default();
        let mut seen = |took| {
            places.saw(took);
            places.agreed()
        };
        assert_eq!([near, near].map(&mut seen), [Place::Unknown, Place::Near]);
        assert_eq!([far, near, far].map(&mut seen), [Place::Near; 3]);
        assert_eq!(seen(far), Place::Far);
    }
}
