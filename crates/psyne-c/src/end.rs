//! The ends of channels, of every pattern by the same verbs.

use core::ffi::{CStr, c_char, c_void};
use core::{mem, ptr, slice};
use std::time::Duration;

use psyne::channel::{self, any};

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

/// What C says about how to open an end.
///
/// # Safety
/// `address` is null or ends with a zero byte.
unsafe fn open<T>(
    address: *const c_char,
    layout: Layout,
    config: Option<&Config>,
    open: fn(&str, &any::Kind, &channel::Config) -> Result<T, channel::Error>,
) -> Result<T, Status> {
    // SAFETY: as the caller promises.
    let address = unsafe { self::address(address) }?;
    let config = config.copied().unwrap_or_else(|| psyne_config_default());
    let end = || open(address, &config.kind(&layout)?, &config.read()?);
    end().map_err(|error| Status::of(Err(error)))
}

/// An address from C.
///
/// # Safety
/// `address` is null or ends with a zero byte.
pub(crate) unsafe fn address<'a>(address: *const c_char) -> Result<&'a str, Status> {
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
    let end = unsafe { open(address, layout, config, any::Sender::open) };
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
    let end = unsafe { open(address, layout, config, any::Receiver::open) };
    // SAFETY: as the caller promises.
    unsafe { hand_over(end.map(|end| Receiver { message: None, end: end.into() }), out) }
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
    let Some(sender) = sender else { return Status::misuse("the sender is null") };
    if sender.loan.is_some() {
        return Status::misuse("commit or abort the loan first");
    }
    if message.is_null() && bytes > 0 {
        return Status::misuse("the message is null");
    }
    let message = if bytes == 0 {
        &[]
    } else {
        // SAFETY: not null, and the caller promises so many bytes.
        unsafe { slice::from_raw_parts(message.cast::<u8>(), bytes) }
    };
    Status::of(sender.end.send(message))
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
    let Some(sender) = sender else { return Status::misuse("the sender is null") };
    if sender.loan.is_some() || room.is_null() {
        return Status::misuse("there is a loan already, or no place for a new one");
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
    sender: &mut Sender,
    bytes: usize,
    fill: impl FnOnce(&mut [u8]) -> Result<(), channel::Error>,
) -> Status {
    if sender.loan.is_some() {
        return Status::misuse("commit or abort the loan first");
    }
    let filled = sender.end.loan(bytes).and_then(|mut loan| {
        fill(&mut loan)?;
        loan.commit()
    });
    Status::of(filled)
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
    let (Some(sender), Some(unread)) = (sender, unread) else {
        return Status::misuse("the sender is null, or the place for the number");
    };
    if sender.loan.is_some() {
        return Status::misuse("commit or abort the loan first");
    }
    Status::of(sender.end.unread().map(|count| *unread = count))
}

/// Receivers of a broadcast that are there; what is sent before they come they don't hear.
#[unsafe(no_mangle)]
pub extern "C" fn psyne_receivers(
    sender: Option<&mut Sender>,
    receivers: Option<&mut usize>,
) -> Status {
    let (Some(sender), Some(receivers)) = (sender, receivers) else {
        return Status::misuse("the sender is null, or the place for the number");
    };
    if sender.loan.is_some() {
        return Status::misuse("commit or abort the loan first");
    }
    Status::of(sender.end.receivers().map(|count| *receivers = count))
}

/// What was done so far; zeros for null and while there is a loan.
#[unsafe(no_mangle)]
pub extern "C" fn psyne_sender_stats(sender: Option<&Sender>) -> Stats {
    let idle = sender.filter(|sender| sender.loan.is_none());
    idle.map(|sender| sender.end.stats().into()).unwrap_or_default()
}

/// Closes the end; what was sent can still be received. Null does nothing.
///
/// # Safety
/// `sender` came from `psyne_sender_open` and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_sender_close(sender: *mut Sender) {
    if !sender.is_null() {
        // SAFETY: `hand_over` made it by Box::into_raw; the caller promises that this is the end.
        drop(unsafe { Box::from_raw(sender) });
    }
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
    let Some(receiver) = receiver else { return Status::misuse("the receiver is null") };
    if message.is_null() || bytes.is_null() {
        return Status::misuse("there is no place for the message");
    }
    receiver.message = None;
    let time = u64::try_from(timeout_ns).ok().map(Duration::from_nanos);
    let received = receiver.end.recv(time);
    // SAFETY: as the caller promises.
    unsafe { lend(&mut receiver.message, received, message, bytes) }
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
    let Some(receiver) = receiver else { return Status::misuse("the receiver is null") };
    if message.is_null() || bytes.is_null() {
        return Status::misuse("there is no place for the message");
    }
    receiver.message = None;
    let newest = receiver.end.newest();
    let received = newest.and_then(|newest| newest.ok_or(channel::Error::TimedOut));
    // SAFETY: as the caller promises.
    unsafe { lend(&mut receiver.message, received, message, bytes) }
}

/// Keeps a message, and tells C where it lies.
///
/// # Safety
/// `message` and `bytes` can be written to.
unsafe fn lend(
    held: &mut Option<any::Lease>,
    received: Result<any::Lease, channel::Error>,
    message: *mut *const c_void,
    bytes: *mut usize,
) -> Status {
    let received = match received {
        Ok(received) => received,
        Err(error) => return Status::of(Err(error)),
    };
    let (start, length) = (received.as_ptr(), received.len());
    *held = Some(received);
    // SAFETY: not null, and the caller promises that it can be written to.
    unsafe { message.write(start.cast()) };
    // SAFETY: as above.
    unsafe { bytes.write(length) };
    Status::PsyneOk
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

/// Closes the end; what was not received is lost. Null does nothing.
///
/// # Safety
/// `receiver` came from `psyne_receiver_open` and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_receiver_close(receiver: *mut Receiver) {
    if !receiver.is_null() {
        // SAFETY: `hand_over` made it by Box::into_raw; the caller promises that this is the end.
        drop(unsafe { Box::from_raw(receiver) });
    }
}
