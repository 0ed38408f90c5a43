//! One end's place at its name: who came, who is there, who died.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::hello::{Answer, Hello, Met};
use super::path::Listener;
use super::socket::{self, Heard};
use super::{Offer, Ring, clerk::Watch};
use crate::Error;
use crate::address::{Address, Share};
use crate::desk::{Arrival, Desk, Terms, Wire};
use crate::observe::{End, OTHERS_MAX, Other, Words};
use crate::raw::{self, LINE, Region, Rights};
use crate::sync::{Ordering, heavy_fence, register_fences};
use crate::wait::{Link, dead, doze, has_finished, leave};

/// Connections that have not said hello: more of them than of guests is somebody's fault, and the
/// oldest go.
const SILENT_MAX: usize = 16;

/// Where the others come from.
#[derive(Debug)]
pub(super) enum Door {
    /// We own the name, and listen.
    Host(Listener),
    /// Who owns it is asked again and again, until it refuses us for good.
    Guest,
    /// Nobody will come any more.
    Shut,
}

/// A connection.
#[derive(Debug)]
struct Contact {
    token: u64,
    wire: Arc<Wire>,
    pid: u32,
    pidfd: Option<OwnedFd>,
    /// Our words, if it does not read our ring.
    words: Option<Region>,
    /// Its region, once it said hello.
    met: Option<Arc<raw::Other>>,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Seat {
    address: Address,
    door: Door,
    offer: Offer,
    desk: Arc<Desk>,
    contacts: Vec<Contact>,
    /// Where the next reader of our ring begins.
    resume: u64,
    /// Whether the only other side finished.
    over: bool,
    /// Others that came, if we are host.
    came: u64,
}

impl Seat {
    pub(super) fn new(address: Address, door: Door, offer: Offer, desk: Arc<Desk>) -> Self {
        Self { address, door, offer, desk, contacts: Vec::new(), resume: 0, over: false, came: 0 }
    }

    pub(super) fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    /// The socket that others connect to.
    pub(super) fn listener(&self) -> Option<&OwnedFd> {
        if let Door::Host(listener) = &self.door { Some(&listener.socket) } else { None }
    }

    /// Whether the host has to be looked for.
    pub(super) fn seeks(&self) -> bool {
        matches!(self.door, Door::Guest) && self.contacts.is_empty() && !self.over
    }

    /// The same where it is one of several places, in some rounds only: the first in each, the next
    /// in each second one, and so on, so that all of 64 cost as much as five.
    pub(super) fn seek_in(&mut self, round: usize, watch: &mut Watch<'_>) {
        if round.is_multiple_of(self.address.place + 1) {
            self.seek(watch);
        }
    }

    /// Looks for the host, once.
    pub(super) fn seek(&mut self, watch: &mut Watch<'_>) {
        // Who opens and the thread both look: one of them has found it already.
        if !self.seeks() {
            return;
        }
        match self.try_host(watch) {
            Ok(true) => {}
            Ok(false) => self.desk.tried(),
            Err(error) => self.shut(error),
        }
    }

    fn try_host(&mut self, watch: &mut Watch<'_>) -> Result<bool, Error> {
        let Some(socket) = socket::connect(&self.address)? else { return Ok(false) };
        let mut contact = Contact::new(socket, self.address.share, watch)?;
        let file = self.bring(&mut contact, 0)?;
        let hello = Hello::new(Answer::Welcome, &self.offer, self.resume);
        let files = file.iter().chain(self.offer.ring.iter().flat_map(Ring::files));
        if !socket::say(contact.wire.0.as_fd(), hello, files) {
            contact.end(watch);
            return Ok(false);
        }
        self.contacts.push(contact);
        Ok(true)
    }

    fn shut(&mut self, error: Error) {
        self.door = Door::Shut;
        self.desk.refuse(error);
    }

    /// Makes our words for another side, unless it reads our ring.
    fn bring(&self, contact: &mut Contact, start: u64) -> Result<Option<OwnedFd>, Error> {
        if self.offer.ring.is_some() && !self.offer.terms.pattern.has_pairs() {
            return Ok(None);
        }
        let (words, file) = raw::shared(0, LINE, Rights::Maker)?;
        self.begin(&words, start);
        contact.words = Some(words);
        Ok(Some(file))
    }

    /// Our words for who reads from message `start` on. Not awake: until our end has seen it, the
    /// other passes full fences.
    fn begin(&self, words: &Region, start: u64) {
        let side = words.side();
        doze(side);
        let Terms { pattern, .. } = self.offer.terms;
        side.count().store(pattern.count(start), Ordering::Release);
        side.position().store(pattern.position(start), Ordering::Release);
    }

