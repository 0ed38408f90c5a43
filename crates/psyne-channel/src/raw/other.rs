//! Regions that another process sees: sealed files of memory, and what is left of who died.
//!
//! Its owner maps a region to write and then seals the file: it can't change its size any more, so
//! that no access ever faults, and nobody can map it to write from then on, the owner neither.

use core::sync::atomic::{AtomicBool, Ordering};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags};

use super::futex;
use super::map::Map;
use super::region::{LINE, Region, SLOTS_OFFSET, Side};
use crate::Error;

/// Greatest region that is taken from another process: more than any channel needs, and far below
/// what an address space holds.
const REGION_BYTES_MAX: u64 = 1 << 40;

const SEALS: SealFlags =
    SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::FUTURE_WRITE).union(SealFlags::SEAL);

/// Of a region that both sides write: nobody can make it fault.
const SEALS_OF_BOTH: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// Who writes into a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rights {
    /// Who made it.
    Maker,
    /// Also those who are given it. All of it is atomics for them.
    All,
}

impl Rights {
    fn seals(self) -> SealFlags {
        match self {
            Self::Maker => SEALS,
            Self::All => SEALS_OF_BOTH,
        }
    }
}

fn refused(error: rustix::io::Errno) -> Error {
    Error::Memory(error.to_string())
}

/// Bytes of all slots, and of the file that holds them.
fn extent(slots: usize, stride: usize) -> Result<(usize, usize), Error> {
    let bytes = slots.checked_mul(stride).filter(|bytes| *bytes as u64 <= REGION_BYTES_MAX);
    let bytes = bytes.ok_or(Error::Config("slots times their size is more than 2^40 bytes"))?;
    Ok((bytes, (SLOTS_OFFSET + bytes).next_multiple_of(SLOTS_OFFSET)))
}

/// Words and slots that this process writes, and the file by which others map them.
pub(crate) fn shared(
    slots: usize,
    stride: usize,
    rights: Rights,
) -> Result<(Region, OwnedFd), Error> {
    assert!(stride.is_multiple_of(LINE), "slots begin at lines");
    let (bytes, file_bytes) = extent(slots, stride)?;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create("psyne", flags).map_err(refused)?;
    rustix::fs::ftruncate(&file, file_bytes as u64).map_err(refused)?;
    let map = Map::of_file(file.as_fd(), file_bytes, true)?;
    rustix::fs::fcntl_add_seals(&file, rights.seals()).map_err(refused)?;
    Ok((Region::over(Arc::new(map), bytes, stride), file))
}

/// The other side's region, as this process sees it: mapped to read, until its owner dies.
#[derive(Debug)]
pub(crate) struct Other {
    region: Region,
    map: Arc<Map>,
    /// The words once more: sleepers are found by the file's page, which `bury` takes away.
    alias: Option<Region>,
    /// Whether the words are pages of this process.
    ours: AtomicBool,
}

impl Other {
    /// In the place of a side that has not come yet. `attention` says so.
    pub(crate) fn vacant(slots: usize, stride: usize, attention: u32) -> Result<Self, Error> {
        let (bytes, file_bytes) = extent(slots, stride)?;
        let map = Arc::new(Map::private(file_bytes)?);
        let region = Region::over(map.clone(), bytes, stride);
        region.side().attention().store(attention, Ordering::Release);
        Ok(Self { region, map, alias: None, ours: AtomicBool::new(true) })
    }

    /// Maps what another process sent: to write, too, if all have the right.
    ///
    /// # Errors
    /// `LayoutMismatch` unless the file is exactly so large, sealed, and has all its pages;
    /// `Memory`.
    pub(crate) fn of(
        file: BorrowedFd<'_>,
        (slots, stride): (usize, usize),
        rights: Rights,
    ) -> Result<Self, Error> {
        let (bytes, file_bytes) = extent(slots, stride).map_err(|_| Error::LayoutMismatch)?;
        let seals = rustix::fs::fcntl_get_seals(file).map_err(|_| Error::LayoutMismatch)?;
        let stat = rustix::fs::fstat(file).map_err(refused)?;
        let whole = stat.st_size as u64 == file_bytes as u64;
        // A hole would be filled at our expense, or fault if that can't be.
        let filled = stat.st_blocks as u64 * 512 >= file_bytes as u64;
        if !seals.contains(rights.seals()) || !whole || !filled || !stride.is_multiple_of(LINE) {
            return Err(Error::LayoutMismatch);
        }
        let map = Arc::new(Map::of_file(file, file_bytes, rights == Rights::All)?);
        let alias = Region::over(Arc::new(Map::of_file(file, SLOTS_OFFSET, false)?), 0, LINE);
        let region = Region::over(map.clone(), bytes, stride);
        Ok(Self { region, map, alias: Some(alias), ours: AtomicBool::new(false) })
    }

    /// Its words and slots.
    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    /// Its owner died: puts words of this process in the place of its own. They say the same, but
    /// `attention`; whoever sleeps for it wakes.
    ///
    /// Sleepers are woken after that: who slept before is found by `alias`, who was about to sees a
    /// bell that has changed.
    pub(crate) fn bury(&self, attention: u32) -> Result<(), Error> {
        let Some(alias) = &self.alias else { return Ok(()) };
        if self.ours.load(Ordering::Acquire) {
            return Ok(());
        }
        let words = Region::over(Arc::new(Map::private(SLOTS_OFFSET)?), 0, LINE);
        last_words(words.side(), alias.side(), attention);
        self.map.cover(words.into_map())?;
        self.ours.store(true, Ordering::Release);
        futex::wake(alias.side().bell());
        Ok(())
    }

