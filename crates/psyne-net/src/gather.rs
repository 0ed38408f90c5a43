//! At which addresses others may reach this machine: host candidates (RFC 8445 §5.1.1.1).

use std::io;
use std::net::{IpAddr, Ipv6Addr};

/// Addresses of this machine's interfaces at which a peer may find it, IPv6 first. Loopback only if
/// that is allowed.
///
/// # Errors
/// The operating system does not tell.
pub fn hosts(loopback: bool) -> io::Result<Vec<IpAddr>> {
    let all = if_addrs::get_if_addrs()?.into_iter().map(|interface| interface.ip());
    let mut all: Vec<IpAddr> = all.filter(|ip| can_be_reached(*ip, loopback)).collect();
    all.sort_by_key(|ip| (ip.is_ipv4(), *ip));
    all.dedup();
    Ok(all)
}

/// Neither what is no host's, nor what RFC 8445 leaves out: site-local and IPv4-mapped addresses.
/// Nor link-local IPv6, which means nothing without the interface, and candidates name none.
fn can_be_reached(ip: IpAddr, loopback: bool) -> bool {
    let odd = |ip: Ipv6Addr| {
        let site_local = ip.segments()[0] & 0xFFC0 == 0xFEC0;
        site_local || ip.is_unicast_link_local() || ip.to_ipv4_mapped().is_some()
    };
    let nobody = ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() && !loopback;
    !nobody && !matches!(ip, IpAddr::V6(ip) if odd(ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_peer_can_use_is_left_out() {
        for (text, there, loopback) in [
            ("192.0.2.1", true, true),
            ("10.0.0.1", true, true),
            ("169.254.1.1", true, true),
            ("2001:db8::1", true, true),
            ("fd00::1", true, true),
            ("127.0.0.1", false, true),
            ("::1", false, true),
            ("fe80::1", false, false),
            ("fec0::1", false, false),
            ("::ffff:192.0.2.1", false, false),
            ("0.0.0.0", false, false),
            ("ff02::1", false, false),
        ] {
            let ip = text.parse().unwrap();
            assert_eq!(can_be_reached(ip, false), there, "{text}");
            assert_eq!(can_be_reached(ip, true), loopback, "{text}");
        }
    }

    #[test]
    fn this_machine_is_somewhere() {
        let all = hosts(true).unwrap();
        assert!(all.iter().any(IpAddr::is_loopback), "{all:?}");
        assert!(all.is_sorted_by_key(IpAddr::is_ipv4));
        assert!(!hosts(false).unwrap().iter().any(IpAddr::is_loopback));
    }
}
