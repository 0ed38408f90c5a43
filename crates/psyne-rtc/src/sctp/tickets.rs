//! Messages that are not tried for ever (RFC 3758; RFC 7496, 3 and 4): limits, and whether they
//! were reached. A message's fragments share one, so giving up is O(1) however many are in flight.

use psyne_core::Time;

use super::streams::{NO_TICKET, Ticket};
use crate::association::Reliability;

#[derive(Debug)]
struct Limits {
    expires: Option<Time>,
    repeats_max: u32,
    given_up: bool,
    /// Fragments in flight, and one while some have not left.
    holders: u32,
}

/// The limits of all messages that have some, by ticket.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    all: Vec<Limits>,
    free: Vec<Ticket>,
}

impl Tickets {
    /// A ticket for a new message, held once; [`NO_TICKET`] for one without limits.
    pub(super) fn issue(&mut self, now: Time, reliability: Reliability) -> Ticket {
        let (expires, repeats_max) = match reliability {
            Reliability::Reliable => return NO_TICKET,
            Reliability::Retransmits(repeats) => (None, repeats),
            Reliability::Lifetime(life) => (Some(now + life), u32::MAX),
        };
        let limits = Limits { expires, repeats_max, given_up: false, holders: 1 };
        if let Some(ticket) = self.free.pop() {
            self.all[ticket as usize] = limits;
            return ticket;
        }
        self.all.push(limits);
        u32::try_from(self.all.len() - 1).expect("the send buffer bounds the messages")
    }

    pub(super) fn expires(&self, ticket: Ticket) -> Option<Time> {
        self.all.get(ticket as usize)?.expires
    }

    pub(super) fn hold(&mut self, ticket: Ticket) {
        if let Some(limits) = self.all.get_mut(ticket as usize) {
            limits.holders += 1;
        }
    }

    pub(super) fn release(&mut self, ticket: Ticket) {
        if let Some(limits) = self.all.get_mut(ticket as usize) {
            limits.holders -= 1;
            if limits.holders == 0 {
                self.free.push(ticket);
            }
        }
    }

    pub(super) fn is_given_up(&self, ticket: Ticket) -> bool {
        self.all.get(ticket as usize).is_some_and(|limits| limits.given_up)
    }

    /// Whether a fragment that was sent `sends` times and is lost is not to be sent again.
    pub(super) fn gives_up(&mut self, ticket: Ticket, sends: u32, now: Time) -> Verdict {
        let Some(limits) = self.all.get_mut(ticket as usize) else { return Verdict::Again };
        if limits.given_up {
            return Verdict::Known;
        }
        let late = limits.expires.is_some_and(|time| time <= now);
        if !late && sends <= limits.repeats_max {
            return Verdict::Again;
        }
        limits.given_up = true;
        Verdict::Fresh
    }
}

/// What becomes of a lost fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Again,
    /// Its message is given up, now.
    Fresh,
    /// Its message was given up before.
    Known,
}
