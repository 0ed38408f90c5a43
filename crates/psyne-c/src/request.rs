//! Requests and their replies.

use core::ffi::{c_char, c_int, c_void};

use psyne::channel::{self, Watch, request::plain};

use crate::end::{arm, bytes_of, hand_over, opened, take_back, time, watch};
use crate::{Config, Layout, Status};

/// The end that asks. Only one thread at a time may use it.
#[derive(Debug)]
pub struct Client {
    /// Calls under way, by their numbers.
    calls: Vec<(u64, plain::Call)>,
    /// Calls begun so far.
    begun: u64,
    end: plain::Client,
}

/// The end that answers. Only one thread at a time may use it.
#[derive(Debug)]
pub struct Server {
    end: plain::Server,
    watch: Option<Watch>,
}

/// The layouts of requests and replies.
fn layouts(both: &[Layout; 2]) -> Result<[channel::Layout; 2], channel::Error> {
    let [Some(asks), Some(answers)] = both.map(|layout| layout.read()) else {
        return Err(channel::Error::Config("requests and replies have a layout"));
    };
    Ok([asks, answers])
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
    let end = unsafe {
        opened(address, config, |address, _, config| {
            let [asks, answers] = layouts(&[asks, answers])?;
            plain::Client::open(address, (&asks, &answers), config)
        })
    };
    // SAFETY: as the caller promises.
    unsafe { hand_over(end.map(|end| Client { calls: Vec::new(), begun: 0, end }), out) }
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
    let Some(client) = client else { return Status::misuse("the client is null") };
    // SAFETY: as the caller promises.
    let request = match unsafe { bytes_of(request, bytes) } {
        Ok(request) if !reply.is_null() => request,
        Ok(_) => return Status::misuse("there is no place for the reply"),
        Err(status) => return status,
    };
    let told = client.end.call(request, time(timeout_ns)).map(<[u8]>::as_ptr);
    // SAFETY: not null, and the caller promises that it can be written to.
    Status::of(told.map(|start| unsafe { reply.write(start.cast()) }))
}

/// Asks and does not wait: more calls can begin meanwhile, `calls_max` at a time (`PSYNE_FULL`).
/// `call` is the call's number, for `psyne_finish` or `psyne_forget`; 0 is none.
///
/// # Safety
/// `request` points to as many bytes as its layout says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_begin(
    client: Option<&mut Client>,
    request: *const c_void,
    bytes: usize,
    call: Option<&mut u64>,
) -> Status {
    let (Some(client), Some(call)) = (client, call) else {
        return Status::misuse("the client is null, or the place for the call's number");
    };
    *call = 0;
    // SAFETY: as the caller promises.
    let request = match unsafe { bytes_of(request, bytes) } {
        Ok(request) => request,
        Err(status) => return status,
    };
    Status::of(client.end.begin(request).map(|begun| {
        client.begun += 1;
        client.calls.push((client.begun, begun));
        *call = client.begun;
    }))
}

/// Waits for the reply of a call, which is yours to read until the client next asks or finishes.
/// `timeout_ns` is how long, 0 not at all, below 0 as long as it takes. After `PSYNE_TIMED_OUT` the
/// call goes on; after every other answer it is over.
///
/// # Safety
/// `reply` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_finish(
    client: Option<&mut Client>,
    call: u64,
    timeout_ns: i64,
    reply: *mut *const c_void,
) -> Status {
    let Some(client) = client else { return Status::misuse("the client is null") };
    if reply.is_null() {
        return Status::misuse("there is no place for the reply");
    }
    let Some((_, begun)) = client.forget(call) else {
        return Status::misuse("there is no such call, or it is over");
    };
    match client.end.finish(begun, time(timeout_ns)) {
        Ok(Ok(answer)) => {
            // SAFETY: not null, and the caller promises that it can be written to.
            unsafe { reply.write(answer.as_ptr().cast()) };
            Status::PsyneOk
        }
        Ok(Err(begun)) => {
            client.calls.push((call, begun));
            Status::of(Err(channel::Error::TimedOut))
        }
        Err(error) => Status::of(Err(error)),
    }
}

/// Gives a call up: its reply goes nowhere. One that is over, or none, does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn psyne_forget(client: Option<&mut Client>, call: u64) {
    drop(client.and_then(|client| client.forget(call)));
}

impl Client {
    fn forget(&mut self, call: u64) -> Option<(u64, plain::Call)> {
        let at = self.calls.iter().position(|(number, _)| *number == call)?;
        Some(self.calls.swap_remove(at))
    }
}

/// Closes the client and makes the handle null; its calls are forgotten. Null does nothing.
///
/// # Safety
/// `client` came from `psyne_client_open`; no copy of it is used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_client_close(client: Option<&mut *mut Client>) {
    // SAFETY: as the caller promises.
    drop(unsafe { take_back(client) });
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
    let end = unsafe {
        opened(address, config, |address, _, config| {
            let [asks, answers] = layouts(&[asks, answers])?;
            plain::Server::open(address, (&asks, &answers), config)
        })
    };
    // SAFETY: as the caller promises.
    unsafe { hand_over(end.map(|end| Server { end, watch: None }), out) }
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
    let Some(server) = server else { return Status::misuse("the server is null") };
    if request.is_null() {
        return Status::misuse("there is no place for the request");
    }
    let asked = server.end.next(time(timeout_ns)).map(<[u8]>::as_ptr);
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
    let Some(server) = server else { return Status::misuse("the server is null") };
    // SAFETY: as the caller promises.
    match unsafe { bytes_of(reply, bytes) } {
        Ok(reply) => Status::of(server.end.reply(reply)),
        Err(status) => status,
    }
}

/// Lets the request that came last go without a reply: its client hears `PSYNE_REFUSED`.
#[unsafe(no_mangle)]
pub extern "C" fn psyne_refuse(server: Option<&mut Server>) {
    if let Some(server) = server {
        server.end.refuse();
    }
}

/// The server's file descriptor, as `psyne_watch`.
#[unsafe(no_mangle)]
pub extern "C" fn psyne_server_watch(
    server: Option<&mut Server>,
    fd: Option<&mut c_int>,
) -> Status {
    watch(server.map(|server| &mut server.watch), fd)
}

/// As `psyne_arm`, before waiting for a request by the descriptor.
#[unsafe(no_mangle)]
pub extern "C" fn psyne_server_arm(server: Option<&mut Server>) -> Status {
    let Some(server) = server else { return Status::misuse("the server is null") };
    arm(&mut server.watch, &mut server.end)
}

/// Closes the server and makes the handle null. Null does nothing.
///
/// # Safety
/// `server` came from `psyne_server_open`; no copy of it is used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_server_close(server: Option<&mut *mut Server>) {
    // SAFETY: as the caller promises.
    drop(unsafe { take_back(server) });
}
