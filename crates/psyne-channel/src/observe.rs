//! Looking at the named channels of this machine from outside: what is there, and what each end has
//! counted. The channels don't notice: positions and counters are where they are anyway, and the
//! thread that keeps a process' names reads them out.
//!
//! ```no_run
//! for process in psyne_channel::observe::processes()? {
//!     for end in process.ends {
//!         println!("{} {}: {} messages", process.pid, end.name, end.words.messages());
//!     }
//! }
//! # Ok::<(), psyne_channel::Error>(())
//! ```
//!
//! Numbers come from the processes that are looked at, so they are claims: each is clamped where it
//! is used, none is trusted.

use std::slice;

use crate::ipc::window;
use crate::raw::Side;
use crate::sync::Ordering;
use crate::{Error, Layout, address, wait};

/// Bytes of what one process tells: ends that no longer fit are left out and counted.
pub const BYTES_MAX: usize = 1 << 16;
/// Other sides that are told of one end; a broadcast may have more readers.
pub const OTHERS_MAX: usize = 64;
/// Processes that are asked.
pub const PROCESSES_MAX: usize = 1024;

/// "psyne" and the version of this message.
const MAGIC: u64 = u64::from_be_bytes(*b"psyne\0l\x01");
/// Words before the ends: the magic, ends told, ends left out.
const HEAD_WORDS: usize = 3;
/// Words for a pattern's name.
const PATTERN_WORDS: usize = 2;
/// Words for a channel's name.
const NAME_WORDS: usize = address::NAME_BYTES_MAX / 8;

/// A process with named channels.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Process {
    /// Its number, as this process sees it.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its ends, by name. None if it did not answer.
    pub ends: Vec<End>,
    /// Ends that did not fit.
    pub ends_left_out: u64,
    /// Whether it said anything: one that is stopped does not.
    pub answered: bool,
}

/// One end of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// What follows `ipc://`, or `memory://`.
    pub name: String,
    /// Whether only its own process may come.
    pub private: bool,
    /// Whether it owns the name; the others look for it.
    pub hosts: bool,
    /// `queue`, `bytes`, `broadcast`, …
    pub pattern: String,
    /// Of its messages.
    pub layout: Layout,
    /// Bytes of a slot.
    pub stride_bytes: u64,
    /// Slots of its ring if it has the messages, which is to say, sends.
    pub ring_slots: Option<u64>,
    /// What it counted, if it sends. An end that receives counts for each other side.
    pub words: Words,
    /// Who is there.
    pub others: Vec<Other>,
    /// Who is there and was not told of.
    pub others_left_out: u64,
}

/// The other side of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Other {
    /// Its process.
    pub pid: u32,
    /// What this end counted for it.
    pub ours: Words,
    /// What it counted, seen from here.
    pub theirs: Words,
}

/// What a side counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Words {
    position: u64,
    count: u64,
    attention: u64,
    /// How often it woke the other side: each is a system call.
    pub wakes: u64,
    /// How often it found nothing to do and waited, if only by looking again.
    pub waits: u64,
    /// How often it slept while it waited.
    pub sleeps: u64,
    /// Messages that a sender was refused, or that were overwritten before this side read them.
    pub lost: u64,
}

/// How attentive a side is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Looks for itself.
    Awake,
    /// May fall asleep: the other side looks twice.
    Drowsy,
    /// Has to be woken.
    Asleep,
    /// Was dropped, or died.
    Gone,
}

impl Words {
    pub(crate) fn of(side: &Side) -> Self {
        let [waits, sleeps, lost] = side.book().read();
        Self {
            position: side.position().load(Ordering::Relaxed),
            count: side.count().load(Ordering::Relaxed),
            attention: side.attention().load(Ordering::Relaxed).into(),
            wakes: side.bell().load(Ordering::Relaxed).into(),
            waits,
            sleeps,
            lost,
        }
    }

    /// Slots sent, or received: messages, or lines of 64 bytes of a channel of bytes. Whichever of
    /// its two words the pattern keeps.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.position.max(self.count)
    }

    /// Messages of a queue with many receivers that none of them has taken, if this is its sender.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.count.saturating_sub(self.position)
    }

    /// The same words of a ring from which so many were taken.
    pub(crate) fn with_taken(self, position: u64) -> Self {
        Self { position: position.min(self.count), ..self }
    }

    /// How attentive it is.
    #[must_use]
    pub fn state(&self) -> State {
        wait::state(self.attention as u32)
    }

    fn to_words(self) -> [u64; 7] {
        let Self { position, count, attention, wakes, waits, sleeps, lost } = self;
        [position, count, attention, wakes, waits, sleeps, lost]
    }
}

/// Every process on this machine whose channels this user may see: its own, or all for root.
///
/// # Errors
/// `System` if the kernel's list of sockets can't be read.
pub fn processes() -> Result<Vec<Process>, Error> {
    let views = window::look()?.into_iter().map(|view| {
        let told = view.message.and_then(|message| decode(&message));
        let answered = told.is_some();
        let (mut ends, ends_left_out) = told.unwrap_or_default();
        ends.sort_by(|a, b| a.name.cmp(&b.name));
        Process { pid: view.process, uid: view.user, ends, ends_left_out, answered }
    });
    Ok(views.collect())
}

