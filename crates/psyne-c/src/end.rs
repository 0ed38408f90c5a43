//! The ends of channels, of every pattern by the same verbs.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::{mem, ptr, slice};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use psyne::channel::{self, Ready, Watch, any};

use crate::{Config, Layout, Status, psyne_config_default};

/// The end that sends. Only one thread at a time may use it.
#[derive(Debug)]
pub struct Sender {
    /// Dropped before the end that it borrows.
    loan: Option<any::Loan<'static>>,
    /// Boxed, so that a borrow of this handle is none of what the loan borrows.
    end: Box<any::Sender>,
}

/// The end that receives. Only one thread at a time may use it.
#[derive(Debug)]
pub struct Receiver {
    /// What `psyne_recv` lent.
    pub(crate) message: Option<any::Lease>,
    end: any::Lender,
    watch: Option<Watch>,
}

/// What an end has done so far.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Slots sent or received: messages, or lines of a channel of bytes.
    pub slots: u64,
    /// Messages that a full channel refused.
    pub refused: u64,
    /// How often this end had to wait.
    pub waits: u64,
    /// How often it slept while it waited.
    pub sleeps: u64,
}

impl From<channel::Stats> for Stats {
    fn from(stats: channel::Stats) -> Self {
        let channel::Stats { slots, refused, waits, sleeps, .. } = stats;
        Self { slots, refused, waits, sleeps }
    }
}

/// Opens an end as C says: `open` is told the address, the configuration as it is, and in Rust.
///
/// # Safety
/// `address` is null or ends with a zero byte.
pub(crate) unsafe fn opened<T>(
    address: *const c_char,
    config: Option<&Config>,
    open: impl FnOnce(&str, &Config, &channel::Config) -> Result<T, channel::Error>,
) -> Result<T, Status> {
    // SAFETY: as the caller promises.
    let address = unsafe { self::address(address) }?;
    let config = config.copied().unwrap_or_else(|| psyne_config_default());
    let end = config.read().and_then(|read| open(address, &config, &read));
    end.map_err(|error| Status::of(Err(error)))
}

/// An address from C.
///
/// # Safety
/// `address` is null or ends with a zero byte.
unsafe fn address<'a>(address: *const c_char) -> Result<&'a str, Status> {
    if address.is_null() {
        return Err(Status::misuse("the address is null"));
    }
    // SAFETY: not null, and the caller promises the zero byte.
    Ok(unsafe { CStr::from_ptr(address) }.to_str().unwrap_or("not UTF-8"))
}

/// Hands a value over to C, or says why there is none.
///
/// # Safety
/// `out` is null or can be written to.
pub(crate) unsafe fn hand_over<T>(value: Result<T, Status>, out: *mut *mut T) -> Status {
    if out.is_null() {
        return Status::misuse("there is no place for the handle");
    }
    let (handle, status) = match value {
        Ok(value) => (Box::into_raw(Box::new(value)), Status::PsyneOk),
        Err(status) => (ptr::null_mut(), status),
    };
    // SAFETY: not null, and the caller promises that it can be written to.
    unsafe { out.write(handle) };
    status
}

/// Ends what [`hand_over`] began, once: whoever asks for it again does so by null.
///
/// # Safety
/// `handle` is null or points to null or to what `hand_over` wrote.
pub(crate) unsafe fn take_back<T>(handle: Option<&mut *mut T>) -> Option<Box<T>> {
    let handle = mem::replace(handle?, ptr::null_mut());
    // SAFETY: unless it is null, `hand_over` made it by Box::into_raw, and nobody had it back: then
    // it would be null.
    (!handle.is_null()).then(|| unsafe { Box::from_raw(handle) })
}

/// How long C waits: below 0, as long as it takes.
pub(crate) fn time(timeout_ns: i64) -> Option<Duration> {
    u64::try_from(timeout_ns).ok().map(Duration::from_nanos)
}

/// Bytes from C.
///
/// # Safety
/// `start` is null or points to `bytes` bytes.
pub(crate) unsafe fn bytes_of<'a>(start: *const c_void, bytes: usize) -> Result<&'a [u8], Status> {
    match (start.is_null(), bytes) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(Status::misuse("the message is null")),
        (_, bytes) if isize::try_from(bytes).is_err() => {
            Err(Status::misuse("nothing in memory is as long as that"))
        }
        // SAFETY: not null, and the caller promises so many bytes.
        _ => Ok(unsafe { slice::from_raw_parts(start.cast(), bytes) }),
    }
}

