//! Sockets of the rendezvous. Of abstract names nothing stays when the last process is gone; paths
//! are in `path`.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use rustix::process::{PidfdFlags, geteuid, getpid, pidfd_open};

use super::hello::{BYTES, Hello};
use crate::Error;
use crate::address::{Address, Share};

/// Guests that the system keeps until they are accepted: the thread does nothing else for long.
const BACKLOG: i32 = 64;

/// Regions that a hello brings at most: words, a ring and its claim.
const FILES_MAX: usize = 3;

pub(super) fn system(error: Errno) -> Error {
    Error::System(error.to_string())
}

fn address(of: &Address) -> Result<SocketAddrUnix, Error> {
    if let Some(path) = of.path() {
        return SocketAddrUnix::new(path).map_err(system);
    }
    let user = geteuid().as_raw();
    let name = of.socket();
    let name = if of.private {
        format!("psyne/{user}/@{}/{name}", getpid().as_raw_nonzero())
    } else {
        format!("psyne/{user}/{name}")
    };
    SocketAddrUnix::new_abstract_name(name.as_bytes()).map_err(system)
}

pub(super) fn open() -> Result<OwnedFd, Error> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .map_err(system)
}

/// Owns the abstract name from now on.
///
/// # Errors
/// `Crowded` if somebody does; `System`.
pub(super) fn listen(at: &Address) -> Result<OwnedFd, Error> {
    listen_at(&address(at)?)
}

/// The same at any address.
pub(super) fn listen_at(address: &SocketAddrUnix) -> Result<OwnedFd, Error> {
    let socket = open()?;
    match rustix::net::bind(&socket, address) {
        Err(Errno::ADDRINUSE) => return Err(Error::Crowded(1)),
        other => other.map_err(system)?,
    }
    attend(&socket)?;
    Ok(socket)
}

/// Lets others connect from now on.
pub(super) fn attend(socket: &OwnedFd) -> Result<(), Error> {
    rustix::net::listen(socket, BACKLOG).map_err(system)
}

/// A connection to who owns the name, if somebody does and has time.
pub(super) fn connect(at: &Address) -> Result<Option<OwnedFd>, Error> {
    connect_to(&address(at)?)
}

/// The same at any address.
pub(super) fn connect_to(address: &SocketAddrUnix) -> Result<Option<OwnedFd>, Error> {
    let socket = open()?;
    match rustix::net::connect(&socket, address) {
        Ok(()) => Ok(Some(socket)),
        Err(Errno::CONNREFUSED | Errno::AGAIN | Errno::NOENT) => Ok(None),
        Err(Errno::ACCESS) => Err(Error::Address("its permissions keep this user out")),
        Err(error) => Err(system(error)),
    }
}

/// Whether somebody listens there, with or without time for us.
pub(super) fn is_kept(at: &Address) -> Result<bool, Error> {
    match rustix::net::connect(open()?, &address(at)?) {
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => Ok(true),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        Err(Errno::ACCESS) => Err(Error::Address("its permissions keep this user out")),
        Err(error) => Err(system(error)),
    }
}

/// The next that wants to connect.
pub(super) fn accept(listener: &OwnedFd) -> Option<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::accept_with(listener, flags).ok()
}

/// The process at the other side, and something to watch its end by.
///
/// # Errors
/// `Address` if it belongs to another user and the name is not shared: where it is, the system has
/// asked the path's permissions.
pub(super) fn peer(socket: &OwnedFd, share: Share) -> Result<(u32, Option<OwnedFd>), Error> {
    let who = rustix::net::sockopt::socket_peercred(socket).map_err(system)?;
    if share == Share::Owner && who.uid != geteuid() {
        return Err(Error::Address("it belongs to another user"));
    }
    let pid = who.pid.as_raw_nonzero().get().unsigned_abs();
    Ok((pid, pidfd_open(who.pid, PidfdFlags::empty()).ok()))
}

/// Says hello; never waits.
pub(super) fn say<'a>(
    socket: BorrowedFd<'_>,
    hello: Hello,
    files: impl IntoIterator<Item = &'a OwnedFd>,
) -> bool {
    let bytes = hello.to_bytes();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files: Vec<_> = files.into_iter().map(AsFd::as_fd).collect();
    if !files.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&files));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::net::sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, flags) == Ok(BYTES)
}

/// What a connection has for us.
#[derive(Debug)]
pub(super) enum Heard {
    Nothing,
    Hello(Hello, Vec<OwnedFd>),
    /// Its end, or what nobody says.
    End,
}

/// The other side's hello, if it is there.
pub(super) fn hear(socket: BorrowedFd<'_>) -> Heard {
    let mut bytes = [0; BYTES + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut into = [IoSliceMut::new(&mut bytes)];
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let got = match rustix::net::recvmsg(socket, &mut into, &mut control, flags) {
        Ok(got) if got.bytes > 0 => got,
        Err(Errno::AGAIN | Errno::INTR) => return Heard::Nothing,
        _ => return Heard::End,
    };
    let mut files: Vec<OwnedFd> = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(sent) = message {
            files.extend(sent);
        }
    }
    let whole = !got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
    match Hello::parse(&bytes[..got.bytes.min(BYTES + 1)]) {
        Some(hello) if whole => Heard::Hello(hello, files),
        _ => Heard::End,
    }
}

/// Whether it rang, and whether it is there still.
pub(super) fn rang(socket: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut bytes = [0; 64];
    let mut rang = false;
    // A few at a time: who rings on and on must not keep the others from being heard.
    for _ in 0..16 {
        match rustix::net::recv(socket, &mut bytes, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Err(Errno::PIPE),
            Ok(_) => rang = true,
            Err(Errno::AGAIN | Errno::INTR) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(rang)
}

/// Whether a process has ended.
pub(super) fn has_ended(pidfd: &OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&now)) == Ok(1)
}
