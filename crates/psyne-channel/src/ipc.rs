//! How ends of a name find each other: the rendezvous.
//!
//! The side of which there is one is the *host*: it owns the name. Those of the other side are
//! *guests*: they come, and come again when the host dies. Either may be first. A guest says what
//! it means by the name and hands its region over; the host checks that and answers with its own,
//! or with why not. The connection stays: when it ends, so has the process.
//!
//! ```text
//! guest   connect, Hello + region ───►   host   check, map it
//!         check, map it           ◄───          Hello + region, or a refusal
//!         ring a task: a byte     ◄──►          hang-up: finished, or dead
//! ```
//!
//! One thread for each process does all of it, once a first name was used (`clerk`); it holds no
//! channel up, and channels go on without it.

mod clerk;
mod hello;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod liars;
mod path;
mod seat;
mod socket;
pub(crate) mod window;

use std::iter;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::address::Address;
use crate::desk::{Arrival, Desk, Pattern, Stock, Task, Terms};
use crate::ends::{Rx, Tx};
use crate::raw::{Consumer, Format, LINE, Other, Producer, Region, Rights, shared};
use crate::sync::{AtomicU32, Ordering};
use crate::wait::{Signal, vacant};
use crate::{Config, Error, observe};

/// A hello as this process would say it; nothing if it is none.
pub(crate) fn reread(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(hello::Hello::parse(bytes)?.to_bytes().to_vec())
}

/// Of the empty ring that who reads looks at while nobody is there.
pub(crate) const NOBODYS_SLOTS: usize = 2;

/// The region with messages, that all others are given to read.
#[derive(Debug)]
pub(crate) struct Ring {
    pub(crate) region: Region,
    pub(crate) file: OwnedFd,
    pub(crate) slots: usize,
    /// What others write to take from it, if many do.
    pub(crate) claim: Option<(Region, OwnedFd)>,
}

impl Ring {
    /// What others are given of it.
    fn files(&self) -> impl Iterator<Item = &OwnedFd> {
        iter::once(&self.file).chain(self.claim.iter().map(|(_, file)| file))
    }

    /// For observers.
    fn words(&self) -> observe::Words {
        let words = observe::Words::of(self.region.side());
        match &self.claim {
            Some((claim, _)) => words.with_taken(claim.sequence(0).load(Ordering::Relaxed)),
            None => words,
        }
    }
}

/// Slots of a claim's region, and bytes of each.
pub(crate) const CLAIM: (usize, usize) = (1, LINE);

/// What an end brings along.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) terms: Terms,
    /// If this end owns the messages. Otherwise it has some words for each other end.
    pub(crate) ring: Option<Ring>,
    /// Others at once.
    pub(crate) others_max: usize,
    /// Something that the other end is told when it comes, by pattern.
    pub(crate) note: u64,
}

/// Which end owns the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Host,
    /// One of so many that do.
    HostOf(usize),
    Guest,
}

/// Keeps an end's place at its name. Dropped, the others hear that it left.
#[derive(Debug, Default)]
pub(crate) struct Member(Option<u64>);

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(number) = self.0.take() {
            clerk::leave(number);
        }
    }
}

/// A region with messages that others are given.
fn ring(slots: usize, terms: &Terms) -> Result<Ring, Error> {
    let all = slots + terms.pattern.head_slots();
    let (region, file) = shared(all, terms.stride, terms.pattern.rights())?;
    let claim = match terms.pattern {
        Pattern::Crowd => Some(shared(CLAIM.0, CLAIM.1, Rights::All)?),
        _ => None,
    };
    Ok(Ring { region, file, slots, claim })
}

/// The sending end of the queue at an address: a guest, whose messages lie in its own ring.
///
/// # Errors
/// `Address`, `Config`, `Memory`, `System`; `Crowded`, `LayoutMismatch` or `PatternMismatch` if the
/// receiver is there and says so.
pub(crate) fn sender(
    address: &str,
    config: &Config,
    terms: Terms,
    format: Format,
) -> Result<Tx, Error> {
    let address = Address::parse(address)?;
    let (slots, stride) = (config.ring_slots()?, terms.stride);
    let ring = ring(slots, &terms)?;
    let nobody = Arc::new(Other::vacant(0, LINE, vacant())?);
    let (signal, desk) = Signal::named(config.wait, nobody.clone());
    let shape = (slots, stride, format);
    let lane = Producer::over(ring.region.clone(), nobody.region().clone(), shape);
    let offer = Offer { terms, ring: Some(ring), others_max: 1, note: 0 };
    let member = clerk::enter(&address, Role::Guest, offer, desk)?;
    Ok(Tx::new(lane, signal, config, member))
}