    /// Wakes who sleeps for its owner, without a ring: whoever is woken looks again.
    pub(crate) fn rouse(&self) {
        if let Some(alias) = &self.alias {
            futex::wake(alias.side().bell());
        }
    }

    /// Rings for who waits for somebody to take the place of a side that is dead or never came.
    pub(crate) fn ring_if_ours(&self) {
        if self.ours.load(Ordering::Acquire) {
            let bell = self.region.side().bell();
            bell.fetch_add(1, Ordering::SeqCst);
            futex::wake(bell);
        }
    }
}

fn last_words(copy: &Side, of: &Side, attention: u32) {
    copy.position().store(of.position().load(Ordering::Acquire), Ordering::Relaxed);
    copy.bulk().store(of.bulk().load(Ordering::Acquire), Ordering::Relaxed);
    copy.count().store(of.count().load(Ordering::Acquire), Ordering::Relaxed);
    let bell = of.bell().load(Ordering::Acquire).wrapping_add(1);
    copy.bell().store(bell, Ordering::Relaxed);
    copy.attention().store(attention, Ordering::Release);
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_read_by_another_mapping() {
        let (ours, file) = shared(4, 64, Rights::Maker).unwrap();
        let theirs = Other::of(file.as_fd(), (4, 64), Rights::Maker).unwrap();
        ours.side().position().store(7, Ordering::Release);
        ours.sequence(3).store(8, Ordering::Release);
        assert_eq!(theirs.region().side().position().load(Ordering::Acquire), 7);
        assert_eq!(theirs.region().sequence(3).load(Ordering::Acquire), 8);
    }

    #[test]
    fn a_region_of_both_is_written_by_both_and_keeps_its_size() {
        let (ours, file) = shared(4, 64, Rights::All).unwrap();
        let theirs = Other::of(file.as_fd(), (4, 64), Rights::All).unwrap();
        theirs.region().sequence(3).store(8, Ordering::Release);
        assert_eq!(ours.sequence(3).load(Ordering::Acquire), 8);
        assert!(rustix::fs::ftruncate(&file, 0).is_err());
        let read_only = Other::of(file.as_fd(), (4, 64), Rights::Maker).map(drop);
        assert_eq!(read_only.unwrap_err().code(), "layout_mismatch", "others could write");
    }

    #[test]
    fn nobody_else_can_write_to_it_or_change_its_size() {
        let (_ours, file) = shared(4, 64, Rights::Maker).unwrap();
        assert!(Map::of_file(file.as_fd(), 4096, true).is_err());
        assert!(rustix::fs::ftruncate(&file, 0).is_err());
        assert!(rustix::io::write(&file, &[1]).is_err());
        assert!(rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE).is_err());
    }

    #[test]
    fn files_that_could_change_or_are_not_as_agreed_are_refused() {
        let code = |file: &OwnedFd, slots, stride| {
            Other::of(file.as_fd(), (slots, stride), Rights::Maker)
                .map(drop)
                .map_err(|error| error.code())
        };
        let (_ours, file) = shared(4, 64, Rights::Maker).unwrap();
        assert_eq!(code(&file, 4, 64), Ok(()));
        for (slots, stride) in [(128, 64), (4, 4096), (usize::MAX, 64), (1 << 50, 64), (4, 63)] {
            assert_eq!(code(&file, slots, stride), Err("layout_mismatch"), "{slots} {stride}");
        }
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let open = rustix::fs::memfd_create("open", flags).unwrap();
        rustix::fs::ftruncate(&open, 8192).unwrap();
        assert_eq!(code(&open, 4, 64), Err("layout_mismatch"), "not sealed");
        rustix::fs::fcntl_add_seals(&open, SEALS).unwrap();
        assert_eq!(code(&open, 4, 64), Err("layout_mismatch"), "no pages");
        let (socket, _) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(code(&socket.into(), 4, 64), Err("layout_mismatch"));
    }

    #[test]
    fn what_is_left_of_who_died_says_the_same_and_wakes_sleepers() {
        let (ours, file) = shared(4, 64, Rights::Maker).unwrap();
        let theirs = Arc::new(Other::of(file.as_fd(), (4, 64), Rights::Maker).unwrap());
        ours.side().count().store(5, Ordering::Release);
        ours.sequence(1).store(2, Ordering::Release);
        let sleeper = theirs.clone();
        let sleeper = std::thread::spawn(move || {
            let side = sleeper.region().side();
            while side.attention().load(Ordering::Acquire) != 9 {
                futex::wait(side.bell(), 0, None);
            }
        });
        theirs.bury(9).unwrap();
        sleeper.join().unwrap();
        let side = theirs.region().side();
        assert_eq!(side.count().load(Ordering::Acquire), 5);
        assert_eq!(theirs.region().sequence(1).load(Ordering::Acquire), 2);
        theirs.ring_if_ours();
        assert_eq!(side.bell().load(Ordering::Acquire), 2);
        assert_eq!(ours.side().bell().load(Ordering::Acquire), 0, "not its owner's word");
    }
}
