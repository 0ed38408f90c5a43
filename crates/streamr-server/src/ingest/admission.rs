//! How many connections may stand: in total, and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts the connections of one listener.
#[derive(Clone, Debug)]
pub(crate) struct Admission(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    connections_max: usize,
    per_address_max: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A place among the connections; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    shared: Arc<Shared>,
    address: IpAddr,
}

/// Why a connection was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    /// The listener has as many connections as it may have.
    #[error("connections_max reached")]
    Total,
    /// This address has as many connections as one address may have.
    #[error("connections_per_address_max reached")]
    Address,
}

impl Admission {
    pub(crate) fn new(connections_max: usize, per_address_max: usize) -> Self {
        let counts = Mutex::default();
        Self(Arc::new(Shared { connections_max, per_address_max, counts }))
    }

    /// A place for a connection from `address`. Loopback is bounded by the total only: a proxy or
    /// the ladder in front of many streams is one address.
    pub(crate) fn admit(&self, address: IpAddr) -> Result<Permit, Full> {
        let mut counts = self.0.counts();
        if counts.total >= self.0.connections_max {
            return Err(Full::Total);
        }
        let here = counts.by_address.entry(address).or_default();
        if *here >= self.0.per_address_max && !address.is_loopback() {
            return Err(Full::Address);
        }
        *here += 1;
        counts.total += 1;
        Ok(Permit { shared: self.0.clone(), address })
    }
}

impl Shared {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.shared.counts();
        counts.total -= 1;
        if let Some(here) = counts.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn both_limits_hold_and_places_come_back() {
        let admission = Admission::new(3, 2);
        let [a, b] = [1, 2].map(|n| IpAddr::from(Ipv4Addr::new(192, 0, 2, n)));
        let first = admission.admit(a).expect("room");
        let _second = admission.admit(a).expect("room");
        assert_eq!(admission.admit(a).expect_err("one address is full"), Full::Address);
        let _third = admission.admit(b).expect("room");
        assert_eq!(admission.admit(b).expect_err("the listener is full"), Full::Total);
        drop(first);
        admission.admit(a).expect("room again");
        assert_eq!(admission.0.counts().by_address.len(), 2);
    }

    #[test]
    fn loopback_is_bounded_by_the_total_only() {
        let admission = Admission::new(3, 1);
        let local = IpAddr::from(Ipv4Addr::LOCALHOST);
        let held: Vec<_> = (0..3).map(|_| admission.admit(local).expect("room")).collect();
        assert_eq!(admission.admit(local).expect_err("full"), Full::Total);
        drop(held);
        assert!(admission.0.counts().by_address.is_empty());
    }
}
