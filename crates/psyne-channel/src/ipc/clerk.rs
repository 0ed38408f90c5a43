//! The thread that keeps all rendezvous of this process. It sleeps unless somebody comes, goes or
//! rings for a task, and holds no channel up.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::net::Shutdown;

use super::seat::{Door, Seat};
use super::socket::system;
use super::{Member, Offer, Role, path, window};
use crate::Error;
use crate::address::Address;
use crate::desk::Desk;
use crate::observe::End;

/// How often a guest looks for a host that is not there: a takeover takes no longer, and costs less
/// than a thousandth of a core while it lasts.
const SEEK: Duration = Duration::from_millis(5);
/// How long opening waits for the answer of a host that is there. One that is stopped is joined
/// later.
const ANSWER: Duration = Duration::from_secs(1);
/// Events taken at once.
const EVENTS: usize = 64;
/// The token of the bell that wakes the thread itself.
const BELL: u64 = 0;
/// The token of the window.
const WINDOW: u64 = u64::MAX;

#[derive(Debug)]
struct Clerk {
    epoll: OwnedFd,
    bell: OwnedFd,
    /// Where observers look in, if the system granted it: nothing else depends on it.
    window: Option<OwnedFd>,
    table: Mutex<Table>,
    /// Threads don't survive a fork.
    process: u32,
}

#[derive(Debug, Default)]
struct Table {
    seats: HashMap<u64, Seat>,
    /// The seat of each token; a seat's own is that of its listener.
    tokens: HashMap<u64, u64>,
    last: u64,
}

impl Table {
    /// What an observer is told: places that one end keeps are one.
    fn report(&self) -> Vec<End> {
        let mut ends: HashMap<*const Desk, End> = HashMap::new();
        for seat in self.seats.values() {
            match ends.entry(Arc::as_ptr(seat.desk())) {
                Entry::Vacant(new) => drop(new.insert(seat.report())),
                Entry::Occupied(end) => end.into_mut().others.extend(seat.report().others),
            }
        }
        ends.into_values().collect()
    }
}

/// Where a seat has its sockets watched, and says whose tasks have reason to look.
pub(super) struct Watch<'a> {
    epoll: &'a OwnedFd,
    tokens: &'a mut HashMap<u64, u64>,
    last: &'a mut u64,
    seat: u64,
    wakes: &'a mut Vec<Arc<Desk>>,
}

impl Watch<'_> {
    /// Has a connection watched, and the process behind it.
    pub(super) fn watch(
        &mut self,
        socket: &OwnedFd,
        pidfd: Option<&OwnedFd>,
    ) -> Result<u64, Error> {
        *self.last += 1;
        let token = *self.last;
        add(self.epoll, socket, token)?;
        if let Some(pidfd) = pidfd {
            add(self.epoll, pidfd, token)?;
        }
        self.tokens.insert(token, self.seat);
        Ok(token)
    }

    /// Ends a connection, whoever holds it still.
    pub(super) fn forget(&mut self, token: u64, socket: &OwnedFd, pidfd: Option<&OwnedFd>) {
        self.tokens.remove(&token);
        let _ = epoll::delete(self.epoll, socket);
        if let Some(pidfd) = pidfd {
            let _ = epoll::delete(self.epoll, pidfd);
        }
        let _ = rustix::net::shutdown(socket, Shutdown::Both);
    }

    /// After the table is free again: a task may drop its end when it is woken.
    pub(super) fn wake(&mut self, desk: &Arc<Desk>) {
        self.wakes.push(desk.clone());
    }
}

fn add(epoll: &OwnedFd, source: &OwnedFd, token: u64) -> Result<(), Error> {
    let data = epoll::EventData::new_u64(token);
    epoll::add(epoll, source, data, epoll::EventFlags::IN).map_err(system)
}

/// Takes a place at a name.
pub(super) fn enter(
    address: &Address,
    role: Role,
    offer: Offer,
    desk: Arc<Desk>,
) -> Result<Member, Error> {
    let clerk = clerk()?;
    let (door, address) = match role {
        Role::Host => (Door::Host(path::listen(address)?), address.clone()),
        Role::HostOf(places) => {
            let (listener, address) = path::listen_among(address, places)?;
            (Door::Host(listener), address)
        }
        Role::Guest => (Door::Guest, address.clone()),
    };
    let number = clerk.seat(Seat::new(address, door, offer, desk.clone()))?;
    let member = Member(Some(number));
    if role == Role::Guest {
        clerk.visit(number, Seat::seek);
        desk.wait_for_first(ANSWER)?;
    }
    Ok(member)
}

