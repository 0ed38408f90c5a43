//! Sessions through real NATs: network namespaces, nftables, and our TURN server, which also says
//! who we are (STUN). Needs `ip`, `nft` and `unshare`, and root or user namespaces.
//!
//! `PSYNE_NAT_RUNS=50` runs each pair so often.

#![allow(clippy::print_stdout, reason = "the table of what was reached")]

mod lab;
mod peer;

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread::{scope, spawn};

use lab::{Kind, Lab, SERVER};
use peer::{Peer, Way};
use psyne_net::turn::{Config, Server, ServerConfig, Users, issue};

const SECRET: &[u8] = b"0123456789abcdef";
const PORT: u16 = 3478;
/// Laboratories at a time: they mostly wait.
const AT_ONCE: usize = 4;
/// Says that the test is inside its namespaces already.
const INSIDE: &str = "PSYNE_NAT_INSIDE";

use Kind::{Address, Blocked, FullCone, None as Public, Port, Symmetric};

/// What theory allows by plain punching, and what only a relay can.
const MATRIX: &[(Kind, Kind, Way)] = &[
    (Public, Public, Way::Direct),
    (Public, Symmetric, Way::Direct),
    (FullCone, FullCone, Way::Direct),
    (FullCone, Address, Way::Direct),
    (FullCone, Port, Way::Direct),
    (FullCone, Symmetric, Way::Direct),
    (Address, Address, Way::Direct),
    (Address, Port, Way::Direct),
    (Address, Symmetric, Way::Direct),
    (Port, Port, Way::Direct),
    (Port, Symmetric, Way::Relayed),
    (Symmetric, Symmetric, Way::Relayed),
    (Blocked, Port, Way::Relayed),
    (Blocked, Blocked, Way::Relayed),
];

#[test]
fn each_pair_of_nats_gets_through_as_theory_allows() {
    if std::env::var_os(INSIDE).is_none() {
        return inside("each_pair_of_nats_gets_through_as_theory_allows");
    }
    let runs = std::env::var("PSYNE_NAT_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(1);
    let mut jobs = vec![];
    for (a, b, expected) in MATRIX {
        for _ in 0..runs {
            jobs.push(([*a, *b], *expected));
            if a != b {
                jobs.push(([*b, *a], *expected));
            }
        }
    }
    let next = AtomicUsize::new(0);
    let mut rows = scope(|threads| {
        let work = || {
            let mut rows = vec![];
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some((kinds, expected)) = jobs.get(at) else { return rows };
                rows.push((at, *kinds, *expected, attempt(at, *kinds, *expected == Way::Direct)));
            }
        };
        let workers: Vec<_> = (0..AT_ONCE).map(|_| threads.spawn(work)).collect();
        let rows = workers.into_iter().map(|worker| worker.join().expect("it ends well"));
        rows.flatten().collect::<Vec<_>>()
    });
    rows.sort_by_key(|(at, ..)| *at);
    let mut wrong = vec![];
    for (_, kinds, expected, ways) in &rows {
        println!("{:?} to {:?}: {:?}", kinds[0], kinds[1], ways);
        if *ways != [*expected; 2] {
            wrong.push((kinds, ways));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Runs the test again where it may make networks: with root in its own namespaces, which end with
/// it.
fn inside(test: &str) {
    let root = rustix::process::geteuid().is_root();
    let flags = if root { "-nm" } else { "-Urnm" };
    let setup = "mount -t tmpfs none /run && exec \"$@\"";
    let exe = std::env::current_exe().expect("this program");
    let status = Command::new("unshare")
        .args([flags, "sh", "-c", setup, "sh"])
        .arg(exe)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare is there: apt-get install util-linux iproute2 nftables");
    assert!(
        status.success(),
        "the laboratory failed; it needs ip, nft, and root or user namespaces \
         (sysctl user.max_user_namespaces)"
    );
}

/// How each of both got through.
fn attempt(number: usize, kinds: [Kind; 2], direct: bool) -> [Way; 2] {
    let lab = Arc::new(Lab::new(number, kinds));
    let (ready, listens) = channel();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let server = spawn({
        let lab = lab.clone();
        move || {
            lab.enter("s");
            serve(&ready, stopped);
        }
    });
    listens.recv().expect("the server listens");
    let (to_a, at_a) = channel();
    let (to_b, at_b) = channel();
    let host = |at: usize, name: &'static str, out, signals| {
        let lab = lab.clone();
        let by_stream = kinds[at] == Blocked;
        spawn(move || {
            lab.enter(name);
            let server = (SocketAddr::from((SERVER, PORT)), by_stream);
            let credential = issue(SECRET, name, u64::from(u32::MAX));
            let peer = Peer::new(at as u8 + 1, lab.ip(at), server, credential, out);
            peer.run(at == 0, &signals, direct)
        })
    };
    let hosts = [host(0, "a", to_b, at_a), host(1, "b", to_a, at_b)];
    let ways = hosts.map(|host| host.join().expect("it ends well"));
    drop(stop);
    server.join().expect("it ends well");
    ways
}

#[tokio::main(flavor = "current_thread")]
async fn serve(ready: &std::sync::mpsc::Sender<()>, stopped: tokio::sync::oneshot::Receiver<()>) {
    let users = Users { secrets: vec![SECRET.to_vec()], ..Users::default() };
    let config = ServerConfig::new("lab".into(), users, 0);
    let config = Config::new(vec![(SERVER, PORT).into()], vec![SERVER.into()], config);
    let (_server, driver) = Server::listen(config).expect("the port is free");
    ready.send(()).expect("somebody waits");
    tokio::select! {
        () = driver => {}
        _ = stopped => {}
    }
}
