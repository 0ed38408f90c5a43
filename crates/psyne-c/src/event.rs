//! Events: something happened, and how often; there is nothing to carry.

use core::ffi::{c_char, c_int};

use psyne::channel::{Watch, event};

use crate::end::{arm, hand_over, opened, take_back, time, watch};
use crate::{Config, Status};

/// The side to which things happen. Only one thread at a time may use it.
#[derive(Debug)]
pub struct Notifier(event::Notifier);

/// A side that waits for things to happen. Only one thread at a time may use it.
#[derive(Debug)]
pub struct Listener {
    end: event::Listener,
    watch: Option<Watch>,
}

/// What happened between two looks.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Events {
    /// A bit for each event that happened at all.
    pub ids: u64,
    /// How often each of them happened.
    pub counts: [u32; 64],
}

/// Opens the events at `ipc://name` or `memory://name`; of `config`, which may be null, only
/// `receivers_max` matters. The handle comes in `out`, null after an error.
///
/// # Safety
/// `address` ends with a zero byte; `out` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_notifier_open(
    address: *const c_char,
    config: Option<&Config>,
    out: *mut *mut Notifier,
) -> Status {
    // SAFETY: as the caller promises.
    let end = unsafe {
        opened(address, config, |address, _, config| event::Notifier::open(address, config))
    };
    // SAFETY: as the caller promises.
    unsafe { hand_over(end.map(Notifier), out) }
}

/// Says that event `id`, 0 to 63, happened once more. Never waits.
#[unsafe(no_mangle)]
pub extern "C" fn psyne_notify(notifier: Option<&mut Notifier>, id: u8) -> Status {
    match notifier {
        Some(Notifier(end)) if id < event::IDS => end.notify(id),
        Some(_) => return Status::misuse("an event is one of 64, from 0 on"),
        None => return Status::misuse("the notifier is null"),
    }
    Status::PsyneOk
}

/// Closes the notifier and makes the handle null. Null does nothing.
///
/// # Safety
/// `notifier` came from `psyne_notifier_open`; no copy of it is used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_notifier_close(notifier: Option<&mut *mut Notifier>) {
    // SAFETY: as the caller promises.
    drop(unsafe { take_back(notifier) });
}

/// Opens a listener to the notifier at an address, for what happens from then on; it may come
/// before its notifier. `config` may be null. The handle comes in `out`, null after an error.
///
/// # Safety
/// `address` ends with a zero byte; `out` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_listener_open(
    address: *const c_char,
    config: Option<&Config>,
    out: *mut *mut Listener,
) -> Status {
    // SAFETY: as the caller promises.
    let end = unsafe {
        opened(address, config, |address, _, config| event::Listener::open(address, config))
    };
    // SAFETY: as the caller promises.
    unsafe { hand_over(end.map(|end| Listener { end, watch: None }), out) }
}

/// Lets `listener` listen to the notifiers of another listener, too, which is closed and made null:
/// events of the same number are one.
///
/// # Safety
/// `other` came from `psyne_listener_open`; no copy of it is used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_listener_join(
    listener: Option<&mut Listener>,
    other: Option<&mut *mut Listener>,
) -> Status {
    let Some(listener) = listener else { return Status::misuse("the listener is null") };
    if other.as_deref().is_some_and(|other| core::ptr::eq(*other, listener)) {
        return Status::misuse("a listener listens to its own notifiers already");
    }
    // SAFETY: as the caller promises; it is not `listener`.
    match unsafe { take_back(other) } {
        Some(other) => Status::of(listener.end.join(other.end)),
        None => Status::misuse("the other listener is null"),
    }
}

/// Waits until something happened since the last look. `timeout_ns` is how long, 0 not at all,
/// below 0 as long as it takes. `PSYNE_CLOSED` if all notifiers are gone, `PSYNE_PEER_DIED`
/// once for each whose process died.
#[unsafe(no_mangle)]
pub extern "C" fn psyne_wait(
    listener: Option<&mut Listener>,
    timeout_ns: i64,
    events: Option<&mut Events>,
) -> Status {
    let (Some(listener), Some(events)) = (listener, events) else {
        return Status::misuse("the listener is null, or the place for what happened");
    };
    let happened = match time(timeout_ns) {
        Some(time) => listener.end.wait_timeout(time),
        None => listener.end.wait(),
    };
    Status::of(happened.map(|happened| {
        *events = Events { ids: happened.ids(), counts: [0; 64] };
        for (id, count) in happened.iter() {
            events.counts[usize::from(id)] = count;
        }
    }))
}

/// The listener's file descriptor, as `psyne_watch`.
#[unsafe(no_mangle)]
pub extern "C" fn psyne_listener_watch(
    listener: Option<&mut Listener>,
    fd: Option<&mut c_int>,
) -> Status {
    watch(listener.map(|listener| &mut listener.watch), fd)
}

/// As `psyne_arm`, before waiting for events by the descriptor.
#[unsafe(no_mangle)]
pub extern "C" fn psyne_listener_arm(listener: Option<&mut Listener>) -> Status {
    let Some(listener) = listener else { return Status::misuse("the listener is null") };
    arm(&mut listener.watch, &mut listener.end)
}

/// Closes the listener and makes the handle null. Null does nothing.
///
/// # Safety
/// `listener` came from `psyne_listener_open`; no copy of it is used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_listener_close(listener: Option<&mut *mut Listener>) {
    // SAFETY: as the caller promises.
    drop(unsafe { take_back(listener) });
}
