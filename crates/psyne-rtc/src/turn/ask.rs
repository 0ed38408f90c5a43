//! Requests that wait for their answers (RFC 8489 §6.2).

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use bytes::Bytes;
use psyne_core::Time;

use crate::stun::Transaction;

/// How long the first sending waits for its answer; each later one twice as long.
const RTO: Duration = Duration::from_millis(500);
/// Times that a datagram is sent.
const SENDINGS_MAX: u32 = 7;
/// The last of them waits for so many times the first.
const LAST_WAITS: u32 = 16;
/// How long a request on a stream waits: as long as all those datagrams.
const STREAM_WAIT: Duration = Duration::from_millis(39_500);

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Allocate,
    Refresh { seconds: u32 },
    Permit(IpAddr),
    Bind(u16, SocketAddr),
}

/// A request that waits.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) ask: Ask,
    transaction: Transaction,
    bytes: Bytes,
    sendings: u32,
    next: Time,
    /// It showed a user and a nonce.
    pub(super) signed: bool,
    /// How often it was asked anew because its nonce was stale.
    pub(super) renewed: u32,
}

/// What time has brought.
pub(super) enum Due {
    Again(Bytes),
    Over(Ask),
}

/// All that wait. As many as there are permissions and channels, and one for the allocation.
#[derive(Debug)]
pub(super) struct Asks {
    stream: bool,
    pending: Vec<Pending>,
}

impl Asks {
    pub(super) const fn new(stream: bool) -> Self {
        Self { stream, pending: Vec::new() }
    }

    pub(super) fn begin(&mut self, now: Time, ask: Ask, request: Request) {
        let Request { transaction, bytes, signed, renewed } = request;
        let next = now + if self.stream { STREAM_WAIT } else { RTO };
        let sendings = 1;
        self.pending.push(Pending { ask, transaction, bytes, sendings, next, signed, renewed });
    }

    pub(super) fn find(&self, transaction: &Transaction) -> Option<&Pending> {
        self.pending.iter().find(|pending| pending.transaction == *transaction)
    }

    /// It has its answer.
    pub(super) fn end(&mut self, transaction: &Transaction) {
        self.pending.retain(|pending| pending.transaction != *transaction);
    }

    pub(super) fn clear(&mut self) {
        self.pending.clear();
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.pending.iter().map(|pending| pending.next).min()
    }

    /// One that has waited long enough.
    pub(super) fn due(&mut self, now: Time) -> Option<Due> {
        let at = self.pending.iter().position(|pending| pending.next <= now)?;
        let stream = self.stream;
        let pending = self.pending.get_mut(at)?;
        if stream || pending.sendings >= SENDINGS_MAX {
            return Some(Due::Over(self.pending.swap_remove(at).ask));
        }
        pending.sendings += 1;
        let last = pending.sendings == SENDINGS_MAX;
        let times = if last { LAST_WAITS } else { 1 << (pending.sendings - 1) };
        pending.next = now + RTO * times;
        Some(Due::Again(pending.bytes.clone()))
    }
}

/// A request as it is sent.
pub(super) struct Request {
    pub(super) transaction: Transaction,
    pub(super) bytes: Bytes,
    pub(super) signed: bool,
    pub(super) renewed: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(stream: bool) -> (Vec<u64>, u64) {
        let mut asks = Asks::new(stream);
        let bytes = Bytes::from_static(b"?");
        let request = Request { transaction: [1; 12], bytes, signed: false, renewed: 0 };
        asks.begin(Time::ZERO, Ask::Allocate, request);
        let mut again = vec![];
        loop {
            let now = asks.next().expect("it waits");
            match asks.due(now).expect("its time has come") {
                Due::Again(_) => again.push(now.as_micros() / 1_000),
                Due::Over(_) => return (again, now.as_micros() / 1_000),
            }
        }
    }

    #[test]
    fn datagrams_are_sent_again_as_the_rfc_says_and_streams_are_not() {
        assert_eq!(times(false), (vec![500, 1_500, 3_500, 7_500, 15_500, 31_500], 39_500));
        assert_eq!(times(true), (vec![], 39_500));
    }
}
