//! The rendezvous as models see it: there are no other processes.

use crate::desk::{Arrival, Stock, Task, Terms};
use crate::ends::{Rx, Tx};
use crate::raw::{Format, Region};
use crate::sync::AtomicU32;
use crate::wait::Signal;
use crate::{Config, Error};

/// Keeps an end's place at its name.
#[derive(Debug, Default)]
pub(crate) struct Member;

/// Of the empty ring that who reads looks at while nobody is there.
pub(crate) const NOBODYS_SLOTS: usize = 2;

fn none<T>() -> Result<T, Error> {
    Err(Error::System("a model has no other processes".into()))
}

pub(crate) fn sender(_: &str, _: &Config, _: Terms, _: Format) -> Result<Tx, Error> {
    none()
}

pub(crate) fn receiver(_: &str, _: &Config, _: Terms, _: Format) -> Result<Rx, Error> {
    none()
}

/// One end for any number of others.
#[derive(Debug)]
pub(crate) struct Host(Region);

impl Host {
    pub(crate) fn open(
        _: &str,
        _: Terms,
        _: (usize, usize),
        _: &Signal,
    ) -> Result<(Self, Region), Error> {
        none()
    }

    pub(crate) fn gather(_: &str, _: Terms, _: usize, _: &Signal) -> Result<Self, Error> {
        none()
    }

    pub(crate) fn open_among(
        _: (&str, usize),
        _: Terms,
        _: (usize, usize),
        _: &Signal,
    ) -> Result<(Self, Stock), Error> {
        none()
    }

    pub(crate) fn seek(_: (&str, usize), _: Terms, _: &Signal) -> Result<Self, Error> {
        none()
    }

    #[expect(clippy::unused_self, reason = "it is what the real one has")]
    pub(crate) fn refusal(&self) -> Option<Error> {
        None
    }

    #[expect(clippy::unused_self, reason = "it is what the real one has")]
    pub(crate) fn has_news(&self) -> bool {
        false
    }

    #[expect(clippy::unused_self, reason = "it is what the real one has")]
    pub(crate) fn next(&self) -> Option<Arrival> {
        None
    }

    pub(crate) fn bell(&self) -> &AtomicU32 {
        self.0.side().bell()
    }
}

/// One end of several that read what one other writes.
pub(crate) struct Guest {
    pub(crate) nobody: Region,
    pub(crate) signal: Signal,
    pub(crate) member: Member,
}

pub(crate) fn guest(_: &str, _: &Config, _: Terms, _: (usize, u64)) -> Result<Guest, Error> {
    none()
}

/// One end of several that ask what one other answers.
pub(crate) struct Asker {
    pub(crate) slots: Region,
    pub(crate) nobody: Region,
    pub(crate) signal: Signal,
    pub(crate) member: Member,
}

pub(crate) fn asker(_: &str, _: &Config, _: Terms, _: usize) -> Result<Asker, Error> {
    none()
}

/// One of several places that an end keeps.
#[derive(Debug)]
pub(crate) struct Visitor;

impl Visitor {
    pub(crate) fn open(_: &str, _: Terms, _: usize, _: Task) -> Result<(Self, Region), Error> {
        none()
    }

    #[expect(clippy::unused_self, reason = "it is what the real one has")]
    pub(crate) fn next(&self) -> Result<Option<Arrival>, Error> {
        none()
    }
}
