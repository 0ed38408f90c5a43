//! The newest value of something whose type the compiler does not know: for other languages. The
//! other ends may have the [type](super::Writer) with the same layout.

use core::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::{NONE, terms};
use crate::plain::{check, fits};
use crate::raw::{load_bytes, store_bytes};
use crate::{Config, Error, Layout, Stats};

/// The side that writes. Dropped, it leaves its last value.
#[derive(Debug)]
pub struct Writer {
    /// Of no type: how values are written is said for each.
    writer: super::Writer<()>,
    bytes: usize,
}

impl Writer {
    /// The value at an address, as [`latest::Writer::open`](super::Writer::open).
    ///
    /// # Errors
    /// `Crowded` if there is a writer; `Address`, `Config`, `Memory`, `System`.
    pub fn open(address: &str, layout: &Layout, config: &Config) -> Result<Self, Error> {
        check(layout)?;
        let writer = super::Writer::open_on(address, terms(*layout), config)?;
        Ok(Self { writer, bytes: layout.size })
    }

    /// Replaces the value. Never waits, whatever readers do.
    ///
    /// # Errors
    /// `TooLong` unless it has the layout's size.
    pub fn set(&mut self, value: &[u8]) -> Result<(), Error> {
        fits(value, self.bytes)?;
        self.writer.replace_by(|words| store_bytes(words, value));
        Ok(())
    }

    /// Bytes of each value.
    #[must_use]
    pub fn message_bytes(&self) -> usize {
        self.bytes
    }

    /// Values written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.writer.written
    }
}

/// A side that reads.
#[derive(Debug)]
pub struct Reader {
    reader: super::Reader<()>,
    bytes: usize,
}

impl Reader {
    /// A reader of the value at an address, as [`latest::Reader::open`](super::Reader::open).
    ///
    /// # Errors
    /// `Address`, `Config`, `Memory`, `System`; if a writer is there: `Crowded`,
    /// `LayoutMismatch`, `PatternMismatch`.
    pub fn open(address: &str, layout: &Layout, config: &Config) -> Result<Self, Error> {
        check(layout)?;
        let reader = super::Reader::open_on(address, terms(*layout), config)?;
        Ok(Self { reader, bytes: layout.size })
    }

    /// Copies the newest value to `value`; false before the first, of each writer.
    ///
    /// # Errors
    /// `TooLong` unless `value` has the layout's size.
    pub fn get(&mut self, value: &mut [u8]) -> Result<bool, Error> {
        fits(value, self.bytes)?;
        self.reader.follow();
        Ok(self.copy(value).is_ok())
    }

    /// Waits for a value that is newer than the last that this reader got, as long as it takes or
    /// for `time`, and copies it to `value`.
    ///
    /// # Errors
    /// `TooLong`, `TimedOut`; `Closed` or `PeerDied` if the writer is gone; `Memory`, `Corrupt`.
    pub fn changed(&mut self, value: &mut [u8], time: Option<Duration>) -> Result<(), Error> {
        fits(value, self.bytes)?;
        self.reader.wait(time.map(|time| Instant::now() + time))?;
        self.copy(value)
    }

    /// Copies the newest value to `value`, if it is newer than the last that this reader got.
    ///
    /// # Errors
    /// `TooLong`, `Closed`, `PeerDied`, `Corrupt`.
    pub fn try_changed(&mut self, value: &mut [u8]) -> Result<bool, Error> {
        fits(value, self.bytes)?;
        Ok(self.reader.look()? && self.copy(value).map(|()| true)?)
    }

    /// Ready when [`try_changed`](Self::try_changed) is worth it; else the task is woken then.
    ///
    /// # Errors
    /// `Closed`, `PeerDied`, `Memory`, `Corrupt`.
    pub fn poll_ready(&mut self, context: &Context<'_>) -> Poll<Result<(), Error>> {
        self.reader.poll_ready(context)
    }

    /// How this end waited; `slots` is the number of the value that it got last.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (waits, sleeps) = self.reader.signal.counts();
        Stats { slots: self.reader.view.seen, refused: 0, waits, sleeps }
    }

    fn copy(&mut self, value: &mut [u8]) -> Result<(), Error> {
        self.reader.view.get_by(|words| load_bytes(words, value)).ok_or(NONE)
    }

    /// Bytes of each value.
    #[must_use]
    pub fn message_bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(all(test, not(any(loom, miri))))]
mod tests {
    use super::*;
    use crate::{Message, latest};

    #[test]
    fn typed_ends_understand_untyped_ones() {
        let config = Config::default();
        let address = format!("memory://latest-plain-{}", std::process::id());
        let layout = <[u16; 5]>::LAYOUT;
        let mut writer = Writer::open(&address, &layout, &config).unwrap();
        let mut typed = latest::Reader::<[u16; 5]>::open(&address, &config).unwrap();
        let mut plain = Reader::open(&address, &layout, &config).unwrap();
        let mut value = [1; 10];
        assert_eq!(plain.get(&mut value), Ok(false));
        writer.set(&[2; 10]).unwrap();
        writer.set(&[3; 10]).unwrap();
        assert_eq!(typed.changed(), Ok([0x303; 5]));
        plain.changed(&mut value, None).unwrap();
        assert_eq!((value, plain.try_changed(&mut value)), ([3; 10], Ok(false)));
        assert_eq!(plain.changed(&mut value, Some(Duration::ZERO)), Err(Error::TimedOut));
        assert_eq!((plain.get(&mut value), writer.written()), (Ok(true), 2));
        let wrong = Error::TooLong { bytes: 2, bytes_max: 10 };
        assert_eq!(writer.set(&[0; 2]), Err(wrong.clone()));
        assert_eq!(plain.get(&mut [0; 2]), Err(wrong));
        drop(writer);
        assert_eq!(plain.changed(&mut value, None).unwrap_err().code(), "closed");
        assert_eq!((plain.get(&mut value), value), (Ok(true), [3; 10]));
    }
}
