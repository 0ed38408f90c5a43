//! What a sender does about a full channel, whatever the channel is.

use std::time::Duration;

use crate::{Error, Full, Verdict};

/// A channel that had no room.
pub(crate) trait Door {
    /// Whether there is room now; `Closed` if there will be none.
    fn look(&mut self) -> Result<bool, Error>;
    /// Waits for room, at most so long: then `TimedOut`.
    fn block(&mut self, time: Option<Duration>) -> Result<(), Error>;
}

/// Waits for room, or says why there is none, as was agreed.
#[cold]
pub(crate) fn make_room(full: &Full, door: &mut impl Door) -> Result<(), Error> {
    match full {
        Full::Block => door.block(None),
        Full::BlockFor(time) => door.block(Some(*time)),
        Full::Refuse => look(door),
        Full::Retry { times, pause } => {
            for time in 0..*times {
                if waited(door.block(Some(pause.saturating_mul(1 << time.min(20)))))? {
                    return Ok(());
                }
            }
            Err(Error::Full)
        }
        Full::Ask(ask) => {
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
    }
}

fn look(door: &mut impl Door) -> Result<(), Error> {
    if door.look()? { Ok(()) } else { Err(Error::Full) }
}

/// Whether waiting ended because there is room.
fn waited(result: Result<(), Error>) -> Result<bool, Error> {
    match result {
        Ok(()) => Ok(true),
        Err(Error::TimedOut) => Ok(false),
        Err(error) => Err(error),
    }
}