/// The message of a process with these ends.
pub(crate) fn encode(ends: Vec<End>) -> Vec<u8> {
    let mut words = vec![MAGIC, 0, 0];
    for end in ends {
        let before = words.len();
        end.write(&mut words);
        let fits = words.len() * 8 <= BYTES_MAX;
        words[if fits { 1 } else { 2 }] += 1;
        words.truncate(if fits { words.len() } else { before });
    }
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// The ends of a message, and how many were left out; nothing if it is none.
pub(crate) fn decode(bytes: &[u8]) -> Option<(Vec<End>, u64)> {
    let (chunks, []) = bytes.as_chunks::<8>() else { return None };
    let words: Vec<u64> = chunks.iter().map(|chunk| u64::from_ne_bytes(*chunk)).collect();
    let (&[MAGIC, told, left_out], rest) = words.split_first_chunk::<HEAD_WORDS>()? else {
        return None;
    };
    let mut words = Reader(rest.iter());
    let told = usize::try_from(told).ok().filter(|told| *told <= rest.len())?;
    let ends: Option<Vec<End>> = (0..told).map(|_| End::read(&mut words)).collect();
    (bytes.len() <= BYTES_MAX).then_some((ends?, left_out))
}

impl End {
    fn write(&self, words: &mut Vec<u64>) {
        text::<NAME_WORDS>(&self.name, words);
        text::<PATTERN_WORDS>(&self.pattern, words);
        let Layout { hash, size, align } = self.layout;
        let flags = u64::from(self.private) | u64::from(self.hosts) << 1;
        words.extend([flags, hash, size as u64, align as u64, self.stride_bytes]);
        words.push(self.ring_slots.unwrap_or(0));
        words.extend(self.words.to_words());
        words.extend([self.others_left_out, self.others.len() as u64]);
        for other in &self.others {
            words.push(other.pid.into());
            words.extend(other.ours.to_words());
            words.extend(other.theirs.to_words());
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let (name, pattern) = (from.text::<NAME_WORDS>()?, from.text::<PATTERN_WORDS>()?);
        let [flags, hash, size, align, stride_bytes, slots] = from.array()?;
        let (size, align) = (size.try_into().ok()?, align.try_into().ok()?);
        let words = from.words()?;
        let [others_left_out, told] = from.array()?;
        let told = usize::try_from(told).ok().filter(|told| *told <= OTHERS_MAX)?;
        let others: Option<Vec<Other>> = (0..told).map(|_| from.other()).collect();
        Some(Self {
            name,
            private: flags & 1 != 0,
            hosts: flags & 2 != 0,
            pattern,
            layout: Layout { hash, size, align },
            stride_bytes,
            ring_slots: (slots != 0).then_some(slots),
            words,
            others: others?,
            others_left_out,
        })
    }
}

/// A text in so many words, padded by zeros.
fn text<const WORDS: usize>(text: &str, words: &mut Vec<u64>) {
    let mut bytes = [[0; 8]; WORDS];
    let flat = bytes.as_flattened_mut();
    let length = text.len().min(flat.len());
    flat[..length].copy_from_slice(&text.as_bytes()[..length]);
    words.extend(bytes.map(u64::from_ne_bytes));
}

/// What is left of a message.
struct Reader<'a>(slice::Iter<'a, u64>);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u64; N]> {
        let mut words = [0; N];
        for word in &mut words {
            *word = *self.0.next()?;
        }
        Some(words)
    }

    /// A plain one: nothing that a terminal could take for a command.
    fn text<const WORDS: usize>(&mut self) -> Option<String> {
        let bytes = self.array::<WORDS>()?.map(u64::to_ne_bytes);
        let text = bytes.as_flattened().split(|byte| *byte == 0).next()?;
        let plain = !text.is_empty() && text.iter().all(|byte| address::is_plain(*byte));
        plain.then(|| String::from_utf8_lossy(text).into_owned())
    }

    fn words(&mut self) -> Option<Words> {
        let [position, count, attention, wakes, waits, sleeps, lost] = self.array()?;
        Some(Words { position, count, attention, wakes, waits, sleeps, lost })
    }

    fn other(&mut self) -> Option<Other> {
        let pid = u32::try_from(self.array::<1>()?[0]).ok()?;
        Some(Other { pid, ours: self.words()?, theirs: self.words()? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn end(name: &str, others: usize) -> End {
        let words = Words { position: 1, count: 2, attention: 3, wakes: 4, ..Words::default() };
        End {
            name: name.into(),
            private: false,
            hosts: true,
            pattern: "queue".into(),
            layout: Layout { hash: 9, size: 40, align: 8 },
            stride_bytes: 64,
            ring_slots: Some(1024),
            words,
            others: vec![Other { pid: 7, ours: words, theirs: words }; others],
            others_left_out: 1,
        }
    }

    #[test]
    fn what_is_told_is_what_is_read() {
        let ends = vec![end("a", 0), end(&"n".repeat(64), OTHERS_MAX)];
        assert_eq!(decode(&encode(ends.clone())), Some((ends, 0)));
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let message = encode(vec![end("many", OTHERS_MAX); 20]);
        assert!(message.len() <= BYTES_MAX);
        let (told, left_out) = decode(&message).unwrap();
        assert_eq!((told.len() as u64 + left_out, left_out > 0), (20, true));
    }

    proptest! {
        #[test]
        fn whatever_is_told_is_read_or_refused(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 0..4),
            length in any::<prop::sample::Index>(),
            whole in any::<bool>(),
        ) {
            let mut message = encode(vec![end("a", 2), end("b", 0)]);
            for (at, value) in changes {
                let at = at.index(message.len() / 8) * 8;
                message[at..at + 8].copy_from_slice(&value.to_ne_bytes());
            }
            let length = if whole { message.len() } else { length.index(message.len()) };
            for end in decode(&message[..length]).unwrap_or_default().0 {
                prop_assert!(end.others.len() <= OTHERS_MAX);
                prop_assert!(end.name.bytes().all(address::is_plain));
            }
        }
    }
}