/// The receiving end of the queue at an address: the host.
///
/// # Errors
/// `Crowded` if there is one; `Address`, `Memory`, `System`.
pub(crate) fn receiver(
    address: &str,
    config: &Config,
    terms: Terms,
    format: Format,
) -> Result<Rx, Error> {
    let address = Address::parse(address)?;
    let nobody = Arc::new(Other::vacant(NOBODYS_SLOTS, terms.stride, vacant())?);
    let (signal, desk) = Signal::named(config.wait, nobody.clone());
    let words = Region::private(0, LINE)?;
    let shape = (NOBODYS_SLOTS, terms.stride, format);
    let lane = Consumer::over(nobody.region().clone(), words, shape);
    let offer = Offer { terms, ring: None, others_max: 1, note: 0 };
    let member = clerk::enter(&address, Role::Host, offer, desk)?;
    Ok(Rx::new(lane, signal, member))
}

/// One end of several that ask what one other answers: a guest, whose slots both write.
pub(crate) struct Asker {
    pub(crate) slots: Region,
    pub(crate) nobody: Region,
    pub(crate) signal: Signal,
    pub(crate) member: Member,
}

/// Looks for who answers at an address, with so many slots.
///
/// # Errors
/// `Address`, `Memory`, `System`; if the host is there: `Crowded`, `LayoutMismatch`,
/// `PatternMismatch`.
pub(crate) fn asker(
    address: &str,
    config: &Config,
    terms: Terms,
    slots: usize,
) -> Result<Asker, Error> {
    let address = Address::parse(address)?;
    let ring = ring(slots.next_power_of_two().max(2), &terms)?;
    let region = ring.region.clone();
    let nobody = Arc::new(Other::vacant(0, LINE, vacant())?);
    let (signal, desk) = Signal::named(config.wait, nobody.clone());
    let offer = Offer { terms, ring: Some(ring), others_max: 1, note: slots as u64 };
    let member = clerk::enter(&address, Role::Guest, offer, desk)?;
    Ok(Asker { slots: region, nobody: nobody.region().clone(), signal, member })
}

/// One of several places that an end keeps, at each of which one other writes: a guest.
#[derive(Debug)]
pub(crate) struct Visitor {
    desk: Arc<Desk>,
    _member: Member,
}

impl Visitor {
    /// Looks for who writes so many slots at an address, for the end whose task this is. Until
    /// somebody comes there is an empty region, whose bell then rings.
    ///
    /// # Errors
    /// `Address`, `Memory`, `System`; if the host is there: `Crowded`, `LayoutMismatch`,
    /// `PatternMismatch`.
    pub(crate) fn open(
        address: &str,
        terms: Terms,
        slots: usize,
        task: Task,
    ) -> Result<(Self, Region), Error> {
        let address = Address::parse(address)?;
        let nobody = Arc::new(Other::vacant(slots, terms.stride, vacant())?);
        let desk = Arc::new(Desk::new(nobody.clone(), task));
        let offer = Offer { terms, ring: None, others_max: 1, note: 0 };
        let member = clerk::enter(&address, Role::Guest, offer, desk.clone())?;
        Ok((Self { desk, _member: member }, nobody.region().clone()))
    }

    /// The next who writes there: the last one is dead, or never came.
    ///
    /// # Errors
    /// Why nobody will.
    pub(crate) fn next(&self) -> Result<Option<Arrival>, Error> {
        self.desk.take()
    }
}

/// One end for any number of others: their host, or a guest at several.
#[derive(Debug)]
pub(crate) struct Host {
    desk: Arc<Desk>,
    /// Rings when somebody comes.
    porch: Arc<Other>,
    _members: Vec<Member>,
}

impl Host {
    /// Opens the name for at most so many others, all of which are given its ring of `slots` to
    /// read.
    ///
    /// # Errors
    /// `Crowded` if somebody has it; `Address`, `Config`, `Memory`, `System`.
    pub(crate) fn open(
        address: &str,
        terms: Terms,
        (slots, others_max): (usize, usize),
        signal: &Signal,
    ) -> Result<(Self, Region), Error> {
        let ring = ring(slots, &terms)?;
        let region = ring.region.clone();
        let offer = Offer { terms, ring: Some(ring), others_max, note: 0 };
        Ok((Self::enter(address, offer, signal)?, region))
    }

