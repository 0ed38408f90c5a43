//! The TURN servers of a session: what goes to and comes from relayed candidates.

use std::net::SocketAddr;

use bytes::Bytes;
use psyne_core::Time;

use super::Transmit;
use crate::turn::{Client, ClientConfig, ClientEvent, ClientOutput, Transport};
use crate::{Error, Seed};

/// What a relay wants of its session.
pub(super) enum Output {
    Transmit(Transmit),
    Event(ClientConfig, ClientEvent),
    Data { relayed: SocketAddr, peer: SocketAddr, data: Bytes },
    Wait(Option<Time>),
}

/// Its relays.
#[derive(Debug, Default)]
pub(super) struct Relays {
    clients: Vec<Client>,
}

impl Relays {
    pub(super) fn add(
        &mut self,
        now: Time,
        config: ClientConfig,
        seed: Seed,
        max: usize,
    ) -> Result<(), Error> {
        if self.clients.len() >= max {
            return Err(Error::TooMuch { what: "relays_max", max });
        }
        if self.between(config.base, config.server).is_some() {
            return Err(Error::State { what: "a second relay between the same addresses" });
        }
        self.clients.push(Client::new(config, now, seed));
        Ok(())
    }

    fn between(&mut self, base: SocketAddr, server: SocketAddr) -> Option<&mut Client> {
        self.clients.iter_mut().find(|client| {
            let config = client.config();
            (config.base, config.server) == (base, server)
        })
    }

    /// Whether it came from a server of ours.
    pub(super) fn handle(&mut self, now: Time, between: Between, bytes: &[u8]) -> bool {
        let (local, remote) = between;
        let client = self.between(local, remote);
        client.map(|client| client.handle(now, bytes)).is_some()
    }

    pub(super) fn disconnected(&mut self, base: SocketAddr, server: SocketAddr) {
        if let Some(client) = self.between(base, server) {
            client.disconnected();
        }
    }

    /// Whether it goes by a relay.
    pub(super) fn send(&mut self, now: Time, transmit: &Transmit) -> bool {
        let mut clients = self.clients.iter_mut();
        let client = clients.find(|client| client.relayed() == Some(transmit.from));
        client.map(|client| client.send(now, transmit.to, &transmit.data)).is_some()
    }

    pub(super) fn close(&mut self, now: Time) {
        self.clients.iter_mut().for_each(|client| client.close(now));
    }

    pub(super) fn handle_timeout(&mut self, now: Time) {
        self.clients.iter_mut().for_each(|client| client.handle_timeout(now));
    }

    pub(super) fn poll_output(&mut self) -> Output {
        let mut next: Option<Time> = None;
        for at in 0..self.clients.len() {
            let Some(client) = self.clients.get_mut(at) else { break };
            let (from, to) = (client.config().base, client.config().server);
            match client.poll_output() {
                ClientOutput::Transmit(data) => {
                    return Output::Transmit(Transmit { from, to, data });
                }
                ClientOutput::Event(ClientEvent::Data { peer, data }) => {
                    // What came before the end is behind it.
                    let Some(relayed) = client.relayed() else { return self.poll_output() };
                    return Output::Data { relayed, peer, data };
                }
                ClientOutput::Event(event) => {
                    let config = client.config().clone();
                    if let ClientEvent::Failed(_) = event {
                        self.clients.remove(at);
                    }
                    return Output::Event(config, event);
                }
                ClientOutput::Wait(wait) => next = [next, wait].into_iter().flatten().min(),
            }
        }
        Output::Wait(next)
    }
}

/// Our address, theirs.
pub(super) type Between = (SocketAddr, SocketAddr);

/// Whether a server that sees this address of a client's base shows the base's own NAT.
pub(super) fn shows_nat(config: &ClientConfig, mapped: SocketAddr) -> bool {
    config.transport == Transport::Udp && mapped != config.base
}
