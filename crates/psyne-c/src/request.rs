//! Requests and their replies.

use core::ffi::{c_char, c_void};
use core::slice;
use std::time::Duration;

use psyne::channel::{self, request::plain};

use crate::end::{address, hand_over};
use crate::{Config, Layout, Status, psyne_config_default};

/// The end that asks. Only one thread at a time may use it.
#[derive(Debug)]
pub struct Client(plain::Client);

/// The end that answers. Only one thread at a time may use it.
#[derive(Debug)]
pub struct Server(plain::Server);

/// What C says about how to open an end.
///
/// # Safety
/// `name` is null or ends with a zero byte.
unsafe fn open<T>(
    name: *const c_char,
    [asks, answers]: [Layout; 2],
    config: Option<&Config>,
    open: impl FnOnce(
        &str,
        (&channel::Layout, &channel::Layout),
        &channel::Config,
    ) -> Result<T, channel::Error>,
) -> Result<T, Status> {
    // SAFETY: as the caller promises.
    let name = unsafe { address(name) }?;
    let config = config.copied().unwrap_or_else(|| psyne_config_default());
    let (Some(asks), Some(answers)) = (asks.read(), answers.read()) else {
        return Err(Status::misuse("requests and replies have a layout"));
    };
    let end = || open(name, (&asks, &answers), &config.read()?);
    end().map_err(|error| Status::of(Err(error)))
}

/// Opens a client of the server at `ipc://name` or `memory://name`, with the layouts of requests
/// and replies. Either may be first. `config` may be null. The handle comes in `out`, null after
/// an error.
///
/// # Safety
/// `address` ends with a zero byte; `out` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_client_open(
    address: *const c_char,
    asks: Layout,
    answers: Layout,
    config: Option<&Config>,
    out: *mut *mut Client,
) -> Status {
    // SAFETY: as the caller promises.
    let end = unsafe { open(address, [asks, answers], config, plain::Client::open) };
    // SAFETY: as the caller promises.
    unsafe { hand_over(end.map(Client), out) }
}

/// Asks and waits for the reply, which is yours to read until the next call. `timeout_ns` is how
/// long, below 0 as long as it takes; the reply of a call that took too long goes nowhere.
/// `PSYNE_REFUSED` if the server let it go, `PSYNE_PEER_DIED` if its process died.
///
/// # Safety
/// `request` points to as many bytes as its layout says; `reply` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_call(
    client: Option<&mut Client>,
    request: *const c_void,
    bytes: usize,
    timeout_ns: i64,
    reply: *mut *const c_void,
) -> Status {
    let Some(Client(client)) = client else { return Status::misuse("the client is null") };
    if request.is_null() || reply.is_null() {
        return Status::misuse("the request is null, or there is no place for the reply");
    }
    // SAFETY: not null, and the caller promises so many bytes.
    let request = unsafe { slice::from_raw_parts(request.cast::<u8>(), bytes) };
    let time = u64::try_from(timeout_ns).ok().map(Duration::from_nanos);
    let told = client.call(request, time).map(<[u8]>::as_ptr);
    // SAFETY: not null, and the caller promises that it can be written to.
    Status::of(told.map(|start| unsafe { reply.write(start.cast()) }))
}

/// Closes the client. Null does nothing.
///
/// # Safety
/// `client` came from `psyne_client_open` and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_client_close(client: *mut Client) {
    if !client.is_null() {
        // SAFETY: `hand_over` made it by Box::into_raw; the caller promises that this is the end.
        drop(unsafe { Box::from_raw(client) });
    }
}

/// Opens the server, as `psyne_client_open`.
///
/// # Safety
/// `address` ends with a zero byte; `out` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_server_open(
    address: *const c_char,
    asks: Layout,
    answers: Layout,
    config: Option<&Config>,
    out: *mut *mut Server,
) -> Status {
    // SAFETY: as the caller promises.
    let end = unsafe { open(address, [asks, answers], config, plain::Server::open) };
    // SAFETY: as the caller promises.
    unsafe { hand_over(end.map(Server), out) }
}

/// Waits for the next request, which is yours to read until the next one; the one before is refused
/// if it has no reply yet. `timeout_ns` is how long, below 0 as long as it takes. `PSYNE_CLOSED`
/// each time that the last client has finished, `PSYNE_PEER_DIED` once for each whose process died:
/// who goes on waits for others.
///
/// # Safety
/// `request` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_server_next(
    server: Option<&mut Server>,
    timeout_ns: i64,
    request: *mut *const c_void,
) -> Status {
    let Some(Server(server)) = server else { return Status::misuse("the server is null") };
    if request.is_null() {
        return Status::misuse("there is no place for the request");
    }
    let time = u64::try_from(timeout_ns).ok().map(Duration::from_nanos);
    let asked = server.next(time).map(<[u8]>::as_ptr);
    // SAFETY: not null, and the caller promises that it can be written to.
    Status::of(asked.map(|start| unsafe { request.write(start.cast()) }))
}

/// Answers the request that came last.
///
/// # Safety
/// `reply` points to as many bytes as its layout says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_reply(
    server: Option<&mut Server>,
    reply: *const c_void,
    bytes: usize,
) -> Status {
    let Some(Server(server)) = server else { return Status::misuse("the server is null") };
    if reply.is_null() {
        return Status::misuse("the reply is null");
    }
    // SAFETY: not null, and the caller promises so many bytes.
    Status::of(server.reply(unsafe { slice::from_raw_parts(reply.cast::<u8>(), bytes) }))
}

/// Lets the request that came last go without a reply: its client hears `PSYNE_REFUSED`.
#[unsafe(no_mangle)]
pub extern "C" fn psyne_refuse(server: Option<&mut Server>) {
    if let Some(Server(server)) = server {
        server.refuse();
    }
}

/// Closes the server. Null does nothing.
///
/// # Safety
/// `server` came from `psyne_server_open` and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_server_close(server: *mut Server) {
    if !server.is_null() {
        // SAFETY: `hand_over` made it by Box::into_raw; the caller promises that this is the end.
        drop(unsafe { Box::from_raw(server) });
    }
}