    /// Opens the name for at most so many others, each of which brings a ring of its own.
    ///
    /// # Errors
    /// `Crowded` if somebody has it; `Address`, `Memory`, `System`.
    pub(crate) fn gather(
        address: &str,
        terms: Terms,
        others_max: usize,
        signal: &Signal,
    ) -> Result<Self, Error> {
        Self::enter(address, Offer { terms, ring: None, others_max, note: 0 }, signal)
    }

    /// Opens the first free of so many places at a name, for at most so many others, all of which
    /// are given its ring of `slots` to read and its claim to write.
    ///
    /// # Errors
    /// `Crowded` if there is none; `Address`, `Memory`, `System`.
    pub(crate) fn open_among(
        (address, places): (&str, usize),
        terms: Terms,
        (slots, others_max): (usize, usize),
        signal: &Signal,
    ) -> Result<(Self, Stock), Error> {
        let ring = ring(slots, &terms)?;
        let claim =
            ring.claim.as_ref().map_or_else(|| ring.region.clone(), |claim| claim.0.clone());
        let stock = Stock { ring: ring.region.clone(), claim };
        let offer = Offer { terms, ring: Some(ring), others_max, note: 0 };
        let (desk, porch) = Self::porch(signal)?;
        let address = Address::parse(address)?;
        let member = clerk::enter(&address, Role::HostOf(places), offer, desk.clone())?;
        Ok((Self { desk, porch, _members: vec![member] }, stock))
    }

    /// Looks for who owns any of so many places at a name.
    ///
    /// # Errors
    /// `Address`, `Memory`, `System`; what the first says if it refuses.
    pub(crate) fn seek(
        (address, places): (&str, usize),
        terms: Terms,
        signal: &Signal,
    ) -> Result<Self, Error> {
        let (desk, porch) = Self::porch(signal)?;
        let address = Address::parse(address)?;
        let enter = |place| {
            let offer = Offer { terms, ring: None, others_max: 1, note: 0 };
            clerk::enter(&address.at(place), Role::Guest, offer, desk.clone())
        };
        let members: Result<Vec<_>, _> = (0..places).map(enter).collect();
        Ok(Self { _members: members?, desk, porch })
    }

    fn enter(address: &str, offer: Offer, signal: &Signal) -> Result<Self, Error> {
        let address = Address::parse(address)?;
        let (desk, porch) = Self::porch(signal)?;
        let member = clerk::enter(&address, Role::Host, offer, desk.clone())?;
        Ok(Self { desk, porch, _members: vec![member] })
    }

    fn porch(signal: &Signal) -> Result<(Arc<Desk>, Arc<Other>), Error> {
        let porch = Arc::new(Other::vacant(0, LINE, vacant())?);
        Ok((Arc::new(Desk::new(porch.clone(), signal.task())), porch))
    }

    /// Whether somebody came.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        self.desk.has_news()
    }

    /// The next who came.
    #[inline]
    pub(crate) fn next(&self) -> Option<Arrival> {
        if self.has_news() { self.desk.next() } else { None }
    }

    /// Why somebody who owns a place refused us, said once.
    pub(crate) fn refusal(&self) -> Option<Error> {
        self.desk.refusal()
    }

    /// Counts who came.
    pub(crate) fn bell(&self) -> &AtomicU32 {
        self.porch.region().side().bell()
    }
}

/// One end of several that read what one other writes: a guest. Until it comes there is `nobody`.
pub(crate) struct Guest {
    pub(crate) nobody: Region,
    pub(crate) signal: Signal,
    pub(crate) member: Member,
}

/// Looks for who writes at an address. `note` is said to it.
///
/// # Errors
/// `Address`, `Memory`, `System`; if the host is there: `Crowded`, `LayoutMismatch`,
/// `PatternMismatch`.
pub(crate) fn guest(
    address: &str,
    config: &Config,
    terms: Terms,
    (slots, note): (usize, u64),
) -> Result<Guest, Error> {
    let address = Address::parse(address)?;
    let all = slots + terms.pattern.head_slots();
    let nobody = Arc::new(Other::vacant(all, terms.stride, vacant())?);
    let (signal, desk) = Signal::named(config.wait, nobody.clone());
    let offer = Offer { terms, ring: None, others_max: 1, note };
    let member = clerk::enter(&address, Role::Guest, offer, desk)?;
    Ok(Guest { nobody: nobody.region().clone(), signal, member })
}
