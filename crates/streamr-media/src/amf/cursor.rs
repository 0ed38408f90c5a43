//! Bounded reading: a place in the input and what may still be built from it.

use super::{Limits, malformed};
use crate::Error;

/// What is left of [`Limits`] while one message is decoded.
pub(super) struct Budget {
    limits: Limits,
    values: u32,
    bytes: u32,
    depth: u8,
}

impl Budget {
    pub(super) const fn new(limits: Limits) -> Self {
        Self { limits, values: 0, bytes: 0, depth: 0 }
    }

    pub(super) fn value(&mut self) -> Result<(), Error> {
        self.values += 1;
        within("values_max", self.values.into(), self.limits.values_max.into())
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<(), Error> {
        self.bytes = self.bytes.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        within("bytes_max", self.bytes.into(), self.limits.bytes_max.into())
    }

    /// Runs `inside` one level deeper.
    pub(super) fn nested(&mut self) -> Result<(), Error> {
        self.depth += 1;
        within("depth_max", self.depth.into(), self.limits.depth_max.into())
    }

    pub(super) const fn leave(&mut self) {
        self.depth -= 1;
    }
}

const fn within(limit: &'static str, value: u64, max: u64) -> Result<(), Error> {
    if value > max { Err(Error::Limit { limit, value, max }) } else { Ok(()) }
}

/// A place in the input.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    pub(super) input: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) const fn is_at_end(&self) -> bool {
        self.at >= self.input.len()
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        let taken = rest.get(..count).ok_or(malformed("value is cut short"))?;
        self.at += count;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, Error> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(super) fn f64(&mut self) -> Result<f64, Error> {
        Ok(f64::from_be_bytes(self.array()?))
    }

    /// `count` bytes as text, charged to `budget`.
    pub(super) fn text(&mut self, count: usize, budget: &mut Budget) -> Result<String, Error> {
        let bytes = self.take(count)?;
        budget.bytes(count)?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }
}
