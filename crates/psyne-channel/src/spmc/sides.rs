//! Who is at the other side: threads of this process, by one board, or other processes.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::claim::{Hall, In, Out, Take};
use crate::crowd::Waiter;
use crate::{Error, Message, Reason, team};

/// Those who receive, as a sender waits for them and wakes them.
#[derive(Debug)]
pub(crate) enum Receivers {
    Here { hall: Arc<Hall>, member: Waiter },
    There(team::Receivers),
}

impl Receivers {
    /// Whether there is room for so many. That there is somebody to make it matters only if not,
    /// but for news of other processes.
    ///
    /// # Errors
    /// `Closed`, `PeerDied`, `Corrupt`.
    #[inline]
    pub(crate) fn look(&mut self, out: &mut Out, count: u64) -> Result<bool, Error> {
        match self {
            Self::Here { hall, .. } => look(hall, out, count),
            Self::There(team) => team.look(out, count),
        }
    }

    /// Waits until there is room.
    ///
    /// # Errors
    /// The same, `TimedOut`.
    pub(crate) fn block(
        &mut self,
        out: &mut Out,
        count: u64,
        limit: Option<Instant>,
    ) -> Result<(), Error> {
        match self {
            Self::Here { hall, member } => {
                member.block(limit, || Ok(look(hall, out, count)?.then_some(())))
            }
            Self::There(team) => team.block(out, count, limit),
        }
    }

    /// The same for one message of a task.
    pub(crate) fn poll(&mut self, out: &mut Out, context: &Context<'_>) -> Poll<Result<(), Error>> {
        match self {
            Self::Here { hall, member } => {
                member.poll(context, || Ok(look(hall, out, 1)?.then_some(())))
            }
            Self::There(team) => team.poll(out, context),
        }
    }

    /// A task waits no more.
    pub(crate) fn forget(&mut self) {
        match self {
            Self::Here { member, .. } => member.forget(),
            Self::There(team) => team.forget(),
        }
    }

    /// After so many were published: wakes as many who sleep.
    ///
    /// # Errors
    /// `Closed` if there is nobody, and nobody can come.
    #[inline]
    pub(crate) fn notify(&mut self, count: u64) -> Result<(), Error> {
        match self {
            Self::Here { hall, member } => {
                member.kept_up();
                hall.receivers.notify(count)
            }
            Self::There(team) => {
                team.notify(count);
                Ok(())
            }
        }
    }

    /// How many there are.
    pub(crate) fn count(&mut self) -> usize {
        match self {
            Self::Here { hall, .. } => hall.receivers.len(),
            Self::There(team) => team.count(),
        }
    }

    /// Messages that receivers which died may have had in hand.
    pub(crate) fn lost(&self) -> u64 {
        match self {
            Self::Here { .. } => 0,
            Self::There(team) => team.lost(),
        }
    }

    /// Waits and sleeps.
    pub(crate) fn counts(&self) -> (u64, u64) {
        match self {
            Self::Here { member, .. } => member.counts(),
            Self::There(team) => team.counts(),
        }
    }

    /// The sender ends.
    pub(crate) fn leave(&mut self, out: &Out) {
        if let Self::Here { hall, member } = self {
            // First, so that whoever has its number next finds the ring as it is.
            hall.leave(member.index(), out);
            member.leave();
            hall.receivers.notify_these(u64::MAX);
        }
    }
}

#[inline]
fn look(hall: &Hall, out: &mut Out, count: u64) -> Result<bool, Error> {
    if out.has_room(count)? {
        return Ok(true);
    }
    match hall.receivers.is_empty() {
        true => Err(Error::Closed(Reason::Finished)),
        false => Ok(false),
    }
}

/// Those who send, as a receiver takes from them, waits for them and wakes them.
#[derive(Debug)]
pub(crate) enum Senders {
    Here { hall: Arc<Hall>, rings: In, member: Waiter },
    There(team::Senders),
}

impl Senders {
    /// Looks for something to take, and takes it.
    ///
    /// # Errors
    /// `Corrupt`; of other processes also `Closed`, `PeerDied`.
    #[inline]
    pub(crate) fn find<R>(
        &mut self,
        take: impl FnMut(&mut Take, bool) -> Result<Option<R>, Error>,
    ) -> Result<Option<R>, Error> {
        match self {
            Self::Here { rings, member, .. } => {
                let found = rings.find(take);
                member.kept_up();
                found
            }
            Self::There(team) => team.find(take),
        }
    }

    /// Takes the next message, if there is no reason to look for another. Then there was no reason
    /// to sleep either.
    #[inline]
    pub(crate) fn one_now<T: Message>(&mut self, message: &mut T) -> bool {
        match self {
            Self::Here { rings, member, .. } => {
                let taken = rings.one_now(message);
                if taken {
                    member.kept_up();
                }
                taken
            }
            Self::There(_) => false,
        }
    }

    /// As [`find`](Self::find) where nothing was found: a good moment to say so, and to see whether
    /// anybody is left.
    ///
    /// # Errors
    /// `Closed`, `PeerDied`, `Corrupt`.
    pub(crate) fn find_again<R>(
        &mut self,
        take: impl FnMut(&mut Take, bool) -> Result<Option<R>, Error>,
    ) -> Result<Option<R>, Error> {
        match self {
            Self::Here { rings, .. } => {
                rings.tell();
                rings.look(take)
            }
            Self::There(team) => team.check().map(|()| None),
        }
    }

    /// The next look begins with the next sender.
    pub(crate) fn end_turn(&mut self) {
        match self {
            Self::Here { rings, .. } => rings.end_turn(),
            Self::There(team) => team.end_turn(),
        }
    }

    /// Waits for something to take.
    ///
    /// # Errors
    /// `Closed`, `PeerDied`, `Corrupt`, `TimedOut`.
    pub(crate) fn block<R>(
        &mut self,
        limit: Option<Instant>,
        mut take: impl FnMut(&mut Take, bool) -> Result<Option<R>, Error>,
    ) -> Result<R, Error> {
        match self {
            Self::Here { rings, member, .. } => {
                rings.tell();
                member.block(limit, || rings.look(&mut take))
            }
            Self::There(team) => team.block(limit, take),
        }
    }

    /// The same for a task. Who does not only look has to [`settle`](Self::settle) then.
    pub(crate) fn poll<R>(
        &mut self,
        context: &Context<'_>,
        mut take: impl FnMut(&mut Take, bool) -> Result<Option<R>, Error>,
    ) -> Poll<Result<R, Error>> {
        match self {
            Self::Here { rings, member, .. } => member.poll(context, || rings.look(&mut take)),
            Self::There(team) => team.poll(context, take),
        }
    }

    /// A task took something.
    pub(crate) fn settle(&mut self) {
        if let Self::There(team) = self {
            team.settle();
        }
    }

    /// A task waits no more.
    pub(crate) fn forget(&mut self) {
        match self {
            Self::Here { member, .. } => member.forget(),
            Self::There(team) => team.forget(),
        }
    }

    /// Messages that are there at most.
    pub(crate) fn slots(&mut self) -> u64 {
        match self {
            Self::Here { rings, .. } => rings.slots(),
            Self::There(team) => team.slots(),
        }
    }

    /// Waits and sleeps.
    pub(crate) fn counts(&self) -> (u64, u64) {
        match self {
            Self::Here { member, .. } => member.counts(),
            Self::There(team) => team.counts(),
        }
    }

    /// The receiver ends.
    pub(crate) fn leave(&mut self) {
        if let Self::Here { rings, member, .. } = self {
            member.leave();
            rings.tell();
        }
    }
}
