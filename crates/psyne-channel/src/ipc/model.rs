//! The rendezvous as models see it: there are no other processes.

use crate::desk::Terms;
use crate::ends::{Rx, Tx};
use crate::raw::Format;
use crate::{Config, Error};

/// Keeps an end's place at its name.
#[derive(Debug, Default)]
pub(crate) struct Member;

fn none<T>() -> Result<T, Error> {
    Err(Error::System("a model has no other processes".into()))
}

pub(crate) fn sender(_: &str, _: &Config, _: Terms, _: Format) -> Result<Tx, Error> {
    none()
}

pub(crate) fn receiver(_: &str, _: &Config, _: Terms, _: Format) -> Result<Rx, Error> {
    none()
}