/// Gives a place up.
pub(super) fn leave(number: u64) {
    let Ok(clerk) = clerk() else { return };
    clerk.visit(number, Seat::leave);
    let mut table = clerk.table();
    table.seats.remove(&number);
    table.tokens.retain(|_, seat| *seat != number);
}

fn clerk() -> Result<&'static Clerk, Error> {
    static CLERK: OnceLock<Result<Clerk, Error>> = OnceLock::new();
    let clerk = CLERK.get_or_init(Clerk::new).as_ref().map_err(Clone::clone)?;
    static THREAD: OnceLock<Result<(), Error>> = OnceLock::new();
    let thread = THREAD.get_or_init(|| {
        let named = std::thread::Builder::new().name("psyne".into());
        let started = named.spawn(|| clerk.keep());
        started.map(drop).map_err(|error| Error::System(error.to_string()))
    });
    thread.clone()?;
    if clerk.process != std::process::id() {
        return Err(Error::System("channels don't survive a fork without exec".into()));
    }
    Ok(clerk)
}

impl Clerk {
    fn new() -> Result<Self, Error> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(system)?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let bell = eventfd(0, flags).map_err(system)?;
        add(&epoll, &bell, BELL)?;
        let window = window::open().filter(|window| add(&epoll, window, WINDOW).is_ok());
        Ok(Self { epoll, bell, window, table: Mutex::default(), process: std::process::id() })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seat(&self, seat: Seat) -> Result<u64, Error> {
        let mut table = self.table();
        table.last += 1;
        let number = table.last;
        if let Some(listener) = seat.listener() {
            add(&self.epoll, listener, number)?;
        }
        table.tokens.insert(number, number);
        table.seats.insert(number, seat);
        drop(table);
        // The thread may have to look for somebody from now on.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        Ok(number)
    }

    /// Does something with the seat, and then wakes whom that concerns.
    fn visit(&self, number: u64, what: impl FnOnce(&mut Seat, &mut Watch<'_>)) {
        let mut wakes = Vec::new();
        let mut table = self.table();
        let Table { seats, tokens, last } = &mut *table;
        if let Some(seat) = seats.get_mut(&number) {
            let epoll = &self.epoll;
            what(seat, &mut Watch { epoll, tokens, last, seat: number, wakes: &mut wakes });
            if seat.desk().has_news() {
                wakes.push(seat.desk().clone());
            }
        }
        drop(table);
        wakes.iter().for_each(|desk| desk.wake());
    }

    fn keep(&self) {
        let mut events = Vec::with_capacity(EVENTS);
        let (mut sought, mut round) = (Instant::now(), 0);
        loop {
            let seekers = self.seekers();
            let pause = Timespec::try_from(SEEK).ok().filter(|_| !seekers.is_empty());
            events.clear();
            // Interrupted is as good as nothing.
            let _ = epoll::wait(&self.epoll, spare_capacity(&mut events), pause.as_ref());
            for event in &events {
                self.handle(event.data.u64());
            }
            if sought.elapsed() >= SEEK {
                let seek = |seat: &mut Seat, watch: &mut Watch<'_>| seat.seek_in(round, watch);
                seekers.into_iter().for_each(|number| self.visit(number, seek));
                (sought, round) = (Instant::now(), round + 1);
            }
        }
    }

    fn handle(&self, token: u64) {
        if token == BELL {
            let _ = rustix::io::read(&self.bell, &mut [0; 8]);
            return;
        }
        if token == WINDOW {
            return self.show();
        }
        let Some(number) = self.table().tokens.get(&token).copied() else { return };
        self.visit(number, |seat, watch| {
            if token == number { seat.accept(watch) } else { seat.attend(token, watch) }
        });
    }

    /// Somebody looks in.
    fn show(&self) {
        let Some(observer) = self.window.as_ref().and_then(window::accept) else { return };
        window::show(&observer, self.table().report());
    }

    /// Guests without a host.
    fn seekers(&self) -> Vec<u64> {
        let table = self.table();
        table.seats.iter().filter(|(_, seat)| seat.seeks()).map(|(number, _)| *number).collect()
    }
}