    /// Lets everybody connect who waits for it.
    pub(super) fn accept(&mut self, watch: &mut Watch<'_>) {
        let Some(listener) = self.listener() else { return };
        // Who has nothing to do here is not even spoken to.
        if let Some(socket) = socket::accept(listener)
            && let Ok(contact) = Contact::new(socket, self.address.share, watch)
        {
            self.contacts.push(contact);
        }
        let silent = |contact: &Contact| contact.met.is_none();
        if self.contacts.iter().filter(|contact| silent(contact)).count() > SILENT_MAX
            && let Some(oldest) = self.contacts.iter().position(silent)
        {
            self.end(oldest, watch);
        }
    }

    /// Something happened at a connection.
    pub(super) fn attend(&mut self, token: u64, watch: &mut Watch<'_>) {
        let Some(at) = self.contacts.iter().position(|contact| contact.token == token) else {
            return;
        };
        if self.contacts[at].met.is_some() {
            return self.listen(at, watch);
        }
        match socket::hear(self.contacts[at].wire.0.as_fd()) {
            Heard::Nothing => {}
            Heard::End => self.end(at, watch),
            Heard::Hello(hello, files) if self.listener().is_some() => {
                self.receive(at, hello, &files, watch);
            }
            Heard::Hello(hello, files) => self.received(at, hello, &files, watch),
        }
    }

    /// It rang, or ended.
    fn listen(&mut self, at: usize, watch: &mut Watch<'_>) {
        let contact = &self.contacts[at];
        match socket::rang(contact.wire.0.as_fd()) {
            Ok(false) if contact.pidfd.as_ref().is_some_and(socket::has_ended) => {
                self.end(at, watch);
            }
            Ok(true) => {
                self.pass_on();
                watch.wake(&self.desk);
            }
            Ok(false) => {}
            Err(_) => self.end(at, watch),
        }
    }

    /// One of those who take from one ring was rung for what it did not take, or ended: wakes the
    /// others that sleep.
    fn pass_on(&self) {
        if !self.offer.terms.pattern.has_pairs() {
            return;
        }
        for contact in &self.contacts {
            if let (Some(words), Some(met)) = (&contact.words, &contact.met) {
                Link::far(contact.wire.clone()).rouse(words.side(), met.region().side());
            }
        }
    }

    /// As host: a guest said hello.
    fn receive(&mut self, at: usize, hello: Hello, files: &[OwnedFd], watch: &mut Watch<'_>) {
        let token = self.contacts[at].token;
        self.reap(watch);
        let Some(at) = self.contacts.iter().position(|contact| contact.token == token) else {
            return;
        };
        if let Err(answer) = self.admit(at, hello, files) {
            let mut no = Hello::new(answer, &self.offer, 0);
            no.note = self.offer.others_max as u64;
            let _ = socket::say(self.contacts[at].wire.0.as_fd(), no, None);
            self.end(at, watch);
        }
    }

    fn admit(&mut self, at: usize, hello: Hello, files: &[OwnedFd]) -> Result<(), Answer> {
        if hello.answer != Answer::Welcome {
            return Err(Answer::OtherPattern);
        }
        let other = hello.meet(&self.offer, files).map_err(|error| Answer::to(&error))?;
        let met = self.contacts.iter().filter(|contact| contact.met.is_some()).count();
        if met >= self.offer.others_max {
            return Err(Answer::Crowded);
        }
        if self.over || self.desk.is_full() {
            return Err(Answer::Later);
        }
        let start = match &self.offer.ring {
            Some(ring) => ring.region.side().position().load(Ordering::Acquire),
            None => hello.start,
        };
        let mut contact = self.contacts.swap_remove(at);
        let words = self.bring(&mut contact, start);
        self.contacts.push(contact);
        let at = self.contacts.len() - 1;
        let words = words.map_err(|error| Answer::to(&error))?;
        let mut welcome = Hello::new(Answer::Welcome, &self.offer, start);
        welcome.note = self.came;
        self.came += 1;
        // Who is gone already has left messages all the same.
        let files = words.iter().chain(self.offer.ring.iter().flat_map(Ring::files));
        let _ = socket::say(self.contacts[at].wire.0.as_fd(), welcome, files);
        // Our end last: what it does for who came, it does for one that will hear of us, even if
        // we are killed then. What either publishes before it hears is rung for by `greet`.
        self.meet(at, other, &hello, start);
        Ok(())
    }

