//! The window of a process: an observer that may look in is sent one message of bounded size and
//! hung up on. Nothing that it says is read, it is never waited for, and no channel knows of it.
//!
//! Its name is `psyne/USER/:PROCESS`, so that observers find every process that has named channels.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketAddrUnix};
use rustix::process::geteuid;

use super::socket;
use crate::Error;
use crate::observe::{BYTES_MAX, End, PROCESSES_MAX, encode};

/// How long all processes together may take to answer. One that is stopped does not.
const PATIENCE: Duration = Duration::from_millis(500);
/// The superuser may look at everybody's.
const ROOT: u32 = 0;

fn address(user: u32, process: u32) -> Option<SocketAddrUnix> {
    let name = format!("psyne/{user}/:{process}");
    SocketAddrUnix::new_abstract_name(name.as_bytes()).ok()
}

/// The window of this process; none if somebody else sits there.
pub(super) fn open() -> Option<OwnedFd> {
    let address = address(geteuid().as_raw(), std::process::id())?;
    socket::listen_at(&address).ok()
}

/// The next observer, if it is one who may look.
pub(super) fn accept(window: &OwnedFd) -> Option<OwnedFd> {
    let observer = socket::accept(window)?;
    let user = rustix::net::sockopt::socket_peercred(&observer).ok()?.uid;
    (user == geteuid() || user.as_raw() == ROOT).then_some(observer)
}

/// Tells an observer all that fits, and is done with it.
pub(super) fn show(observer: &OwnedFd, ends: Vec<End>) {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let _ = rustix::net::send(observer, &encode(ends), flags);
}

/// What a process was seen to be, and its message unless it did not answer.
pub(crate) struct View {
    pub(crate) process: u32,
    pub(crate) user: u32,
    pub(crate) message: Option<Vec<u8>>,
}

/// Looks into all windows that this user may look into.
///
/// # Errors
/// `System` without /proc.
pub(crate) fn look() -> Result<Vec<View>, Error> {
    let names = std::fs::read_to_string("/proc/net/unix");
    let names = names.map_err(|error| Error::System(format!("/proc/net/unix: {error}")))?;
    let us = geteuid().as_raw();
    let open = windows(&names).filter(|(user, _)| us == ROOT || *user == us);
    let mut views = Vec::new();
    for (user, process) in open.take(PROCESSES_MAX) {
        let socket = address(user, process).map_or(Ok(None), |at| socket::connect_to(&at))?;
        // Who is gone meanwhile is no news, nor who only pretends to be another user's process.
        let Some(socket) = socket else { continue };
        if let Ok(who) = rustix::net::sockopt::socket_peercred(&socket)
            && who.uid.as_raw() == user
        {
            let process = who.pid.as_raw_nonzero().get().unsigned_abs();
            views.push((socket, View { process, user, message: None }));
        }
    }
    let deadline = Instant::now() + PATIENCE;
    // Who hangs up without a word has ended.
    views.retain_mut(|(socket, view)| match hear(socket, deadline) {
        Ok(message) => {
            view.message = Some(message);
            true
        }
        Err(error) => error == Errno::TIMEDOUT,
    });
    Ok(views.into_iter().map(|(_, view)| view).collect())
}

/// The message of a window. `TIMEDOUT` if it says nothing until then.
fn hear(socket: &OwnedFd, deadline: Instant) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; BYTES_MAX + 1];
    loop {
        match rustix::net::recv(socket, &mut bytes[..], RecvFlags::DONTWAIT) {
            Ok((got, _)) if got > 0 => {
                bytes.truncate(got);
                return Ok(bytes);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(_) => return Err(Errno::PIPE),
            Err(error) => return Err(error),
        }
        let left = deadline.checked_duration_since(Instant::now()).ok_or(Errno::TIMEDOUT)?;
        let left = Timespec::try_from(left).map_err(|_| Errno::TIMEDOUT)?;
        let _ = poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&left));
    }
}

/// User and process of each window in the kernel's list.
fn windows(list: &str) -> impl Iterator<Item = (u32, u32)> + '_ {
    /// `__SO_ACCEPTCON`: it listens. Connections bear the name of who accepted them.
    const LISTENS: &str = "00010000";
    list.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(3);
        let (flags, name) = (words.next()?, words.nth(3)?);
        let (user, process) = name.strip_prefix("@psyne/")?.split_once("/:")?;
        (flags == LISTENS).then_some((user.parse().ok()?, process.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_found_among_other_sockets() {
        let list = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000: 00000002 00000000 00010000 0005 01 1234 @psyne/1000/:77\n\
            0000: 00000003 00000000 00000000 0005 03 1235 @psyne/1000/:77\n\
            0000: 00000002 00000000 00010000 0005 01 1236 @psyne/1000/ticks\n\
            0000: 00000002 00000000 00010000 0005 01 1237 @psyne/1000/:x\n\
            0000: 00000002 00000000 00010000 0001 01 1238\n\
            0000: 00000002 00000000 00010000 0001 01 1239 /run/some socket\n\
            0000:";
        assert_eq!(windows(list).collect::<Vec<_>>(), [(1000, 77)]);
    }
}
