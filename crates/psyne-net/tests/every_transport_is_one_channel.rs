//! The promises of a channel hold on each transport.

mod conformance;

use conformance::{Place, promises};
use psyne_net::Options;
use psyne_net::channel::Delivery;
use psyne_net::tls::{Identity, Tls};

/// A place at this host; nobody listens at its port 1.
fn place(scheme: &str, path: &str, tls: Tls) -> Place {
    Place {
        uri: format!("{scheme}://127.0.0.1:0{path}"),
        nobody: format!("{scheme}://127.0.0.1:1{path}"),
        options: Options { tls, ..Options::default() },
        keep: None,
    }
}

/// A key whose holder says "127.0.0.1", and who trusts it for that.
fn by_name() -> Tls {
    let identity = Identity::generate().unwrap();
    Tls { authorities: Some(identity.as_authorities()), identity: Some(identity), peers: vec![] }
}

/// A key that both sides have and expect.
fn by_key() -> Tls {
    let identity = Identity::generate().unwrap();
    Tls { peers: vec![identity.fingerprint()], identity: Some(identity), authorities: None }
}

mod tcp {
    use super::*;
    promises!(place("tcp", "", Tls::default()));
}

mod tls {
    use super::*;
    promises!(place("tls", "", by_name()));
}

mod tls_by_key {
    use super::*;
    promises!(place("tls", "", by_key()));
}

mod p2p {
    use super::*;

    pub(super) fn place() -> Place {
        let nobody = format!("p2p://127.0.0.1:1?peer={}", "0".repeat(64));
        Place { nobody, ..super::place("p2p", "", Tls::default()) }
    }

    promises!(place());
}

/// What is promised also where messages may be lost; on one machine, few at a time are not.
mod udp {
    use super::*;

    fn place() -> Place {
        let mut place = super::place("udp", "", Tls::default());
        place.options.delivery = Delivery::UNRELIABLE;
        place
    }

    promises!(place();
        a_dropped_channel_is_closed_after_what_was_sent,
        a_dropped_driver_ends_the_channel_on_both_sides,
        a_loan_is_sent_by_its_commit_and_only_by_that,
        a_listener_serves_many_and_each_apart,
        nobody_there_is_said_by_everything,
        metrics_say_what_was_done_and_how_far_the_peer_is,
        options_that_a_transport_does_not_have_are_refused,
    );
}

/// Unreliable messages of the native path, which are datagrams.
mod p2p_by_datagrams {
    use super::*;

    fn place() -> Place {
        let mut place = p2p::place();
        place.options.delivery = Delivery::UNRELIABLE;
        place
    }

    promises!(place();
        a_loan_is_sent_by_its_commit_and_only_by_that,
        a_listener_serves_many_and_each_apart,
        nobody_there_is_said_by_everything,
        metrics_say_what_was_done_and_how_far_the_peer_is,
    );
}

mod ws {
    use super::*;
    promises!(place("ws", "/a/path", Tls::default()));
}

mod wss {
    use super::*;
    promises!(place("wss", "", by_name()));
}

#[cfg(unix)]
mod unix {
    use super::*;

    fn place() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| format!("unix://{}", folder.path().join(name).display());
        let (uri, nobody) = (at("somebody"), at("nobody"));
        Place { uri, nobody, options: Options::default(), keep: Some(folder) }
    }

    promises!(place());
}

mod webrtc {
    use super::*;
    use psyne_net::signal::server::{Config, Server};

    /// A group at a hub that lives as long as the test's process.
    fn place() -> Place {
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listen = "127.0.0.1:0".parse().unwrap();
                let hub = psyne_net::signal::hub::Config::default();
                let (hub, driver) = Server::listen(Config { listen, tls: None, hub }).unwrap();
                tell.send(hub.local_addr()).unwrap();
                driver.await;
            });
        });
        let at = format!("@demo?via=ws://{}", told.recv().unwrap());
        Place {
            uri: format!("webrtc://somebody{at}"),
            nobody: format!("webrtc://nobody{at}"),
            options: Options::default(),
            keep: None,
        }
    }

    promises!(place());
}