/// Opens the sending end at `ipc://name` (between processes of this user) or `memory://name`
/// (within this process). `config` may be null. The handle comes in `out`, null after an error.
///
/// # Safety
/// `address` ends with a zero byte; `out` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_sender_open(
    address: *const c_char,
    layout: Layout,
    config: Option<&Config>,
    out: *mut *mut Sender,
) -> Status {
    // SAFETY: as the caller promises.
    let end = unsafe {
        opened(address, config, |address, how, config| {
            any::Sender::open(address, &how.kind(&layout)?, config)
        })
    };
    // SAFETY: as the caller promises.
    unsafe { hand_over(end.map(|end| Sender { loan: None, end: Box::new(end) }), out) }
}

/// Opens the receiving end, as `psyne_sender_open`.
///
/// # Safety
/// `address` ends with a zero byte; `out` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_receiver_open(
    address: *const c_char,
    layout: Layout,
    config: Option<&Config>,
    out: *mut *mut Receiver,
) -> Status {
    // SAFETY: as the caller promises.
    let end = unsafe {
        opened(address, config, |address, how, config| {
            any::Receiver::open(address, &how.kind(&layout)?, config)
        })
    };
    // SAFETY: as the caller promises.
    unsafe {
        hand_over(end.map(|end| Receiver { message: None, end: end.into(), watch: None }), out)
    }
}

/// Copies a message in and sends it.
///
/// # Safety
/// `message` points to `bytes` bytes, or `bytes` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_send(
    sender: Option<&mut Sender>,
    message: *const c_void,
    bytes: usize,
) -> Status {
    // SAFETY: as the caller promises.
    unsafe { send_by(sender, message, bytes, any::Sender::send) }
}

/// The same for a message that receivers can begin with (`at_mark`, `PSYNE_LAG_SKIP_TO_MARK`). For
/// a broadcast of bytes.
///
/// # Safety
/// `message` points to `bytes` bytes, or `bytes` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_send_marked(
    sender: Option<&mut Sender>,
    message: *const c_void,
    bytes: usize,
) -> Status {
    // SAFETY: as the caller promises.
    unsafe { send_by(sender, message, bytes, any::Sender::send_marked) }
}

/// # Safety
/// `message` is null or points to `bytes` bytes.
unsafe fn send_by(
    sender: Option<&mut Sender>,
    message: *const c_void,
    bytes: usize,
    send: fn(&mut any::Sender, &[u8]) -> Result<(), channel::Error>,
) -> Status {
    // SAFETY: as the caller promises.
    let message = unsafe { bytes_of(message, bytes) };
    match (idle(sender), message) {
        (Ok(sender), Ok(message)) => Status::of(send(&mut sender.end, message)),
        (Err(status), _) | (_, Err(status)) => status,
    }
}

/// A sender that has lent nothing.
fn idle(sender: Option<&mut Sender>) -> Result<&mut Sender, Status> {
    match sender {
        None => Err(Status::misuse("the sender is null")),
        Some(Sender { loan: Some(_), .. }) => Err(Status::misuse("commit or abort the loan first")),
        Some(sender) => Ok(sender),
    }
}

/// Lends room for a message of `bytes` bytes, to be written where it will be read: aligned to 8
/// bytes at least, to 64 if it is longer than 56. It is sent by `psyne_commit`. That of a broadcast
/// or a latest value, which is copied then, holds the message before.
///
/// # Safety
/// `room` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_loan(
    sender: Option<&mut Sender>,
    bytes: usize,
    room: *mut *mut c_void,
) -> Status {
    let sender = match idle(sender) {
        Ok(sender) => sender,
        Err(status) => return status,
    };
    if room.is_null() {
        return Status::misuse("there is no place for the loan");
    }
    let mut loan = match sender.end.loan(bytes) {
        Ok(loan) => loan,
        Err(error) => return Status::of(Err(error)),
    };
    let start = loan.as_mut_ptr();
    // SAFETY: only the lifetime changes. The loan borrows the boxed end, which stays where it is,
    // is not used while there is a loan, and is dropped after it.
    let loan = unsafe { mem::transmute::<any::Loan<'_>, any::Loan<'static>>(loan) };
    sender.loan = Some(loan);
    // SAFETY: not null, and the caller promises that it can be written to.
    unsafe { room.write(start.cast()) };
    Status::PsyneOk
}

