//! What a server has against strangers: nonces that it need not remember, and a bound on answers.

use core::net::IpAddr;
use core::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use psyne_core::Time;
use sha2::Sha256;

use super::{Flow, Via};

/// Buckets, each shared by all addresses that fall into it: 32 KiB, whoever sends.
const BUCKETS: usize = 4_096;
/// Bytes of a nonce's signature, and digits of the whole.
const SIGNATURE_BYTES: usize = 8;
pub(super) const NONCE_BYTES: usize = 8 + 2 * SIGNATURE_BYTES;

/// Nonces (RFC 8489 §9.2): the second of its issue, signed for one flow.
pub(super) struct Nonces {
    key: [u8; 32],
    lifetime: Duration,
}

impl Nonces {
    pub(super) const fn new(key: [u8; 32], lifetime: Duration) -> Self {
        Self { key, lifetime }
    }

    pub(super) fn issue(&self, now: Time, flow: Flow) -> String {
        let second = second(now);
        let signature = self.mac(second, flow).finalize().into_bytes();
        let digits = signature.iter().take(SIGNATURE_BYTES).map(|byte| format!("{byte:02x}"));
        core::iter::once(format!("{second:08x}")).chain(digits).collect()
    }

    pub(super) fn is_fresh(&self, now: Time, flow: Flow, nonce: &str) -> bool {
        if nonce.len() != NONCE_BYTES || !nonce.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return false;
        }
        let (second, signature) = nonce.split_at(8);
        let Ok(issued) = u32::from_str_radix(second, 16) else { return false };
        let Ok(signature) = u64::from_str_radix(signature, 16) else { return false };
        let age = u64::from(self::second(now).saturating_sub(issued));
        let signed = self.mac(issued, flow).verify_truncated_left(&signature.to_be_bytes());
        age <= self.lifetime.as_secs() && signed.is_ok()
    }

    fn mac(&self, second: u32, flow: Flow) -> Hmac<Sha256> {
        let (kind, number) = match flow.via {
            Via::Datagrams(number) => (0_u8, number),
            Via::Stream(number) => (1, number),
        };
        Hmac::new_from_slice(&self.key)
            .expect("HMAC takes keys of any size")
            .chain_update(second.to_be_bytes())
            .chain_update([kind])
            .chain_update(number.to_be_bytes())
            .chain_update(flow.remote.to_string())
    }
}

/// A server that has run for 136 years is to be restarted.
fn second(now: Time) -> u32 {
    u32::try_from(now.as_micros() / 1_000_000).unwrap_or(u32::MAX)
}

impl core::fmt::Debug for Nonces {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Nonces")
    }
}

/// So many a second, and so many at once (GCRA, ITU-T I.371).
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// Of one piece.
    pub(super) interval: Duration,
    /// How far ahead of its time a piece may be.
    pub(super) burst: Duration,
}

impl Rate {
    pub(super) fn new(per_s: u64, burst: u64) -> Self {
        let interval = Duration::from_nanos(1_000_000_000 / per_s.max(1));
        let times = u32::try_from(burst).unwrap_or(u32::MAX);
        Self { interval, burst: interval.saturating_mul(times) }
    }

    /// Takes `pieces` from a bucket, if it has them.
    pub(super) fn take(self, bucket: &mut Time, now: Time, pieces: u32) -> bool {
        let due = (*bucket).max(now);
        if due.since(now) > self.burst {
            return false;
        }
        *bucket = due + self.interval.saturating_mul(pieces);
        true
    }
}

/// Bounds the answers to who has shown nothing yet: those to one address, and all.
pub(super) struct Strangers {
    key: [u8; 32],
    each: Rate,
    all: Rate,
    buckets: Vec<Time>,
    bucket: Time,
}

impl Strangers {
    pub(super) fn new(key: [u8; 32], each_per_s: u64, all_per_s: u64) -> Self {
        let each = Rate::new(each_per_s, 2 * each_per_s);
        let all = Rate::new(all_per_s, all_per_s / 4);
        Self { key, each, all, buckets: vec![Time::ZERO; BUCKETS], bucket: Time::ZERO }
    }

    pub(super) fn may_be_answered(&mut self, now: Time, ip: IpAddr) -> bool {
        let hash = blake3::keyed_hash(&self.key, &prefix(ip));
        let at = hash.as_bytes().iter().take(4).fold(0, |at, byte| at << 8 | usize::from(*byte));
        let Some(bucket) = self.buckets.get_mut(at % BUCKETS) else { return false };
        self.each.take(bucket, now, 1) && self.all.take(&mut self.bucket, now, 1)
    }
}

impl core::fmt::Debug for Strangers {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Strangers")
    }
}

/// What one customer of a network has: an IPv4 address, or 64 bits of an IPv6 address.
fn prefix(ip: IpAddr) -> [u8; 8] {
    let mut prefix = [0; 8];
    let octets = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    prefix.iter_mut().zip(octets).for_each(|(to, byte)| *to = byte);
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(via: u64, port: u16) -> Flow {
        Flow { via: Via::Datagrams(via), remote: ([192, 0, 2, 1], port).into() }
    }

    #[test]
    fn a_nonce_is_good_for_its_flow_and_its_time() {
        let nonces = Nonces::new([1; 32], Duration::from_secs(600));
        let now = Time::from_millis(5_000_000);
        let nonce = nonces.issue(now, flow(0, 1));
        assert_eq!(nonce.len(), NONCE_BYTES);
        assert!(nonces.is_fresh(now + Duration::from_secs(600), flow(0, 1), &nonce));
        assert!(!nonces.is_fresh(now + Duration::from_secs(601), flow(0, 1), &nonce));
        assert!(!nonces.is_fresh(now, flow(0, 2), &nonce), "another port");
        assert!(!nonces.is_fresh(now, flow(1, 1), &nonce), "another socket");
        let other = Nonces::new([2; 32], Duration::from_secs(600));
        assert!(!other.is_fresh(now, flow(0, 1), &nonce), "another server");
        for bad in ["", "0", &"é".repeat(12), &nonce.replace(['0', '1', '2'], "f")] {
            assert!(!nonces.is_fresh(now, flow(0, 1), bad), "{bad}");
        }
    }

    #[test]
    fn answers_to_an_address_are_bounded_and_so_are_all() {
        let mut strangers = Strangers::new([1; 32], 10, 1_000);
        let answered = |strangers: &mut Strangers, now, ip: IpAddr| {
            (0..1_000).filter(|_| strangers.may_be_answered(now, ip)).count()
        };
        let [one, other] = [IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2])];
        assert_eq!(answered(&mut strangers, Time::ZERO, one), 21, "a burst of two seconds");
        assert_eq!(answered(&mut strangers, Time::ZERO, other), 21);
        let later = Time::from_millis(1_000);
        assert_eq!(answered(&mut strangers, later, one), 10);
        let many = (0..1_000_u32).filter(|n| {
            let ip = IpAddr::from((0x0A00_0000 + n).to_be_bytes());
            strangers.may_be_answered(later, ip)
        });
        assert!(many.count() < 300, "a quarter of a second of all");
    }

    #[test]
    fn a_customer_with_a_prefix_is_one_stranger() {
        let mut strangers = Strangers::new([1; 32], 10, 1_000_000);
        let answered = (0..1_000_u128).filter(|n| {
            let ip = IpAddr::from((0x2001_0db8_u128 << 96 | n).to_be_bytes());
            strangers.may_be_answered(Time::ZERO, ip)
        });
        assert_eq!(answered.count(), 21);
    }
}
