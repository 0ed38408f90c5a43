//! What a sender does about a full channel, whatever the channel is.

use std::time::{Duration, Instant};

use crate::{Ask, Error, Full, Verdict};

/// A channel that had no room.
pub(crate) trait Door {
    /// Whether there is room now; `Closed` if there will be none.
    fn look(&mut self) -> Result<bool, Error>;
    /// Waits for room, at most so long: then `TimedOut`.
    fn block(&mut self, time: Option<Duration>) -> Result<(), Error>;
}

/// How often `Full::Adaptive` waits longer than usual before it gives up: a receiver that is late
/// now and then is waited for.
const PATIENCE: u32 = 4;
/// What `Full::Adaptive` waits at least: less than spinning is no waiting, and it could never learn
/// that the receiver is back.
const USUAL_MIN: Duration = Duration::from_micros(2);

/// What was agreed on, and what was learnt since.
#[derive(Debug)]
pub(crate) struct Policy {
    full: Full,
    /// How long it took lately until there was room.
    usual: Duration,
    refused: u64,
}

impl Policy {
    pub(crate) fn new(full: &Full) -> Self {
        let usual = match full {
            Full::Adaptive { longest } => *longest / PATIENCE,
            _ => Duration::ZERO,
        };
        Self { full: full.clone(), usual, refused: 0 }
    }

    /// Messages that a full channel refused.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// Waits for room, or says why there is none, as was agreed.
    #[cold]
    pub(crate) fn make_room(&mut self, door: &mut impl Door) -> Result<(), Error> {
        let result = match &self.full {
            Full::Block => door.block(None),
            Full::BlockFor(time) => door.block(Some(*time)),
            Full::Refuse => look(door),
            Full::Retry { times, pause } => retry(door, *times, *pause),
            Full::Ask(ask) => consult(door, ask),
            Full::Adaptive { longest } => {
                let (result, usual) = adapt(door, self.usual, *longest);
                self.usual = usual;
                result
            }
        };
        self.refused += u64::from(result == Err(Error::Full));
        result
    }
}

fn look(door: &mut impl Door) -> Result<(), Error> {
    if door.look()? { Ok(()) } else { Err(Error::Full) }
}

fn retry(door: &mut impl Door, times: u32, pause: Duration) -> Result<(), Error> {
    for time in 0..times {
        if waited(door.block(Some(pause.saturating_mul(1 << time.min(20)))))? {
            return Ok(());
        }
    }
    Err(Error::Full)
}

fn consult(door: &mut impl Door, ask: &Ask) -> Result<(), Error> {
    let mut times = 0;
    while !door.look()? {
        times += 1;
        match ask.decide(times) {
            Verdict::Again => {}
            Verdict::Refuse => return Err(Error::Full),
            Verdict::WaitFor(time) => {
                if waited(door.block(Some(time)))? {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// Waits in proportion to what is usual: the result, and what is usual now.
fn adapt(
    door: &mut impl Door,
    usual: Duration,
    longest: Duration,
) -> (Result<(), Error>, Duration) {
    let start = Instant::now();
    match waited(door.block(Some((usual * PATIENCE).min(longest)))) {
        Ok(true) => (Ok(()), ((usual * 7 + start.elapsed()) / 8).max(USUAL_MIN)),
        Ok(false) => (Err(Error::Full), (usual / 2).max(USUAL_MIN)),
        Err(error) => (Err(error), usual),
    }
}

/// Whether waiting ended because there is room.
fn waited(result: Result<(), Error>) -> Result<bool, Error> {
    match result {
        Ok(()) => Ok(true),
        Err(Error::TimedOut) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Room comes so long after it was asked for; how long was waited is noted.
    struct Late(Duration, Vec<Duration>);

    impl Door for Late {
        fn look(&mut self) -> Result<bool, Error> {
            Ok(false)
        }

        fn block(&mut self, time: Option<Duration>) -> Result<(), Error> {
            let time = time.expect("it never waits for ever");
            self.1.push(time);
            if self.0 <= time {
                std::thread::sleep(self.0);
                return Ok(());
            }
            Err(Error::TimedOut)
        }
    }

    #[test]
    fn patience_follows_the_receiver() {
        let longest = Duration::from_millis(4);
        let mut policy = Policy::new(&Full::Adaptive { longest });
        // It never comes: less and less is lost to it, down to a floor.
        let mut gone = Late(Duration::MAX, Vec::new());
        for _ in 0..20 {
            assert_eq!(policy.make_room(&mut gone), Err(Error::Full));
        }
        assert_eq!((gone.1[0], gone.1[1]), (longest, longest / 2));
        assert_eq!(gone.1[19], USUAL_MIN * PATIENCE);
        assert_eq!(policy.refused(), 20);
        // It is back and quick: waited for. Then slower by little and little, up to the longest.
        let mut back = Late(Duration::ZERO, Vec::new());
        assert_eq!(policy.make_room(&mut back), Ok(()));
        for _ in 0..200 {
            let allowed = (policy.usual * PATIENCE).min(longest);
            back.0 = allowed.min(longest / 2);
            assert_eq!(policy.make_room(&mut back), Ok(()));
        }
        assert_eq!(back.1.iter().max(), Some(&longest));
    }
}
