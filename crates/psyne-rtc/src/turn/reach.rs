//! Where a server sends for its clients.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

use crate::Error;

/// Addresses that begin alike, as `192.0.2.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    ip: IpAddr,
    bits: u8,
}

impl Prefix {
    const fn v4(octets: [u8; 4], bits: u8) -> Self {
        let [a, b, c, d] = octets;
        Self { ip: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), bits }
    }

    const fn v6(high: u128, bits: u8) -> Self {
        Self { ip: IpAddr::V6(Ipv6Addr::from_bits(high)), bits }
    }

    /// Whether this address is one of them.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let first = |own: u128, other: u128, width: u8| {
            self.bits == 0 || (own ^ other) >> (width - self.bits) == 0
        };
        match (self.ip, ip) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                first(own.to_bits().into(), other.to_bits().into(), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => first(own.to_bits(), other.to_bits(), 128),
            _ => false,
        }
    }
}

impl FromStr for Prefix {
    type Err = Error;

    /// An address, or an address, a slash and a number of bits.
    fn from_str(text: &str) -> Result<Self, Error> {
        let malformed = Error::Malformed { what: "a range of addresses such as 192.0.2.0/24" };
        let (ip, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let ip: IpAddr = ip.parse().map_err(|_| malformed.clone())?;
        let width = if ip.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(width), |bits| bits.parse().map_err(|_| malformed.clone()))?;
        if bits > width { Err(malformed) } else { Ok(Self { ip, bits }) }
    }
}

/// Who may be sent to. What is named in neither list may if it is public.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// These may, public or not.
    pub allowed: Vec<Prefix>,
    /// These may not, even if they are allowed.
    pub denied: Vec<Prefix>,
}

impl Reach {
    /// Whether this address may be sent to.
    #[must_use]
    pub fn includes(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let among = |list: &[Prefix]| list.iter().any(|prefix| prefix.contains(ip));
        !among(&self.denied) && (among(&self.allowed) || !among(NOT_PUBLIC))
    }
}

/// What no stranger's datagram may be sent to (the IANA special-purpose registries): ourselves, our
/// neighbours, everybody, nobody, and what is translated to any of these behind our back. Addresses
/// for documentation are left: nobody is there.
const NOT_PUBLIC: &[Prefix] = &[
    Prefix::v4([0, 0, 0, 0], 8),
    Prefix::v4([10, 0, 0, 0], 8),
    Prefix::v4([100, 64, 0, 0], 10),
    Prefix::v4([127, 0, 0, 0], 8),
    Prefix::v4([169, 254, 0, 0], 16),
    Prefix::v4([172, 16, 0, 0], 12),
    Prefix::v4([192, 0, 0, 0], 24),
    Prefix::v4([192, 88, 99, 0], 24),
    Prefix::v4([192, 168, 0, 0], 16),
    Prefix::v4([198, 18, 0, 0], 15),
    Prefix::v4([224, 0, 0, 0], 3),
    // Unspecified, loopback, IPv4-compatible; IPv4-mapped is looked at as IPv4.
    Prefix::v6(0, 95),
    Prefix::v6(0x0064_ff9b << 96, 32),
    Prefix::v6(0x0100 << 112, 64),
    Prefix::v6(0x2001 << 112, 23),
    Prefix::v6(0x2002 << 112, 16),
    Prefix::v6(0xfc00 << 112, 7),
    Prefix::v6(0xfe00 << 112, 8),
    Prefix::v6(0xff00 << 112, 8),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reach: &Reach, ip: &str, expected: bool) {
        assert_eq!(reach.includes(ip.parse().expect("an address")), expected, "{ip}");
    }

    #[test]
    fn nothing_but_public_addresses_is_reached_unless_allowed() {
        let reach = Reach::default();
        for ip in ["8.8.8.8", "203.0.113.9", "2606:4700::1", "::ffff:8.8.8.8"] {
            check(&reach, ip, true);
        }
        for ip in [
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2002:7f00:1::",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            check(&reach, ip, false);
        }
    }

    #[test]
    fn lists_say_otherwise_and_denial_wins() {
        let prefixes = |texts: &[&str]| {
            texts.iter().map(|text| text.parse().expect("a range")).collect::<Vec<Prefix>>()
        };
        let allowed = prefixes(&["10.0.0.0/8", "::1"]);
        let denied = prefixes(&["10.9.0.0/16", "203.0.113.0/24"]);
        let reach = Reach { allowed, denied };
        for (ip, expected) in [
            ("10.1.0.1", true),
            ("::ffff:10.1.0.1", true),
            ("10.9.0.1", false),
            ("::1", true),
            ("203.0.113.1", false),
            ("192.168.0.1", false),
        ] {
            check(&reach, ip, expected);
        }
    }

    #[test]
    fn ranges_are_read() {
        for (text, ip, expected) in [
            ("0.0.0.0/0", "9.9.9.9", true),
            ("::/0", "9.9.9.9", false),
            ("::/0", "2001:db8::1", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("192.0.2.128/25", "192.0.2.127", false),
        ] {
            let prefix: Prefix = text.parse().expect("a range");
            assert_eq!(prefix.contains(ip.parse().expect("an address")), expected, "{text} {ip}");
        }
        for bad in ["", "x", "10.0.0.0/33", "10.0.0.0/", "::/129", "10.0.0.0/-1"] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad}");
        }
    }
}
