//! Patterns whose messages are copied in and out, by the verbs of those that lend: what is lent
//! is a buffer of the end's own.

use core::ops::{Deref, DerefMut};
use core::task::{Context, Poll};
use std::time::Duration;

use crate::plain::Room;
use crate::{Error, Stats, broadcast, latest, spmc};

#[derive(Debug)]
enum Out {
    Broadcast(Box<broadcast::plain::Sender>),
    Crowd(Box<spmc::plain::Sender>),
    Latest(latest::plain::Writer),
}

/// An end that sends.
#[derive(Debug)]
pub struct Sender {
    out: Out,
    room: Room,
}

impl From<broadcast::plain::Sender> for Sender {
    fn from(end: broadcast::plain::Sender) -> Self {
        Self { room: Room::of(end.message_bytes()), out: Out::Broadcast(Box::new(end)) }
    }
}

impl From<spmc::plain::Sender> for Sender {
    fn from(end: spmc::plain::Sender) -> Self {
        Self { room: Room::of(end.message_bytes()), out: Out::Crowd(Box::new(end)) }
    }
}

impl From<latest::plain::Writer> for Sender {
    fn from(end: latest::plain::Writer) -> Self {
        Self { room: Room::of(end.message_bytes()), out: Out::Latest(end) }
    }
}

impl Sender {
    pub(super) fn send(&mut self, message: &[u8]) -> Result<(), Error> {
        self.out.send(message)
    }

    pub(super) fn loan(&mut self, bytes: usize) -> Result<Loan<'_>, Error> {
        let bytes_max = self.room.len();
        if bytes != bytes_max {
            return Err(Error::TooLong { bytes, bytes_max });
        }
        Ok(Loan(self))
    }

    pub(super) fn unread(&mut self) -> u64 {
        match &mut self.out {
            Out::Broadcast(end) => end.unread(),
            Out::Crowd(end) => end.unread(),
            Out::Latest(_) => 0,
        }
    }

    pub(super) fn receivers(&mut self) -> Option<usize> {
        match &mut self.out {
            Out::Broadcast(end) => Some(end.receivers()),
            Out::Crowd(end) => Some(end.receivers()),
            Out::Latest(_) => None,
        }
    }

    pub(super) fn stats(&self) -> Stats {
        match &self.out {
            Out::Broadcast(end) => end.stats(),
            Out::Crowd(end) => end.stats(),
            Out::Latest(end) => Stats { slots: end.written(), ..Stats::default() },
        }
    }
}

impl Out {
    fn send(&mut self, message: &[u8]) -> Result<(), Error> {
        match self {
            Self::Broadcast(end) => end.send(message),
            Self::Crowd(end) => end.send(message),
            Self::Latest(end) => end.set(message),
        }
    }
}

/// Room for a message that is copied in when it is committed.
#[derive(Debug)]
pub struct Loan<'a>(&'a mut Sender);

impl Loan<'_> {
    pub(super) fn commit(self) -> Result<(), Error> {
        let Sender { out, room } = self.0;
        out.send(room)
    }
}

impl Deref for Loan<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.room
    }
}

impl DerefMut for Loan<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0.room
    }
}

#[derive(Debug)]
enum In {
    Broadcast(broadcast::plain::Receiver),
    Crowd(spmc::plain::Receiver),
    Latest(latest::plain::Reader),
}

/// An end that receives.
#[derive(Debug)]
pub struct Receiver {
    input: In,
    room: Room,
}

impl From<broadcast::plain::Receiver> for Receiver {
    fn from(end: broadcast::plain::Receiver) -> Self {
        Self { room: Room::of(end.message_bytes()), input: In::Broadcast(end) }
    }
}

impl From<spmc::plain::Receiver> for Receiver {
    fn from(end: spmc::plain::Receiver) -> Self {
        Self { room: Room::of(end.message_bytes()), input: In::Crowd(end) }
    }
}

impl From<latest::plain::Reader> for Receiver {
    fn from(end: latest::plain::Reader) -> Self {
        Self { room: Room::of(end.message_bytes()), input: In::Latest(end) }
    }
}

impl Receiver {
    pub(super) fn recv(&mut self, time: Option<Duration>) -> Result<Received<'_>, Error> {
        match &mut self.input {
            In::Broadcast(end) => end.recv_into(&mut self.room, time)?,
            In::Crowd(end) => end.recv_into(&mut self.room, time)?,
            In::Latest(end) => end.changed(&mut self.room, time)?,
        }
        Ok(Received(&self.room))
    }

    pub(super) fn try_recv(&mut self) -> Result<Option<Received<'_>>, Error> {
        let there = match &mut self.input {
            In::Broadcast(end) => end.try_recv_into(&mut self.room)?,
            In::Crowd(end) => end.try_recv_into(&mut self.room)?,
            In::Latest(end) => end.try_changed(&mut self.room)?,
        };
        Ok(there.then_some(Received(&self.room)))
    }

    pub(super) fn poll_ready(&mut self, context: &Context<'_>) -> Poll<Result<(), Error>> {
        match &mut self.input {
            In::Broadcast(end) => end.poll_ready(context),
            In::Crowd(end) => end.poll_ready(context),
            In::Latest(end) => end.poll_ready(context),
        }
    }

    pub(super) fn newest(&mut self) -> Result<Option<Received<'_>>, Error> {
        let In::Latest(end) = &mut self.input else { return Err(super::NO_LATEST) };
        Ok(end.get(&mut self.room)?.then_some(Received(&self.room)))
    }

    pub(super) fn stats(&self) -> Stats {
        match &self.input {
            In::Broadcast(end) => end.stats(),
            In::Crowd(end) => end.stats(),
            In::Latest(end) => end.stats(),
        }
    }
}

/// A message that was copied out.
#[derive(Debug)]
pub struct Received<'a>(&'a Room);

impl Deref for Received<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0
    }
}
