//! A session with its mailbox and the socket: what publishers' and viewers' tasks have in common.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use psyne::Time;
use psyne::media::{Event, Output, Session};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::routes::{Datagram, Entry};
use super::{Place, Rtc};
use crate::Metrics;

/// Datagrams that are taken at once before anything else.
const AT_ONCE_MAX: usize = 64;
/// At the end, what is said last has this long.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// A session, driven.
pub(super) struct Peer {
    pub(super) session: Session,
    rtc: Rtc,
    place: Place,
    socket: Arc<UdpSocket>,
    mailbox: mpsc::Receiver<Datagram>,
    wait: Option<Time>,
    _entry: Entry,
}

impl Peer {
    pub(super) fn new(rtc: &Rtc, session: Session, place: Place) -> Self {
        let (entry, mailbox) = rtc.0.routes.add(session.name());
        let socket = Arc::clone(&rtc.0.socket);
        let wait = Some(rtc.now());
        Self { session, rtc: rtc.clone(), place, socket, mailbox, wait, _entry: entry }
    }

    pub(super) fn now(&self) -> Time {
        self.rtc.now()
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.rtc.0.app.metrics
    }

    /// Sends what there is to send, and gives the next event.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        loop {
            match self.session.poll_output() {
                Output::Transmit(transmit) => self.transmit(&transmit.data, transmit.to),
                Output::Event(event) => return Some(event),
                Output::Wait(wait) => {
                    self.wait = wait;
                    return None;
                }
            }
        }
    }

    /// What the socket has no room for is lost, as it would be further on.
    fn transmit(&self, data: &[u8], to: SocketAddr) {
        if self.socket.try_send_to(data, to).is_ok() {
            self.metrics().egress_bytes_total.add(data.len() as u64);
        }
    }

    /// Waits for datagrams or for time to pass, and lets the session handle it; `false` if the
    /// session shall end: its URL was deleted, or the server ends. May be dropped while it waits.
    pub(super) async fn input(&mut self) -> bool {
        let until = self.wait.map(|wait| wait.since(self.now()));
        tokio::select! {
            datagram = self.mailbox.recv() => {
                let Some(datagram) = datagram else { return false };
                self.handle(&datagram);
                for _ in 1..AT_ONCE_MAX {
                    let Ok(datagram) = self.mailbox.try_recv() else { break };
                    self.handle(&datagram);
                }
            }
            () = sleep(until) => {
                let now = self.now();
                self.session.handle_timeout(now);
            }
            () = self.place.stop.notified() => return false,
            () = self.rtc.0.app.shutdown.begun() => return false,
        }
        true
    }

    fn handle(&mut self, (from, datagram): &Datagram) {
        let now = self.now();
        self.session.handle_datagram(now, *from, datagram);
    }

    /// Whether it is the server that ends.
    pub(super) fn is_shutting_down(&self) -> bool {
        self.rtc.0.app.shutdown.is_begun()
    }

    /// Says goodbye.
    pub(super) async fn close(mut self) {
        let now = self.now();
        self.session.close(now);
        while self.poll_event().is_some() {}
        let _ = tokio::time::timeout(LAST_WORDS, self.socket.writable()).await;
    }
}

/// Timers of the runtime have a millisecond; what is due sooner is due now.
async fn sleep(until: Option<Duration>) {
    match until {
        Some(Duration::ZERO) => {}
        Some(until) => tokio::time::sleep(until).await,
        None => std::future::pending().await,
    }
}