/// Lends room, has it filled and sends it.
pub(crate) fn send_filled(
    sender: Option<&mut Sender>,
    bytes: usize,
    fill: impl FnOnce(&mut [u8]) -> Result<(), channel::Error>,
) -> Status {
    let sender = match idle(sender) {
        Ok(sender) => sender,
        Err(status) => return status,
    };
    let filled = sender.end.loan(bytes).and_then(|mut loan| {
        fill(&mut loan)?;
        loan.commit()
    });
    Status::of(filled)
}

/// Makes what was lent a message that receivers can begin with, as `psyne_send_marked`.
#[unsafe(no_mangle)]
pub extern "C" fn psyne_mark(sender: Option<&mut Sender>) -> Status {
    match sender.and_then(|sender| sender.loan.as_mut()) {
        Some(loan) => Status::of(loan.mark()),
        None => Status::misuse("there is no loan"),
    }
}

/// Sends what was lent. The room must not be touched any more, whatever this answers.
#[unsafe(no_mangle)]
pub extern "C" fn psyne_commit(sender: Option<&mut Sender>) -> Status {
    match sender.and_then(|sender| sender.loan.take()) {
        Some(loan) => Status::of(loan.commit()),
        None => Status::misuse("there is no loan"),
    }
}

/// Gives the loan back: nothing was sent. Without a loan it does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn psyne_abort(sender: Option<&mut Sender>) {
    if let Some(sender) = sender {
        sender.loan = None;
    }
}

/// What was sent and not released by the receiver yet: 0 once all of it was read. Who ends its
/// process before takes the rest along. Receivers of a broadcast that skip, and of a latest value,
/// leave nothing unread.
#[unsafe(no_mangle)]
pub extern "C" fn psyne_unread(sender: Option<&mut Sender>, unread: Option<&mut u64>) -> Status {
    count(sender, unread, any::Sender::unread)
}

/// Receivers that are there, of a broadcast or of a queue with many. What is broadcast before they
/// come they don't hear.
#[unsafe(no_mangle)]
pub extern "C" fn psyne_receivers(
    sender: Option<&mut Sender>,
    receivers: Option<&mut usize>,
) -> Status {
    count(sender, receivers, any::Sender::receivers)
}

fn count<T>(
    sender: Option<&mut Sender>,
    to: Option<&mut T>,
    count: fn(&mut any::Sender) -> Result<T, channel::Error>,
) -> Status {
    match (idle(sender), to) {
        (Err(status), _) => status,
        (_, None) => Status::misuse("there is no place for the number"),
        (Ok(sender), Some(to)) => Status::of(count(&mut sender.end).map(|count| *to = count)),
    }
}

/// What was done so far; zeros for null and while there is a loan.
#[unsafe(no_mangle)]
pub extern "C" fn psyne_sender_stats(sender: Option<&Sender>) -> Stats {
    let idle = sender.filter(|sender| sender.loan.is_none());
    idle.map(|sender| sender.end.stats().into()).unwrap_or_default()
}

/// Closes the end and makes the handle null; what was sent can still be received. Null does
/// nothing.
///
/// # Safety
/// `sender` came from `psyne_sender_open`; no copy of it is used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_sender_close(sender: Option<&mut *mut Sender>) {
    // SAFETY: as the caller promises.
    drop(unsafe { take_back(sender) });
}

/// Waits for the next message and lends it where it lies, to be read until `psyne_release`, which
/// this does for the message before. `timeout_ns` is how long, 0 not at all, below 0 as long as it
/// takes. The next of a latest value is one that is newer than the last that this end got.
///
/// # Safety
/// `message` and `bytes` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_recv(
    receiver: Option<&mut Receiver>,
    timeout_ns: i64,
    message: *mut *const c_void,
    bytes: *mut usize,
) -> Status {
    // SAFETY: as the caller promises.
    unsafe { lend(receiver, |end| end.recv(time(timeout_ns)), message, bytes) }
}

