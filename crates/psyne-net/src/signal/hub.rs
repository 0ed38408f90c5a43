//! The hub: who is in which group, and what goes to whom. A machine without I/O.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use psyne_rtc::Time;

use super::rate::Bucket;
use super::{
    FromHub, Ice, Join, Limits, Name, Refusal, Secret, Signal, Ticket, ToHub, VERSION, Welcome,
    turn_password,
};

/// Users and addresses whose rates are remembered, for each connection that may be: those that left
/// are remembered until their rate would be whole again, or a newer one needs the room.
const ACCOUNTS_PER_CONNECTION: usize = 2;

/// What a hub is told once.
#[derive(Clone, Debug)]
pub struct Config {
    /// What tokens are sealed with; none lets everybody in, on the account of their address.
    pub secret: Option<Secret>,
    /// STUN servers to tell members of: `stun:host:port`.
    pub stun_urls: Vec<String>,
    /// TURN servers to tell members of.
    pub turn: Option<Turn>,
    /// Unix seconds at [`Time::ZERO`], for tokens.
    pub origin_unix_s: u64,
    /// Every bound.
    pub limits: Limits,
}

/// TURN servers and what their credentials are made with.
#[derive(Clone, Debug)]
pub struct Turn {
    /// `turn:host:port?transport=udp` …
    pub urls: Vec<String>,
    /// What the servers share with the hub: `static-auth-secret` of coturn.
    pub secret: Secret,
    /// Seconds for which a credential holds, if the token does not end before.
    pub lifetime_s: u64,
}

impl Default for Config {
    /// Open to everybody, without servers, on the first of January 1970.
    fn default() -> Self {
        let (secret, turn) = (None, None);
        Self { secret, turn, stun_urls: vec![], origin_unix_s: 0, limits: Limits::default() }
    }
}

/// A connection, as its driver numbers it. Numbers are not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// What a hub wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// Send this, and say [`Hub::handle_written`] when it has left.
    Send {
        /// To whom.
        to: ConnId,
        /// A text message.
        text: Arc<str>,
    },
    /// Send what is still to be sent if that goes at once, and close. Say nothing more about it.
    Close {
        /// Which.
        conn: ConnId,
        /// Why: the close reason is its code. None is a goodbye that the member said first.
        why: Option<Refusal>,
    },
    /// This happened.
    Event(Event),
    /// Nothing more until then, or until the next input.
    Wait(Option<Time>),
}

/// What happened in a hub.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Somebody came into a group.
    Joined {
        /// Which.
        group: Name,
        /// Who.
        peer: Name,
    },
    /// Somebody is gone from a group.
    Left {
        /// Which.
        group: Name,
        /// Who.
        peer: Name,
        /// Why, as the others hear it.
        reason: &'static str,
    },
}

/// What a hub has counted since it began, and what it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Connections that are open, joined or not.
    pub connections: usize,
    /// Groups that have a member.
    pub groups: usize,
    /// Members of all groups.
    pub members: usize,
    /// Bytes that wait to be read by members.
    pub queued_bytes: usize,
    /// Joins that were welcomed.
    pub joins: u64,
    /// Messages handed from one member to another.
    pub relayed: u64,
    /// What was refused, by [`Refusal::code`]; closed connections count under their reason.
    pub refused: BTreeMap<&'static str, u64>,
}

/// See the module.
#[derive(Debug)]
pub struct Hub {
    config: Config,
    seed: u64,
    conns: BTreeMap<ConnId, Conn>,
    strangers: usize,
    groups: BTreeMap<Name, BTreeMap<Name, ConnId>>,
    accounts: BTreeMap<Account, Use>,
    alarms: BTreeSet<(Time, ConnId)>,
    outputs: VecDeque<Output>,
    named: u64,
    metrics: Metrics,
}

/// Whose rate is counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Account {
    /// An address.
    Source(Arc<str>),
    /// A user that a token names.
    User(Name),
}

