//! Requests that wait for a part, and the answer that all who wait alike are sent.

use std::io;

use bytes::Bytes;

use super::conn::{Conn, Http, Outgoing, Phase, Role};
use super::http::{self, Style};
use super::mailbox::Command;
use super::serve::http_conn;
use super::shard::Shard;
use super::waiters::{Question, Ticket};
use super::{Answer, Block, Reply, metrics};

/// Answers sent before other sockets get their turn: some 5 ms on a slow core. Fewer would let
/// those who were woken first, and ask again at once, hold up those who still wait.
const WAKES_PER_TURN: usize = 512;

/// One answer on its way to all who waited for it.
pub(super) struct Delivery {
    reply: Reply,
    /// Head and body as nearly all of them are sent it.
    shared: Bytes,
    tickets: std::vec::IntoIter<Ticket>,
}

impl Shard {
    /// A topic has reached a version: answers everybody who waited for that.
    pub(super) fn advance(&mut self, id: u64, version: u64) {
        for mut group in self.waiters.reached(id, version) {
            let q = &group.question;
            match self.shared.media.hls(&q.stream, &q.path, q.query.as_deref()) {
                Answer::Ready(reply) => self.plan(group.tickets, reply),
                Answer::Block(block) => {
                    group.version = block.version;
                    self.waiters.put_back(group);
                }
            }
        }
        if let Some(topic) = self.waiters.topic(id) {
            topic.set_waited_on(self.index);
            let reached = topic.version();
            if reached > version {
                self.shared.mailboxes[self.index].send(Command::Advance(id, reached));
            }
        }
    }

    /// Answers everybody who has waited too long.
    pub(super) fn expire_waits(&mut self) {
        for group in self.waiters.expired(self.now) {
            self.plan(group.tickets, Reply::text(503, "the stream does not go on\n"));
        }
    }

    pub(super) fn wait(&mut self, slot: usize, question: Question, block: Block) {
        self.waits = self.waits.wrapping_add(1);
        let wait = self.waits;
        if let Some((_, http)) = http_conn(&mut self.conns, slot) {
            http.phase = Phase::Waiting(wait);
        }
        self.count(|c| &c.waiters, 1);
        let (topic, version) = (block.topic.clone(), block.version);
        let ticket = Ticket { slot: slot as u32, wait };
        let tickets = self.waiters.add(question, block, self.now, ticket);
        if tickets.len() > self.shared.config.connections_max {
            // Most have hung up since.
            tickets.retain(|t| is_waiting(self.conns.get(t.slot as usize), t.wait));
        }
        topic.set_waited_on(self.index);
        let reached = topic.version();
        if reached >= version {
            let command = Command::Advance(topic.id(), reached);
            self.shared.mailboxes[self.index].send(command);
        }
    }

    /// Lets an answer go out to all who waited for it, over as many turns as that takes.
    fn plan(&mut self, tickets: Vec<Ticket>, reply: Reply) {
        let shared = self.render(&reply);
        self.deliveries.push_back(Delivery { reply, shared, tickets: tickets.into_iter() });
    }

    /// Sends the next of the answers that are due.
    pub(super) fn deliver_some(&mut self) {
        let mut left = WAKES_PER_TURN;
        while left > 0
            && let Some(mut delivery) = self.deliveries.pop_front()
        {
            let tickets = delivery.tickets.len().min(left);
            left -= tickets;
            self.deliver(&mut delivery, tickets);
            if !delivery.tickets.as_slice().is_empty() {
                self.deliveries.push_front(delivery);
            }
        }
    }

    fn deliver(&mut self, delivery: &mut Delivery, count: usize) {
        let mut special = Vec::new();
        let (mut bytes, mut answered) = (0, 0);
        for ticket in delivery.tickets.by_ref().take(count) {
            let Some(conn) = self.conns.get_mut(ticket.slot as usize) else { continue };
            let Role::Http(http) = &mut conn.role else { continue };
            if !matches!(http.phase, Phase::Waiting(wait) if wait == ticket.wait) {
                continue;
            }
            answered += 1;
            conn.progress = self.now;
            http.phase = Phase::Reading;
            let plain = http.keep_alive && !http.head_only && http.input.is_empty();
            match if plain { send_shared(conn, &delivery.shared) } else { None } {
                Some(sent) => bytes += sent as u64,
                None => special.push(ticket.slot as usize),
            }
        }
        self.count(|c| &c.sent_bytes, bytes);
        metrics::sub(&self.shared.counters[self.index].waiters, answered);
        for slot in special {
            self.begin_turn();
            self.answer(slot, &delivery.reply, None);
            self.resume(slot);
        }
    }

    fn render(&mut self, reply: &Reply) -> Bytes {
        let mut out = Vec::with_capacity(512 + reply.body.len());
        http::write_head(&mut out, reply, Style { keep_alive: true, span: None }, self.date());
        out.extend_from_slice(&reply.body);
        out.into()
    }
}

/// Sends an answer that is shared with others; `None` if the connection is broken.
fn send_shared(conn: &mut Conn, shared: &Bytes) -> Option<usize> {
    let Role::Http(http) = &mut conn.role else { return None };
    let sent = match conn.wire.write(shared) {
        Ok(n) => n,
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
        Err(_) => return None,
    };
    if sent < shared.len() || conn.wire.is_pending() {
        let head = shared.slice(sent..);
        http.phase = Phase::Sending(Outgoing { head, body: Bytes::new() });
        conn.blocked = true;
    }
    Some(sent)
}

fn is_waiting(conn: Option<&Conn>, ticket: u32) -> bool {
    let phase = conn.map(|c| &c.role);
    matches!(phase, Some(Role::Http(Http { phase: Phase::Waiting(w), .. })) if *w == ticket)
}