    /// As guest: the host answered.
    fn received(&mut self, at: usize, hello: Hello, files: &[OwnedFd], watch: &mut Watch<'_>) {
        let refusal = match hello.answer {
            Answer::Welcome => match hello.meet(&self.offer, files) {
                Ok(other) => {
                    let start = if self.offer.ring.is_some() { self.resume } else { hello.start };
                    if let Some(words) = &self.contacts[at].words {
                        self.begin(words, start);
                    }
                    return self.meet(at, other, &hello, start);
                }
                Err(error) => Some(error),
            },
            no => no.refusal(hello.note),
        };
        self.end(at, watch);
        match refusal {
            Some(error) => self.shut(error),
            None => self.desk.tried(),
        }
    }

    fn meet(&mut self, at: usize, who: Met, hello: &Hello, start: u64) {
        let contact = &mut self.contacts[at];
        let (theirs, stock) = (Arc::new(who.other), who.stock);
        contact.met = Some(theirs.clone());
        let (ours, wire) = (contact.words.clone(), contact.wire.clone());
        let slots = hello.ring_slots(&self.offer);
        let (met, way) = (theirs.clone(), Link::far(wire.clone()));
        let words = ours.clone();
        self.desk.put(Arrival { theirs, ours, slots, start, note: hello.note, stock, wire });
        self.greet(words.as_ref(), &met, way);
    }

    /// Wakes who came if it sleeps: it may have met us before we met it, and what our end published
    /// in between was rung for by nobody. After that our end finds the arrival, and rings itself.
    fn greet(&self, words: Option<&Region>, met: &raw::Other, mut way: Link) {
        let ours = words.or(self.offer.ring.as_ref().map(|ring| &ring.region));
        if let Some(ours) = ours {
            // Our end finds the arrival from now on, or what it published before can be seen.
            if register_fences() {
                heavy_fence();
            }
            way.rouse(ours.side(), met.region().side());
        }
    }

    /// Looks whether any of those that are said to be there has died.
    fn reap(&mut self, watch: &mut Watch<'_>) {
        for at in (0..self.contacts.len()).rev() {
            if self.contacts[at].met.is_some() {
                self.listen(at, watch);
            }
        }
    }

    /// A connection is over. Who did not say that it finished is dead.
    fn end(&mut self, at: usize, watch: &mut Watch<'_>) {
        let contact = self.contacts.remove(at);
        contact.end(watch);
        let Some(other) = contact.met else { return };
        let side = other.region().side();
        if has_finished(side) {
            // Who has many others goes on; a queue is finished with its one other side.
            let pattern = self.offer.terms.pattern;
            let alone = self.listener().is_none() && !pattern.has_places();
            self.over |= alone || pattern.is_pair();
            // It may not have known yet that we sleep.
            other.rouse();
            self.desk.ring();
        } else {
            let count = side.count().load(Ordering::Acquire);
            self.resume = self.offer.terms.pattern.resume(self.resume, count);
            // Without memory for a page its death stays unknown, and only that.
            let _ = other.bury(dead(contact.pid));
        }
        self.pass_on();
        watch.wake(&self.desk);
    }

    /// What an observer is told of it.
    pub(super) fn report(&self) -> End {
        let ring = self.offer.ring.as_ref();
        let others = self.contacts.iter().filter_map(|contact| {
            let ours = contact.words.as_ref().or(ring.map(|ring| &ring.region))?;
            let theirs = contact.met.as_ref()?.region().side();
            Some(Other {
                pid: contact.pid,
                ours: Words::of(ours.side()),
                theirs: Words::of(theirs),
            })
        });
        let Terms { pattern, layout, stride } = self.offer.terms;
        End {
            name: self.address.name.clone(),
            private: self.address.private,
            hosts: self.listener().is_some(),
            pattern: pattern.name().into(),
            layout,
            stride_bytes: stride as u64,
            ring_slots: ring.map(|ring| ring.slots as u64),
            words: ring.map(Ring::words).unwrap_or_default(),
            others: others.take(OTHERS_MAX).collect(),
            others_left_out: self.contacts.len().saturating_sub(OTHERS_MAX) as u64,
        }
    }

    /// The end is dropped.
    pub(super) fn leave(&mut self, watch: &mut Watch<'_>) {
        for contact in self.contacts.drain(..) {
            if let Some(words) = &contact.words {
                leave(words.side());
            }
            contact.end(watch);
        }
        self.desk.close();
    }
}

impl Contact {
    fn new(socket: OwnedFd, share: Share, watch: &mut Watch<'_>) -> Result<Self, Error> {
        let (pid, pidfd) = socket::peer(&socket, share)?;
        let token = watch.watch(&socket, pidfd.as_ref())?;
        let wire = Arc::new(Wire(socket));
        Ok(Self { token, wire, pid, pidfd, words: None, met: None })
    }

    fn end(&self, watch: &mut Watch<'_>) {
        watch.forget(self.token, &self.wire.0, self.pidfd.as_ref());
    }
}