/// What an account has used up.
#[derive(Debug)]
struct Use {
    connects: Bucket,
    messages: Bucket,
    bytes: Bucket,
    connections: usize,
    members: usize,
}

#[derive(Debug)]
struct Conn {
    source: Account,
    alarm: Time,
    /// When it must have joined, and then when it was last heard.
    heard: Time,
    queued_bytes: usize,
    overruns: u32,
    seat: Option<Seat>,
}

/// A connection's place in a group.
#[derive(Debug)]
struct Seat {
    group: Name,
    peer: Name,
    instance: Name,
    account: Account,
    /// When the token ends.
    expires: Option<Time>,
    /// Offers that were not answered: to whom, in which session, until when they count.
    offers: BTreeMap<Name, (Name, Time)>,
}

impl Hub {
    /// A hub without members. The seed is for the names of those that bring none.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            config,
            seed,
            conns: BTreeMap::new(),
            strangers: 0,
            groups: BTreeMap::new(),
            accounts: BTreeMap::new(),
            alarms: BTreeSet::new(),
            outputs: VecDeque::new(),
            named: 0,
            metrics: Metrics::default(),
        }
    }

    /// A connection was made from this address: its text without a port.
    ///
    /// # Panics
    /// If the number is that of an open connection.
    pub fn handle_connected(&mut self, now: Time, conn: ConnId, source: &str) {
        assert!(!self.conns.contains_key(&conn), "{conn:?} is open already");
        let source = Account::Source(source.into());
        if let Err(why) = self.admit(now, &source) {
            self.count(why);
            self.outputs.push_back(Output::Close { conn, why: Some(why) });
            return;
        }
        let alarm = now + self.config.limits.join;
        let seat = None;
        let new = Conn { source, alarm, heard: now, queued_bytes: 0, overruns: 0, seat };
        self.conns.insert(conn, new);
        self.alarms.insert((alarm, conn));
        self.strangers += 1;
    }

    /// A text message came.
    pub fn handle_text(&mut self, now: Time, conn: ConnId, text: &str) {
        let Some(known) = self.conns.get_mut(&conn) else { return };
        let has_joined = known.seat.is_some();
        if has_joined {
            known.heard = now;
        }
        if text.len() > self.config.limits.message_bytes_max {
            return self.end(conn, Some(Refusal::TooLong));
        }
        if let Err(why) = self.spend(now, conn, text.len()) {
            return self.overrun(conn, why);
        }
        match ToHub::read(text) {
            Err(why) => self.end(conn, Some(why)),
            Ok(ToHub::Join(join)) if !has_joined => {
                if let Err(why) = self.join(now, conn, join) {
                    self.end(conn, Some(why));
                }
            }
            Ok(_) if !has_joined => self.end(conn, Some(Refusal::Malformed)),
            Ok(ToHub::Join(_)) => self.end(conn, Some(Refusal::Malformed)),
            Ok(ToHub::Pong) => {}
            Ok(ToHub::Leave) => self.end(conn, None),
            Ok(ToHub::Renew { token }) => {
                if let Err(why) = self.renew(now, conn, &token) {
                    self.refuse(conn, why, None);
                }
            }
            Ok(ToHub::Send { to, session, signal }) => {
                if let Err(why) = self.relay(now, conn, (&to, &session), signal) {
                    self.refuse(conn, why, Some((to, session)));
                }
            }
        }
    }

    /// A frame came that carries no message: it costs as much as one, and says nothing of the
    /// member.
    pub fn handle_control(&mut self, now: Time, conn: ConnId) {
        if let Err(why) = self.spend(now, conn, 0) {
            self.overrun(conn, why);
        }
    }

    /// The driver refused what came: something too long, or no text.
    pub fn handle_fault(&mut self, conn: ConnId, why: Refusal) {
        if self.conns.contains_key(&conn) {
            self.end(conn, Some(why));
        }
    }

    /// These bytes, of what was to be sent, have left.
    pub fn handle_written(&mut self, conn: ConnId, bytes: usize) {
        if let Some(conn) = self.conns.get_mut(&conn) {
            let bytes = bytes.min(conn.queued_bytes);
            conn.queued_bytes -= bytes;
            self.metrics.queued_bytes -= bytes;
        }
    }

    /// The connection is gone.
    pub fn handle_closed(&mut self, conn: ConnId) {
        if self.conns.contains_key(&conn) {
            self.forget(conn, "closed");
        }
    }

    /// The time of the last [`Output::Wait`] has come.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(&(at, conn)) = self.alarms.first() {
            if at > now {
                break;
            }
            self.alarms.remove(&(at, conn));
            self.look_after(now, conn);
        }
    }

    /// What time it is elsewhere: for when the wall clock was set, since tokens end by it.
    pub fn set_clock(&mut self, now: Time, unix_s: u64) {
        self.config.origin_unix_s = unix_s.saturating_sub(now.since(Time::ZERO).as_secs());
    }

    /// Closes every connection, because the hub stops.
    pub fn close(&mut self) {
        // They all hear why; that the others went, too, helps nobody.
        self.groups.clear();
        for conn in self.conns.keys().copied().collect::<Vec<_>>() {
            self.end(conn, Some(Refusal::Closing));
        }
    }

    /// What to do next. Ask until it says [`Output::Wait`].
    pub fn poll_output(&mut self) -> Output {
        let wait = || Output::Wait(self.alarms.first().map(|(at, _)| *at));
        self.outputs.pop_front().unwrap_or_else(wait)
    }

    /// What was counted, and what there is.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let members = self.conns.len() - self.strangers;
        let (connections, groups) = (self.conns.len(), self.groups.len());
        Metrics { connections, groups, members, ..self.metrics.clone() }
    }

    /// Users and addresses whose rates are remembered.
    #[must_use]
    pub fn accounts(&self) -> usize {
        self.accounts.len()
    }

    fn limits(&self) -> &Limits {
        &self.config.limits
    }

    fn unix_s(&self, now: Time) -> u64 {
        self.config.origin_unix_s + now.since(Time::ZERO).as_secs()
    }

    /// Whether there is room for one more connection from there; takes it.
    fn admit(&mut self, now: Time, source: &Account) -> Result<(), Refusal> {
        let limits = self.config.limits;
        let full = self.conns.len() >= limits.connections_max;
        if full || self.strangers >= limits.strangers_max {
            return Err(Refusal::Busy);
        }
        let used = self.account(now, source);
        if used.connections >= limits.connections_per_source_max {
            return Err(Refusal::Quota);
        }
        if !used.connects.take(limits.connects, now, 1) {
            return Err(Refusal::Rate);
        }
        used.connections += 1;
        Ok(())
    }

    /// Counts a message and its bytes against whoever sent it.
    fn spend(&mut self, now: Time, conn: ConnId, bytes: usize) -> Result<(), Refusal> {
        let limits = self.config.limits;
        let Some(known) = self.conns.get(&conn) else { return Ok(()) };
        let account = known.seat.as_ref().map_or(&known.source, |seat| &seat.account).clone();
        let used = self.account(now, &account);
        let enough = used.messages.take(limits.messages, now, 1)
            && used.bytes.take(limits.bytes, now, bytes);
        if enough { Ok(()) } else { Err(Refusal::Rate) }
    }

    /// What this account has used, which is remembered from now on.
    fn account(&mut self, now: Time, account: &Account) -> &mut Use {
        if !self.accounts.contains_key(account) {
            self.make_room_for_an_account(now);
        }
        let limits = &self.config.limits;
        self.accounts.entry(account.clone()).or_insert_with(|| Use {
            connects: Bucket::full(limits.connects, now),
            messages: Bucket::full(limits.messages, now),
            bytes: Bucket::full(limits.bytes, now),
            connections: 0,
            members: 0,
        })
    }

    /// Forgets accounts that nobody uses: first those whose rates are whole, and if that is not
    /// enough, any.
    fn make_room_for_an_account(&mut self, now: Time) {
        let limits = self.config.limits;
        // One for each source and one for each user of those that are connected always fit.
        let max = ACCOUNTS_PER_CONNECTION * limits.connections_max + 1;
        if self.accounts.len() < max {
            return;
        }
        let idle = |used: &Use| used.connections == 0 && used.members == 0;
        self.accounts.retain(|_, used| !(idle(used) && used.is_whole(&limits, now)));
        if self.accounts.len() >= max {
            self.accounts.retain(|_, used| !idle(used));
        }
    }

    fn join(&mut self, now: Time, conn: ConnId, join: Join) -> Result<(), Refusal> {
        if join.version != VERSION {
            return Err(Refusal::Version);
        }
        let ticket = self.ticket(now, join.token.as_deref())?;
        let wrong_peer = |ticket: &Ticket| ticket.peer.is_some() && ticket.peer != join.peer;
        if ticket.as_ref().is_some_and(|t| t.group != join.group || wrong_peer(t)) {
            return Err(Refusal::Forbidden);
        }
        let account = match &ticket {
            Some(ticket) => Account::User(ticket.user.clone()),
            None => self.conns[&conn].source.clone(),
        };
        if let Some(peer) = &join.peer {
            self.vacate(&join.group, peer, &join.instance, &account)?;
        }
        self.check_room(now, &join.group, &account)?;
        let peer = join.peer.unwrap_or_else(|| self.invent(&join.group));
        let expires = ticket.as_ref().map(|ticket| self.expiry(ticket));
        let offers = BTreeMap::new();
        let (group, instance) = (join.group, join.instance);
        self.account(now, &account).members += 1;
        let seat = Seat { group, peer, instance, account, expires, offers };
        self.seat(now, conn, seat);
        Ok(())
    }

    /// The ticket that a token is, or none where none is wanted.
    fn ticket(&self, now: Time, token: Option<&str>) -> Result<Option<Ticket>, Refusal> {
        let Some(secret) = &self.config.secret else { return Ok(None) };
        let token = token.ok_or(Refusal::Token)?;
        Ticket::open(token, secret, self.unix_s(now)).map(Some)
    }

    /// When a ticket ends, on our clock.
    fn expiry(&self, ticket: &Ticket) -> Time {
        let left_s = ticket.expires_unix_s.saturating_sub(self.config.origin_unix_s);
        Time::from_millis(left_s.saturating_mul(1_000))
    }

    /// Sends away who has this name, if it is the same member by an older connection.
    fn vacate(
        &mut self,
        group: &Name,
        peer: &Name,
        instance: &Name,
        account: &Account,
    ) -> Result<(), Refusal> {
        let holder = self.groups.get(group).and_then(|members| members.get(peer)).copied();
        let Some(holder) = holder else { return Ok(()) };
        let seat = self.conns[&holder].seat.as_ref().expect("members of groups have a seat");
        // In an open hub the account is an address, which may have changed with the network.
        let same_account = seat.account == *account || self.config.secret.is_none();
        if !(seat.instance == *instance && same_account) {
            return Err(Refusal::Taken);
        }
        self.end(holder, Some(Refusal::Replaced));
        Ok(())
    }

    fn check_room(&mut self, now: Time, group: &Name, account: &Account) -> Result<(), Refusal> {
        let limits = self.config.limits;
        match self.groups.get(group) {
            None if self.groups.len() >= limits.groups_max => return Err(Refusal::Busy),
            Some(members) if members.len() >= limits.members_max => {
                return Err(Refusal::GroupFull);
            }
            _ => {}
        }
        if self.account(now, account).members >= limits.members_per_user_max {
            return Err(Refusal::Quota);
        }
        Ok(())
    }

    /// A name that nobody in the group has.
    fn invent(&mut self, group: &Name) -> Name {
        loop {
            self.named += 1;
            // SplitMix64 (Steele et al., 2014): neighbours do not look alike.
            let mut z = self.seed.wrapping_add(self.named.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            let name = format!("peer-{:08x}", z >> 32).parse().expect("its characters are allowed");
            if self.groups.get(group).is_none_or(|members| !members.contains_key(&name)) {
                return name;
            }
        }
    }

    fn seat(&mut self, now: Time, conn: ConnId, seat: Seat) {
        let (group, peer) = (seat.group.clone(), seat.peer.clone());
        let members = self.groups.entry(group.clone()).or_default();
        let others: Vec<(Name, ConnId)> = members.iter().map(|(n, c)| (n.clone(), *c)).collect();
        members.insert(peer.clone(), conn);
        let welcome = FromHub::Welcome(Welcome {
            version: VERSION,
            peer: peer.clone(),
            members: others.iter().map(|(name, _)| name.clone()).collect(),
            ice: self.ice(now, &seat),
            silence_s: u32::try_from(self.limits().silence.as_secs()).unwrap_or(u32::MAX),
            message_bytes_max: u32::try_from(self.limits().message_bytes_max).unwrap_or(u32::MAX),
        });
        let alarm = self.next_alarm(now, now, seat.expires);
        let known = self.conns.get_mut(&conn).expect("it has just said something");
        known.seat = Some(seat);
        known.heard = now;
        self.strangers -= 1;
        self.set_alarm(conn, alarm);
        self.metrics.joins += 1;
        self.tell(conn, &welcome);
        self.tell_all(&others, &FromHub::Joined { peer: peer.clone() });
        self.outputs.push_back(Output::Event(Event::Joined { group, peer }));
    }

    /// Servers, with credentials for as long as the member's token holds.
    fn ice(&self, now: Time, seat: &Seat) -> Vec<Ice> {
        let stun = &self.config.stun_urls;
        let stun = (!stun.is_empty()).then(|| Ice {
            urls: stun.clone(),
            username: None,
            credential: None,
        });
        let turn = self.config.turn.as_ref().map(|turn| {
            let left_s = seat.expires.map_or(u64::MAX, |at| at.since(now).as_secs());
            let expiry = self.unix_s(now).saturating_add(left_s.min(turn.lifetime_s));
            let user = match &seat.account {
                Account::User(user) => user,
                Account::Source(_) => &seat.peer,
            };
            let username = format!("{expiry}:{user}");
            let credential = Some(turn_password(&turn.secret, &username));
            Ice { urls: turn.urls.clone(), username: Some(username), credential }
        });
        stun.into_iter().chain(turn).collect()
    }

    fn renew(&mut self, now: Time, conn: ConnId, token: &str) -> Result<(), Refusal> {
        let ticket = self.ticket(now, Some(token))?;
        let expires = ticket.as_ref().map(|ticket| self.expiry(ticket));
        let known = self.conns.get_mut(&conn).expect("it has just said something");
        let seat = known.seat.as_mut().expect("only members renew");
        if let Some(Ticket { user, group, peer, .. }) = ticket {
            let same = seat.group == group && seat.account == Account::User(user);
            if !same || peer.is_some_and(|peer| peer != seat.peer) {
                return Err(Refusal::Forbidden);
            }
        }
        seat.expires = expires;
        let ice = self.ice(now, self.conns[&conn].seat.as_ref().expect("only members renew"));
        self.tell(conn, &FromHub::Renewed { ice });
        Ok(())
    }

    /// Hands a signal to another member of the same group.
    fn relay(
        &mut self,
        now: Time,
        conn: ConnId,
        (to, session): (&Name, &Name),
        signal: Signal,
    ) -> Result<(), Refusal> {
        let seat = self.conns[&conn].seat.as_ref().expect("only members relay");
        let from = seat.peer.clone();
        let target = self.groups.get(&seat.group).and_then(|members| members.get(to)).copied();
        let target = target.filter(|target| *target != conn).ok_or(Refusal::NoPeer)?;
        match &signal {
            Signal::Offer(_) => self.note_offer(now, (conn, &from), (target, to), session)?,
            Signal::Answer(_) | Signal::Bye(_) => {
                self.settle(target, &from, session);
                self.settle(conn, to, session);
            }
            Signal::Candidate(_) => {}
        }
        self.metrics.relayed += 1;
        self.tell(target, &FromHub::Signal { from, session: session.clone(), signal });
        Ok(())
    }

    /// The first of two offers that cross is the one that counts: the hub is where there is a
    /// first.
    fn note_offer(
        &mut self,
        now: Time,
        (conn, from): (ConnId, &Name),
        (target, to): (ConnId, &Name),
        session: &Name,
    ) -> Result<(), Refusal> {
        let until = now + self.limits().offer;
        let offers_max = self.limits().offers_max;
        let theirs = self.conns[&target].seat.as_ref().and_then(|seat| seat.offers.get(from));
        if theirs.is_some_and(|(_, until)| *until > now) {
            return Err(Refusal::Crossed);
        }
        let seat = self.conns.get_mut(&conn).and_then(|conn| conn.seat.as_mut());
        let offers = &mut seat.expect("only members relay").offers;
        offers.retain(|_, (_, until)| *until > now);
        if offers.len() >= offers_max && !offers.contains_key(to) {
            return Err(Refusal::Offers);
        }
        offers.insert(to.clone(), (session.clone(), until));
        Ok(())
    }

    /// What `conn` has offered to `to` in this session is answered, or over.
    fn settle(&mut self, conn: ConnId, to: &Name, session: &Name) {
        let seat = self.conns.get_mut(&conn).and_then(|conn| conn.seat.as_mut());
        let Some(seat) = seat else { return };
        if seat.offers.get(to).is_some_and(|(open, _)| open == session) {
            seat.offers.remove(to);
        }
    }

    /// Asks who was silent, and sends away who stays so.
    fn look_after(&mut self, now: Time, conn: ConnId) {
        let Some(known) = self.conns.get(&conn) else { return };
        let heard = known.heard;
        let Some(seat) = &known.seat else { return self.end(conn, Some(Refusal::Late)) };
        let expires = seat.expires;
        if expires.is_some_and(|expires| expires <= now) {
            return self.end(conn, Some(Refusal::Expired));
        }
        if now.since(heard) >= self.limits().silence {
            return self.end(conn, Some(Refusal::Silent));
        }
        if now.since(heard) >= self.limits().ping {
            self.tell(conn, &FromHub::Ping);
        }
        let alarm = self.next_alarm(now, heard, expires);
        self.set_alarm(conn, alarm);
        if let Some(known) = self.conns.get_mut(&conn) {
            known.overruns = 0;
        }
    }

    /// When to look after a member again that was last heard then.
    fn next_alarm(&self, now: Time, heard: Time, expires: Option<Time>) -> Time {
        let ping = self.limits().ping;
        let ask = if now.since(heard) < ping { heard + ping } else { now + ping };
        let silent = heard + self.limits().silence;
        let soonest = ask.min(silent).min(expires.unwrap_or(Time::MAX));
        // A limit of nothing must not make a loop of nothing.
        soonest.max(now + core::time::Duration::from_millis(1))
    }

    fn set_alarm(&mut self, conn: ConnId, at: Time) {
        if let Some(known) = self.conns.get_mut(&conn) {
            self.alarms.remove(&(known.alarm, conn));
            known.alarm = at;
            self.alarms.insert((at, conn));
        }
    }

    /// Says no, and closes who goes on although it was told.
    fn overrun(&mut self, conn: ConnId, why: Refusal) {
        let overruns_max = self.limits().overruns_max;
        let Some(known) = self.conns.get_mut(&conn) else { return };
        known.overruns += 1;
        if known.overruns > overruns_max || known.seat.is_none() {
            self.end(conn, Some(why));
        } else {
            self.refuse(conn, why, None);
        }
    }

    fn refuse(&mut self, conn: ConnId, why: Refusal, about: Option<(Name, Name)>) {
        self.count(why);
        let (to, session) = about.unzip();
        let (code, message) = (why.code().to_owned(), why.to_string());
        self.tell(conn, &FromHub::Refused { code, message, to, session });
    }

    fn tell_all(&mut self, to: &[(Name, ConnId)], message: &FromHub) {
        let text: Arc<str> = message.write().into();
        for (_, conn) in to {
            self.send(*conn, text.clone());
        }
    }

    fn tell(&mut self, conn: ConnId, message: &FromHub) {
        self.send(conn, message.write().into());
    }

    /// Queues a message, or ends a connection whose queue is full.
    fn send(&mut self, to: ConnId, text: Arc<str>) {
        let queue_bytes_max = self.limits().queue_bytes_max;
        let Some(known) = self.conns.get_mut(&to) else { return };
        if known.queued_bytes + text.len() > queue_bytes_max {
            return self.end(to, Some(Refusal::Slow));
        }
        known.queued_bytes += text.len();
        self.metrics.queued_bytes += text.len();
        self.outputs.push_back(Output::Send { to, text });
    }

    /// Closes a connection; if it was a member's, the others hear why.
    fn end(&mut self, conn: ConnId, why: Option<Refusal>) {
        if let Some(why) = why {
            self.count(why);
        }
        self.outputs.push_back(Output::Close { conn, why });
        self.forget(conn, why.map_or("left", Refusal::code));
    }

    fn forget(&mut self, conn: ConnId, reason: &'static str) {
        let Some(gone) = self.conns.remove(&conn) else { return };
        self.metrics.queued_bytes -= gone.queued_bytes;
        self.alarms.remove(&(gone.alarm, conn));
        if let Some(used) = self.accounts.get_mut(&gone.source) {
            used.connections -= 1;
        }
        let Some(Seat { group, peer, account, .. }) = gone.seat else {
            self.strangers -= 1;
            return;
        };
        if let Some(used) = self.accounts.get_mut(&account) {
            used.members -= 1;
        }
        let members = self.vacate_seat(&group, &peer);
        self.outputs.push_back(Output::Event(Event::Left { group, peer: peer.clone(), reason }));
        self.tell_all(&members, &FromHub::Left { peer, reason: reason.to_owned() });
    }

    /// Takes a member out of its group; who is left there.
    fn vacate_seat(&mut self, group: &Name, peer: &Name) -> Vec<(Name, ConnId)> {
        let Some(members) = self.groups.get_mut(group) else { return vec![] };
        members.remove(peer);
        let left: Vec<_> = members.iter().map(|(name, conn)| (name.clone(), *conn)).collect();
        if left.is_empty() {
            self.groups.remove(group);
        }
        for (_, conn) in &left {
            let seat = self.conns.get_mut(conn).and_then(|conn| conn.seat.as_mut());
            // Whoever takes the name next has been offered nothing.
            seat.expect("members of groups have a seat").offers.remove(peer);
        }
        left
    }

    fn count(&mut self, why: Refusal) {
        *self.metrics.refused.entry(why.code()).or_default() += 1;
    }
}

impl Use {
    fn is_whole(&mut self, limits: &Limits, now: Time) -> bool {
        self.connects.is_full(limits.connects, now)
            && self.messages.is_full(limits.messages, now)
            && self.bytes.is_full(limits.bytes, now)
    }
}
