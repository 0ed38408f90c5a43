//! What a server lends to one client.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeMap;

use psyne_core::Time;

use super::{CHANNELS_TAKEN, Family, Flow, PERMISSION_LIFETIME};
use crate::stun::{Key, Transaction};

/// How long a number stays with its peer (RFC 8656 §12).
const CHANNEL_LIFETIME: Duration = Duration::from_secs(600);

/// Who holds an allocation.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) username: String,
    /// Whose quota it uses.
    pub(super) user: String,
    pub(super) key: Key,
}

#[derive(Debug)]
pub(super) struct Allocation {
    pub(super) flow: Flow,
    pub(super) caller: Caller,
    pub(super) family: Family,
    /// Of the request that made it.
    pub(super) transaction: Transaction,
    pub(super) lifetime_s: u32,
    pub(super) expires: Time,
    /// Once its socket is open.
    pub(super) relayed: Option<SocketAddr>,
    /// What it has used of its rate.
    pub(super) bucket: Time,
    permissions: BTreeMap<IpAddr, Time>,
    channels: BTreeMap<u16, (SocketAddr, Time)>,
    numbers: BTreeMap<SocketAddr, u16>,
}

impl Allocation {
    pub(super) const fn new(flow: Flow, caller: Caller, family: Family) -> Self {
        Self {
            flow,
            caller,
            family,
            transaction: [0; 12],
            lifetime_s: 0,
            expires: Time::MAX,
            relayed: None,
            bucket: Time::ZERO,
            permissions: BTreeMap::new(),
            channels: BTreeMap::new(),
            numbers: BTreeMap::new(),
        }
    }

    pub(super) fn live(&mut self, now: Time, lifetime_s: u32) {
        self.lifetime_s = lifetime_s;
        self.expires = now + Duration::from_secs(u64::from(lifetime_s));
    }

    pub(super) fn permits(&self, now: Time, ip: IpAddr) -> bool {
        self.permissions.get(&ip).is_some_and(|until| now < *until)
    }

    /// Whether there was room.
    pub(super) fn permit(&mut self, now: Time, ip: IpAddr, max: usize) -> bool {
        if !self.permissions.contains_key(&ip) && self.permissions.len() >= max {
            self.permissions.retain(|_, until| now < *until);
            if self.permissions.len() >= max {
                return false;
            }
        }
        self.permissions.insert(ip, now + PERMISSION_LIFETIME);
        true
    }

    /// Whose number this is.
    pub(super) fn peer(&self, now: Time, number: u16) -> Option<SocketAddr> {
        let (peer, until) = self.channels.get(&number)?;
        Some(*peer).filter(|_| now < *until)
    }

    /// By which number a peer is called.
    pub(super) fn number(&self, now: Time, peer: SocketAddr) -> Option<u16> {
        let number = *self.numbers.get(&peer)?;
        let (_, until) = self.channels.get(&number)?;
        (now < *until).then_some(number)
    }

    /// Gives a peer a number, and the permission that comes with it (RFC 8656 §12.2).
    ///
    /// # Errors
    /// The code to answer with: one of both is taken, or there is no room.
    pub(super) fn bind(
        &mut self,
        now: Time,
        number: u16,
        peer: SocketAddr,
        max: usize,
    ) -> Result<(), u16> {
        self.channels.retain(|_, (_, until)| now < *until);
        self.numbers.retain(|_, number| self.channels.contains_key(number));
        let taken = self.channels.get(&number).is_some_and(|(other, _)| *other != peer);
        let named = self.numbers.get(&peer).is_some_and(|other| *other != number);
        if !CHANNELS_TAKEN.contains(&number) || taken || named {
            return Err(400);
        }
        if !self.channels.contains_key(&number) && self.channels.len() >= max
            || !self.permit(now, peer.ip(), max)
        {
            return Err(508);
        }
        self.channels.insert(number, (peer, now + CHANNEL_LIFETIME));
        self.numbers.insert(peer, number);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Via;
    use super::*;

    fn peer(n: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, n as u8], 1_000 + n))
    }

    fn allocation() -> Allocation {
        let flow = Flow { via: Via::Datagrams(0), remote: peer(99) };
        let key = Key::long_term("u", "r", "p");
        let caller = Caller { username: "u".into(), user: "u".into(), key };
        Allocation::new(flow, caller, Family::V4)
    }

    #[test]
    fn permissions_end_and_make_room() {
        let mut allocation = allocation();
        let granted = (0..10).filter(|n| allocation.permit(Time::ZERO, peer(*n).ip(), 4)).count();
        assert_eq!(granted, 4);
        assert!(allocation.permits(Time::from_millis(299_999), peer(0).ip()));
        let end = Time::from_millis(300_000);
        assert!(!allocation.permits(end, peer(0).ip()));
        assert!(allocation.permit(end, peer(9).ip(), 4));
        assert_eq!(allocation.permissions.len(), 1);
    }

    #[test]
    fn a_number_and_a_peer_belong_to_each_other_until_they_end() {
        let mut allocation = allocation();
        let now = Time::ZERO;
        assert_eq!(allocation.bind(now, 0x4000, peer(1), 2), Ok(()));
        assert_eq!(allocation.bind(now, 0x4000, peer(1), 2), Ok(()), "again");
        assert_eq!(allocation.bind(now, 0x4000, peer(2), 2), Err(400));
        assert_eq!(allocation.bind(now, 0x4001, peer(1), 2), Err(400));
        for number in [0x3FFF, 0x7FFF] {
            assert_eq!(allocation.bind(now, number, peer(2), 2), Err(400));
        }
        assert_eq!(allocation.bind(now, 0x4FFF, peer(2), 2), Ok(()));
        assert_eq!(allocation.bind(now, 0x4001, peer(3), 2), Err(508));
        let late = Time::from_millis(599_999);
        assert_eq!(allocation.peer(late, 0x4000), Some(peer(1)));
        assert_eq!(allocation.number(late, peer(1)), Some(0x4000));
        let end = Time::from_millis(600_000);
        assert_eq!((allocation.peer(end, 0x4000), allocation.number(end, peer(1))), (None, None));
        assert_eq!(allocation.bind(end, 0x4000, peer(3), 2), Ok(()));
    }
}
