//! Names that are paths: sockets in a directory, whose permissions say who may come.
//!
//! A path outlives who listened there, so the next has to tell one that is dead from one that
//! lives, and take its place in one step. Who does that holds the directory's lock.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::net::SocketAddrUnix;

use super::socket::{self, system};
use crate::Error;
use crate::address::{Address, Share};

/// How long another may hold the directory: it takes a place in some microseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks whether the directory is free.
const PAUSE: Duration = Duration::from_millis(1);

/// A place that others connect to.
#[derive(Debug)]
pub(super) struct Listener {
    // Before the socket: while that listens, nobody takes the place.
    _entry: Option<Entry>,
    pub(super) socket: OwnedFd,
}

/// A socket's entry in its directory, which goes with it.
#[derive(Debug)]
struct Entry {
    path: String,
    file: (u64, u64),
}

impl Drop for Entry {
    fn drop(&mut self) {
        // Somebody may have removed ours by hand, and put another there.
        if look(&self.path).is_ok_and(|stat| stat.is_some_and(|stat| self.file == file(&stat))) {
            let _ = rustix::fs::unlink(&*self.path);
        }
    }
}

/// Owns the name from now on.
///
/// # Errors
/// `Crowded` if somebody does; `Address` if something else lies there, or the directory is not
/// there or keeps us out; `System`.
pub(super) fn listen(at: &Address) -> Result<Listener, Error> {
    let Some(path) = &at.path() else {
        return Ok(Listener { _entry: None, socket: socket::listen(at)? });
    };
    let _lock = lock(path)?;
    if socket::is_kept(at)? {
        return Err(Error::Crowded(1));
    }
    if look(path)?.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) != FileType::Socket) {
        return Err(Error::Address("what lies at its path is no socket"));
    }
    // Beside it until all is ready: who came earlier would be sent away for good.
    let beside = format!("{path}~");
    let _ = rustix::fs::unlink(&*beside);
    let socket = socket::open()?;
    let address = SocketAddrUnix::new(&*beside).map_err(system)?;
    rustix::net::bind(&socket, &address).map_err(refused)?;
    let ready = open(&socket, &beside, path, at.share);
    if ready.is_err() {
        let _ = rustix::fs::unlink(&*beside);
    }
    Ok(Listener { _entry: Some(ready?), socket })
}

/// Owns the first of so many places at a name that nobody has: the listener, and which it is.
///
/// # Errors
/// `Crowded` if all are taken; those of [`listen`].
pub(super) fn listen_among(at: &Address, places: usize) -> Result<(Listener, Address), Error> {
    for place in 0..places {
        let at = at.at(place);
        match listen(&at) {
            Err(Error::Crowded(_)) => {}
            listener => return Ok((listener?, at)),
        }
    }
    Err(Error::Crowded(places))
}

/// Lets others in who may come, and moves the socket to where they look for it.
fn open(socket: &OwnedFd, beside: &str, path: &str, share: Share) -> Result<Entry, Error> {
    let mode = match share {
        Share::Owner => Mode::from_raw_mode(0o600),
        Share::Group => Mode::from_raw_mode(0o660),
        Share::Everyone => Mode::from_raw_mode(0o666),
    };
    rustix::fs::chmod(beside, mode).map_err(refused)?;
    socket::attend(socket)?;
    let stat = rustix::fs::lstat(beside).map_err(refused)?;
    rustix::fs::rename(beside, path).map_err(refused)?;
    Ok(Entry { path: path.into(), file: file(&stat) })
}

/// Waits until nobody else takes a place in the path's directory.
fn lock(path: &str) -> Result<OwnedFd, Error> {
    let (directory, _) = path.rsplit_once('/').unwrap_or_default();
    let directory = if directory.is_empty() { "/" } else { directory };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(CWD, directory, flags, Mode::empty()).map_err(refused)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(directory),
            Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => {
                std::thread::sleep(PAUSE);
            }
            Err(Errno::WOULDBLOCK) => {
                return Err(Error::System(
                    "another process keeps the path's directory locked".into(),
                ));
            }
            Err(error) => return Err(system(error)),
        }
    }
}

/// What lies at a path, if anything does.
fn look(path: &str) -> Result<Option<Stat>, Error> {
    match rustix::fs::lstat(path) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(refused(error)),
    }
}

fn file(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn refused(error: Errno) -> Error {
    match error {
        Errno::NOENT | Errno::NOTDIR => Error::Address("its directory is not there: create it"),
        Errno::ACCESS | Errno::PERM => Error::Address("its directory's permissions keep us out"),
        other => system(other),
    }
}
