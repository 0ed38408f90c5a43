//! Answering HTTP.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;

use super::conn::{Conn, Http, Outgoing, Phase, Role, Wire};
use super::http::{self, Parsed, Request, Style, Target};
use super::shard::Shard;
use super::waiters::Question;
use super::{Answer, Asker, Handover, Reply};

/// Before the tags of an FLV file with sound and pictures: header and first tag size (FLV 10.1,
/// E.2 and E.3).
const FLV_START: &[u8] = b"FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00";

impl Shard {
    /// Reads requests and answers them. `to_the_end` if a short read does not prove that the
    /// socket is empty, for instance because its end was already announced.
    pub(super) fn read(&mut self, slot: usize, to_the_end: bool) {
        loop {
            let head_bytes_max = self.config().head_bytes_max;
            let Some((wire, http)) = http_conn(&mut self.conns, slot) else { return };
            if http.input.len() >= head_bytes_max {
                // Only what was sent ahead of an answer can be as long.
                http.unread = true;
                return;
            }
            http.unread = false;
            let more = to_the_end || !wire.ends_short();
            let read = match wire.read(&mut self.scratch, to_the_end) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Ok(0) | Err(_) => return self.hang_up(slot),
                Ok(n) => n,
            };
            self.take(slot, read);
            if read < self.scratch.len() && !more {
                return;
            }
            if self.turn == 0 {
                if let Some((_, http)) = http_conn(&mut self.conns, slot) {
                    http.unread = true;
                }
                return self.postpone(slot);
            }
        }
    }

    /// Goes on with an answer that the socket did not take at once.
    pub(super) fn send_rest(&mut self, slot: usize) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let Role::Http(Http { phase: Phase::Sending(out), .. }) = &mut conn.role else { return };
        let sent = match conn.wire.write_both(&out.head, &out.body) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => return self.close(slot),
            Ok(n) => n,
        };
        out.advance(sent);
        let done = out.is_done() && !conn.wire.is_pending();
        conn.blocked = !done;
        if sent > 0 {
            conn.progress = now;
        }
        self.count(|c| &c.sent_bytes, sent as u64);
        if done {
            self.finish(slot);
            self.resume(slot);
        }
    }

    /// Makes requests of what was just read into `scratch`.
    fn take(&mut self, slot: usize, read: usize) {
        let now = self.now;
        let Some((_, http)) = http_conn(&mut self.conns, slot) else { return };
        if !http.input.is_empty() || !matches!(http.phase, Phase::Reading) {
            http.input.extend_from_slice(&self.scratch[..read]);
            return self.resume(slot);
        }
        let scratch = std::mem::take(&mut self.scratch);
        let used = self.process(slot, &scratch[..read]);
        if let Some((_, http)) = http_conn(&mut self.conns, slot) {
            http.input.extend_from_slice(&scratch[used..read]);
        }
        self.scratch = scratch;
        if let Some(conn) = self.conns.get_mut(slot) {
            conn.progress = now;
        }
    }

    /// Goes on with input that was kept.
    pub(super) fn resume(&mut self, slot: usize) {
        let Some((_, http)) = http_conn(&mut self.conns, slot) else { return };
        let unread = http.unread;
        if !http.input.is_empty() && matches!(http.phase, Phase::Reading) {
            let mut input = std::mem::take(&mut http.input);
            let used = self.process(slot, &input);
            if let Some((_, http)) = http_conn(&mut self.conns, slot) {
                input.drain(..used);
                http.input = input;
                if http.input.is_empty() {
                    http.input = Vec::new();
                }
            }
        }
        if unread {
            self.read(slot, true);
        }
    }

    /// Answers the requests in `bytes` and says how many bytes they were.
    fn process(&mut self, slot: usize, bytes: &[u8]) -> usize {
        let mut used = 0;
        while used < bytes.len() {
            let Some((_, http)) = http_conn(&mut self.conns, slot) else { return bytes.len() };
            if !matches!(http.phase, Phase::Reading) {
                break;
            }
            if self.turn == 0 {
                self.postpone(slot);
                break;
            }
            match http::parse(&bytes[used..]) {
                Parsed::Request(request, head_bytes) => {
                    used += head_bytes;
                    http.keep_alive = request.keep_alive;
                    http.head_only = request.head_only;
                    self.serve(slot, &request);
                }
                Parsed::Partial if bytes.len() - used < self.config().head_bytes_max => break,
                Parsed::Partial => self.refuse_http(slot, 431, "request head too long\n"),
                Parsed::Malformed => self.refuse_http(slot, 400, "this is not HTTP\n"),
                Parsed::Foreign => {
                    self.hand_over(slot, &bytes[used..]);
                    return bytes.len();
                }
            }
        }
        used
    }

    fn serve(&mut self, slot: usize, request: &Request<'_>) {
        self.count(|c| &c.requests, 1);
        self.spend(0);
        match request.target {
            Target::Hls { stream, path, query } => {
                if let Some((_, Http { peer: Some(address), .. })) =
                    http_conn(&mut self.conns, slot)
                {
                    let by = Asker { address: *address, user_agent: request.user_agent };
                    self.shared.media.asked(stream, path, query, by);
                }
                match self.shared.media.hls(stream, path, query) {
                    Answer::Ready(reply) => self.answer(slot, &reply, Some(request)),
                    Answer::Block(block) => {
                        let (stream, path) = (stream.into(), path.into());
                        let question = Question { stream, path, query: query.map(Into::into) };
                        self.wait(slot, question, block);
                    }
                }
            }
            Target::Flv { name } => self.serve_flv(slot, name, request),
        }
    }

    fn serve_flv(&mut self, slot: usize, name: &str, request: &Request<'_>) {
        let Some(stream) = self.shared.media.stream(name) else {
            return self.answer(slot, &Reply::text(404, "no such live stream\n"), Some(request));
        };
        let date = self.date();
        let head = format!(
            "HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Type: video/x-flv\r\n\
             Cache-Control: no-store\r\n{}\r\nConnection: close\r\n\r\n",
            http::FOR_ALL
        );
        if request.head_only {
            self.head.clear();
            self.head.extend_from_slice(head.as_bytes());
            if let Some((_, http)) = http_conn(&mut self.conns, slot) {
                http.keep_alive = false;
            }
            return self.send(slot, Bytes::new());
        }
        self.play_flv(slot, stream, [head.as_bytes(), FLV_START].concat().into());
    }

    pub(super) fn answer(&mut self, slot: usize, reply: &Reply, request: Option<&Request<'_>>) {
        let Some((_, http)) = http_conn(&mut self.conns, slot) else { return };
        let (keep_alive, head_only) = (http.keep_alive, http.head_only);
        let fresh = match (request.and_then(|r| r.if_none_match), &reply.etag) {
            (Some(known), Some(etag)) => http::matches_etag(known, etag),
            _ => false,
        };
        let unchanged = Reply { status: 304, body: Bytes::new(), ..reply.clone() };
        let reply = if fresh && reply.status == 200 { &unchanged } else { reply };
        let range = request.and_then(|r| r.range).filter(|_| reply.status == 200);
        let span = range.and_then(|range| http::span(range, reply.body.len()));
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        http::write_head(&mut head, reply, Style { keep_alive, span }, self.date());
        self.head = head;
        let body = match span {
            _ if head_only => Bytes::new(),
            Some(span) => reply.body.slice(span.from..span.to),
            None => reply.body.clone(),
        };
        self.send(slot, body);
    }

    /// Sends `self.head` and a body.
    fn send(&mut self, slot: usize, mut body: Bytes) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let Role::Http(http) = &mut conn.role else { return };
        let sent = match conn.wire.write_both(&self.head, &body) {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => return self.close(slot),
        };
        conn.progress = now;
        let done = sent == self.head.len() + body.len() && !conn.wire.is_pending();
        if !done {
            let of_head = sent.min(self.head.len());
            let head = Bytes::copy_from_slice(&self.head[of_head..]);
            http.phase = Phase::Sending(Outgoing { head, body: body.split_off(sent - of_head) });
            conn.blocked = true;
        }
        self.count(|c| &c.sent_bytes, sent as u64);
        self.spend(sent);
        if done {
            self.finish(slot);
        }
    }

    /// An answer has been sent: the next request, or the end.
    fn finish(&mut self, slot: usize) {
        let Some((_, http)) = http_conn(&mut self.conns, slot) else { return };
        http.phase = Phase::Reading;
        if !http.keep_alive {
            self.close(slot);
        }
    }

    fn refuse_http(&mut self, slot: usize, status: u16, reason: &'static str) {
        tracing::info!(status, "an HTTP connection was refused");
        self.count(|c| &c.malformed, 1);
        if let Some((_, http)) = http_conn(&mut self.conns, slot) {
            http.keep_alive = false;
            http.head_only = false;
        }
        self.answer(slot, &Reply::text(status, reason), None);
    }

    /// The peer sends no more. An answer that is under way is finished.
    fn hang_up(&mut self, slot: usize) {
        let Some((_, http)) = http_conn(&mut self.conns, slot) else { return };
        if matches!(http.phase, Phase::Sending(_)) {
            http.keep_alive = false;
        } else {
            self.close(slot);
        }
    }

    /// Gives a connection to the general HTTP server.
    fn hand_over(&mut self, slot: usize, read: &[u8]) {
        let Ok(permit) = self.shared.handovers.clone().try_reserve_owned() else {
            let reply = Reply::text(503, "too many requests at once\n");
            if let Some((_, http)) = http_conn(&mut self.conns, slot) {
                http.keep_alive = false;
            }
            return self.answer(slot, &reply, None);
        };
        let Some(conn) = self.remove(slot) else { return };
        self.count(|c| &c.handed_over, 1);
        let read = Bytes::copy_from_slice(read);
        permit.send(match conn.wire {
            Wire::Plain(socket) => {
                let socket = Arc::into_inner(socket).expect("no send outlasts a turn");
                Handover { socket: release(socket), session: None, read }
            }
            Wire::Tls(tls) => {
                Handover { socket: release(tls.socket), session: Some(tls.session), read }
            }
        });
    }
}

fn release(socket: mio::net::TcpStream) -> std::net::TcpStream {
    OwnedFd::from(socket).into()
}

/// The connection in this slot, if it speaks HTTP.
pub(super) fn http_conn(
    conns: &mut slab::Slab<Conn>,
    slot: usize,
) -> Option<(&mut Wire, &mut Http)> {
    let conn = conns.get_mut(slot)?;
    match &mut conn.role {
        Role::Http(http) => Some((&mut conn.wire, http)),
        Role::Player(_) => None,
    }
}