/// Lends the newest value, even if this end got it before, as `psyne_recv`: `PSYNE_TIMED_OUT` if
/// there is none yet. It can also be had after its writer is gone.
///
/// # Safety
/// `message` and `bytes` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_newest(
    receiver: Option<&mut Receiver>,
    message: *mut *const c_void,
    bytes: *mut usize,
) -> Status {
    let newest = |end: &mut any::Lender| end.newest()?.ok_or(channel::Error::TimedOut);
    // SAFETY: as the caller promises.
    unsafe { lend(receiver, newest, message, bytes) }
}

/// Receives, keeps the message, and tells C where it lies.
///
/// # Safety
/// `message` and `bytes` are null or can be written to.
unsafe fn lend(
    receiver: Option<&mut Receiver>,
    receive: impl FnOnce(&mut any::Lender) -> Result<any::Lease, channel::Error>,
    message: *mut *const c_void,
    bytes: *mut usize,
) -> Status {
    let Some(receiver) = receiver else { return Status::misuse("the receiver is null") };
    if message.is_null() || bytes.is_null() {
        return Status::misuse("there is no place for the message");
    }
    receiver.message = None;
    let received = match receive(&mut receiver.end) {
        Ok(received) => received,
        Err(error) => return Status::of(Err(error)),
    };
    let (start, length) = (received.as_ptr(), received.len());
    receiver.message = Some(received);
    // SAFETY: not null, and the caller promises that it can be written to.
    unsafe { message.write(start.cast()) };
    // SAFETY: as above.
    unsafe { bytes.write(length) };
    Status::PsyneOk
}

/// The receiver's file descriptor, the same each time, for epoll and its like: see `psyne_arm`. It
/// belongs to the receiver.
#[unsafe(no_mangle)]
pub extern "C" fn psyne_watch(receiver: Option<&mut Receiver>, fd: Option<&mut c_int>) -> Status {
    watch(receiver.map(|receiver| &mut receiver.watch), fd)
}

/// To be called each time before waiting for the descriptor, which is readable from now on if
/// something is there, or as soon as something comes: then `psyne_recv` with 0. `PSYNE_OK` if it is
/// there already, `PSYNE_TIMED_OUT` if not. Only in between does a sender make a system call. The
/// message received before is released.
#[unsafe(no_mangle)]
pub extern "C" fn psyne_arm(receiver: Option<&mut Receiver>) -> Status {
    let Some(receiver) = receiver else { return Status::misuse("the receiver is null") };
    receiver.message = None;
    arm(&mut receiver.watch, &mut receiver.end)
}

/// The descriptor of an end, which has one from now on.
pub(crate) fn watch(watch: Option<&mut Option<Watch>>, fd: Option<&mut c_int>) -> Status {
    let (Some(watch), Some(fd)) = (watch, fd) else {
        return Status::misuse("the end is null, or the place for its descriptor");
    };
    if watch.is_none() {
        *watch = match Watch::new() {
            Ok(watch) => Some(watch),
            Err(error) => return Status::of(Err(error)),
        };
    }
    *fd = watch.as_ref().map_or(-1, |watch| watch.as_fd().as_raw_fd());
    Status::PsyneOk
}

pub(crate) fn arm(watch: &mut Option<Watch>, end: &mut impl Ready) -> Status {
    let Some(watch) = watch else { return Status::misuse("ask for the descriptor first") };
    Status::of(match watch.arm(end) {
        Ok(false) => Err(channel::Error::TimedOut),
        armed => armed.map(drop),
    })
}

/// Frees the room of the message that was received last. Without one it does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn psyne_release(receiver: Option<&mut Receiver>) {
    if let Some(receiver) = receiver {
        receiver.message = None;
    }
}

/// What was done so far; zeros for null and while a message is held.
#[unsafe(no_mangle)]
pub extern "C" fn psyne_receiver_stats(receiver: Option<&mut Receiver>) -> Stats {
    let idle = receiver.and_then(|receiver| receiver.end.idle().ok());
    idle.map(|end| end.stats().into()).unwrap_or_default()
}

/// Closes the end and makes the handle null; what was not received is lost. Null does nothing.
///
/// # Safety
/// `receiver` came from `psyne_receiver_open`; no copy of it is used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_receiver_close(receiver: Option<&mut *mut Receiver>) {
    // SAFETY: as the caller promises.
    drop(unsafe { take_back(receiver) });
}
