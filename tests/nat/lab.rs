//! Two hosts behind a NAT each, and a server, in network namespaces of their own.
//!
//! The process lives in namespaces that end with it: nothing is left behind, whatever happens.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// What a NAT does (RFC 4787 §4.1, §5), or a firewall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing: the host's address is public.
    None,
    /// One mapping, and everybody may send to it.
    FullCone,
    /// One mapping, and whoever's address was sent to may send back.
    Address,
    /// One mapping, and whoever's address and port were sent to may send back.
    Port,
    /// A mapping at a random port for each destination, which alone may send back.
    Symmetric,
    /// No UDP at all.
    Blocked,
}

/// The server's address.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

/// A laboratory, by the prefix of its namespaces' names.
pub(crate) struct Lab {
    prefix: String,
    kinds: [Kind; 2],
}

impl Lab {
    /// Builds one.
    pub(crate) fn new(number: usize, kinds: [Kind; 2]) -> Self {
        let lab = Self { prefix: format!("psyne{number}"), kinds };
        let p = &lab.prefix;
        for name in ["s", "a", "b", "na", "nb"] {
            sh(&format!("ip netns add {p}{name} && ip -n {p}{name} link set lo up"));
        }
        lab.inside("s", "ip link add br0 type bridge && ip link set br0 up");
        lab.inside("s", &format!("ip addr add {SERVER}/24 dev br0"));
        for (at, name) in ["a", "b"].into_iter().enumerate() {
            sh(&format!("ip link add wan netns {p}n{name} type veth peer name v{name} netns {p}s"));
            lab.inside("s", &format!("ip link set v{name} master br0 up"));
            match kinds[at] {
                Kind::None => lab.public(at, name),
                kind => lab.behind(at, name, kind),
            }
        }
        lab
    }

    /// The host's own interface is the outer one.
    fn public(&self, at: usize, name: &str) {
        let p = &self.prefix;
        sh(&format!("ip -n {p}n{name} link set wan netns {p}{name}"));
        self.inside(name, &format!("ip addr add {}/24 dev wan && ip link set wan up", self.ip(at)));
        self.inside(name, &format!("ip route add default via {SERVER}"));
    }

    fn behind(&self, at: usize, name: &str, kind: Kind) {
        let (p, nat, net) = (&self.prefix, format!("n{name}"), at + 1);
        sh(&format!("ip link add lan netns {p}n{name} type veth peer name eth0 netns {p}{name}"));
        let ups = "ip link set wan up && ip link set lan up && ip route add default via";
        self.inside(&nat, &format!("ip addr add 203.0.113.1{net}/24 dev wan"));
        self.inside(&nat, &format!("ip addr add 10.0.{net}.1/24 dev lan && {ups} {SERVER}"));
        self.inside(&nat, "echo 1 > /proc/sys/net/ipv4/ip_forward");
        self.inside(&nat, &format!("nft '{}'", rules(kind, net)));
        self.inside(name, &format!("ip addr add {}/24 dev eth0", self.ip(at)));
        self.inside(name, &format!("ip link set eth0 up && ip route add default via 10.0.{net}.1"));
    }

    /// The address of the first host or the second.
    pub(crate) fn ip(&self, at: usize) -> IpAddr {
        let net = at as u8 + 1;
        match self.kinds[at] {
            Kind::None => [203, 0, 113, 10 + net].into(),
            _ => [10, 0, net, 2].into(),
        }
    }

    fn inside(&self, name: &str, command: &str) {
        sh(&format!("ip netns exec {}{name} sh -c \"{command}\"", self.prefix));
    }

    /// The calling thread, and what sockets it opens, moves into one of the namespaces.
    pub(crate) fn enter(&self, name: &str) {
        let path = format!("/run/netns/{}{name}", self.prefix);
        let file = File::open(&path).expect("the namespace exists");
        let network = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(file.as_fd(), network).expect("root may enter a namespace");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in ["s", "a", "b", "na", "nb"] {
            let mut delete = Command::new("ip");
            let _ = delete.args(["netns", "del", &format!("{}{name}", self.prefix)]).status();
        }
    }
}

/// What nftables is told. What comes unasked to the NAT itself must be dropped: a mapping of
/// conntrack for it would make plain masquerading look symmetric.
fn rules(kind: Kind, net: usize) -> String {
    let (wan, host) = (format!("203.0.113.1{net}"), format!("10.0.{net}.2"));
    let fixed = |forward: &str| {
        let before = format!("iifname wan udp dport 1024-65535 dnat to {host};");
        (before, format!("oifname wan snat to {wan};"), forward.to_owned())
    };
    let (before, after, forward) = match kind {
        Kind::FullCone => fixed("iifname wan udp dport 1024-65535 accept;"),
        Kind::Address => fixed(
            "iifname lan ip protocol udp update @seen { ip daddr }; iifname lan accept; \
             iifname wan ip saddr @seen accept;",
        ),
        Kind::Symmetric => {
            (String::new(), "oifname wan masquerade fully-random;".to_owned(), String::new())
        }
        Kind::Blocked => {
            let drop = "meta l4proto udp drop;".to_owned();
            (String::new(), "oifname wan masquerade;".to_owned(), drop)
        }
        Kind::None | Kind::Port => {
            (String::new(), "oifname wan masquerade;".to_owned(), String::new())
        }
    };
    format!(
        "table ip nat {{ \
           chain pre {{ type nat hook prerouting priority dstnat; {before} }}; \
           chain post {{ type nat hook postrouting priority srcnat; {after} }}; }}; \
         table ip f {{ \
           set seen {{ type ipv4_addr; flags dynamic,timeout; timeout 60s; }}; \
           chain inp {{ type filter hook input priority 0; policy accept; iifname wan drop; }}; \
           chain filt {{ type filter hook forward priority 0; policy drop; {forward} \
             ct state established,related accept; iifname lan accept; }}; }}"
    )
}

fn sh(command: &str) {
    let output = Command::new("sh").args(["-c", command]).output().expect("a shell");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {said}");
}
