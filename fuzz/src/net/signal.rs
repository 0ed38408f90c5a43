//! Signaling: messages, tokens, and a hub that hears anything in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use psyne_net::signal::hub::{Config, ConnId, Output};
use psyne_net::signal::{
    FromHub, Hub, Limits, Member, MemberConfig, MemberOutput, Rate, Secret, Ticket, ToHub,
};
use psyne_rtc::Time;

/// More outputs than any single input may cause in so small a hub.
const OUTPUTS_MAX: usize = 500;

/// What is read and written again is the same.
pub fn to_hub(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(said) = ToHub::read(&text) {
        assert_eq!(ToHub::read(&said.write()), Ok(said));
    }
}

/// What is read and written again is the same, and a member takes it without harm.
pub fn from_hub(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(said) = FromHub::read(&text) {
        assert_eq!(FromHub::read(&said.write()), Ok(said));
    }
    let name = |text: &str| text.parse().expect("a name");
    let config = MemberConfig::new(name("g"), name("0123456789abcdef"));
    let mut member = Member::new(config, Time::ZERO, 1);
    member.handle_connected(Time::ZERO);
    for line in text.lines() {
        member.handle_text(Time::ZERO, line);
        member.handle_timeout(Time::from_millis(1));
        let mut outputs = 0;
        while !matches!(member.poll_output(), MemberOutput::Wait(_)) {
            outputs += 1;
            assert!(outputs < 10_000, "it comes to rest");
        }
    }
}

/// Nobody makes a token without the secret.
pub fn token(data: &[u8]) {
    let secret = Secret::new(b"not in any corpus").expect("it is long enough");
    let text = String::from_utf8_lossy(data);
    assert!(Ticket::open(&text, &secret, 0).is_err());
}

fn limits() -> Limits {
    Limits {
        connections_max: 6,
        connections_per_source_max: 4,
        connects: Rate { burst: 8, per_s: 4 },
        strangers_max: 3,
        groups_max: 2,
        members_max: 3,
        members_per_user_max: 3,
        messages: Rate { burst: 20, per_s: 10 },
        bytes: Rate { burst: 4_000, per_s: 1_000 },
        overruns_max: 2,
        message_bytes_max: 600,
        queue_bytes_max: 1_500,
        offers_max: 2,
        ..Limits::default()
    }
}

struct World {
    hub: Hub,
    now: Time,
    wait: Option<Time>,
    /// What each open connection has not read.
    queued: BTreeMap<u64, Vec<usize>>,
    /// In which group the hub welcomed it, by what it asked for.
    asked: BTreeMap<u64, String>,
    next: u64,
}

/// Each operation is two bytes, and for those that say something the text behind them.
pub fn hub_ops(data: &[u8]) {
    let config = Config { limits: limits(), ..Config::default() };
    let mut world = World {
        hub: Hub::new(config, 1),
        now: Time::ZERO,
        wait: None,
        queued: BTreeMap::new(),
        asked: BTreeMap::new(),
        next: 0,
    };
    let mut data = data;
    while let [op, arg, rest @ ..] = data {
        data = world.perform(*op, *arg, rest);
        world.check();
    }
}

impl World {
    /// What it leaves of the input.
    fn perform<'a>(&mut self, op: u8, arg: u8, rest: &'a [u8]) -> &'a [u8] {
        let conn = ConnId(self.next.saturating_sub(1 + u64::from(op >> 5)));
        let mut left = rest;
        match op & 7 {
            0 => {
                let conn = ConnId(self.next);
                self.next += 1;
                self.queued.insert(conn.0, vec![]);
                self.hub.handle_connected(self.now, conn, if arg & 1 == 0 { "a" } else { "b" });
            }
            1 => {
                let peer = char::from(b'a' + arg % 4);
                let group = if arg & 16 == 0 { "g" } else { "h" };
                let who = format!(r#""peer":"{peer}","instance":"{:016}""#, arg >> 6);
                let text = format!(r#"{{"type":"join","version":1,"group":"{group}",{who}}}"#);
                self.asked.entry(conn.0).or_insert_with(|| group.to_owned());
                self.hub.handle_text(self.now, conn, &text);
            }
            2 => {
                let signal = ["offer", "answer", "candidate", "bye"][usize::from(arg >> 2) % 4];
                let peer = char::from(b'a' + arg % 4);
                let text = format!(
                    r#"{{"type":"send","to":"{peer}","session":"s{}","signal":{{"{signal}":""}}}}"#,
                    arg >> 5
                );
                self.hub.handle_text(self.now, conn, &text);
            }
            3 => {
                let (text, behind) = rest.split_at(rest.len().min(usize::from(arg)));
                // In a group that is not the one it asked for nothing could be told apart.
                let text = String::from_utf8_lossy(text);
                if !text.contains("join") {
                    self.hub.handle_text(self.now, conn, &text);
                }
                left = behind;
            }
            4 => self.read(conn, arg),
            5 => {
                self.queued.remove(&conn.0);
                self.hub.handle_closed(conn);
            }
            6 => self.pass(Duration::from_millis(u64::from(arg) * 100)),
            _ if arg == 0xFF => self.hub.close(),
            _ => self.hub.handle_control(self.now, conn),
        }
        self.drain();
        left
    }

    fn read(&mut self, conn: ConnId, arg: u8) {
        let Some(queue) = self.queued.get_mut(&conn.0) else { return };
        for bytes in queue.drain(..queue.len().min(usize::from(arg))) {
            self.hub.handle_written(conn, bytes);
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.wait.filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.hub.handle_timeout(self.now);
            self.drain();
            assert!(self.wait.is_none_or(|at| at > self.now), "an alarm rings once");
        }
        self.now = end;
    }

    fn drain(&mut self) {
        for outputs in 0.. {
            assert!(outputs < OUTPUTS_MAX, "it comes to rest");
            match self.hub.poll_output() {
                Output::Send { to, text } => self.sent(to, &text),
                Output::Close { conn, .. } => {
                    assert!(self.queued.remove(&conn.0).is_some(), "it was open");
                }
                Output::Event(_) => {}
                Output::Wait(wait) => {
                    self.wait = wait;
                    return;
                }
                output => panic!("{output:?} is new"),
            }
        }
    }

    fn sent(&mut self, to: ConnId, text: &str) {
        FromHub::read(text).expect("the hub keeps its own rules");
        let queue = self.queued.get_mut(&to.0).expect("only who is there is sent anything");
        queue.push(text.len());
        assert!(queue.iter().sum::<usize>() <= limits().queue_bytes_max);
        assert!(self.asked.contains_key(&to.0), "strangers are told nothing");
    }

    fn check(&self) {
        let (metrics, limits) = (self.hub.metrics(), limits());
        assert_eq!(metrics.connections, self.queued.len());
        assert_eq!(metrics.queued_bytes, self.queued.values().flatten().sum::<usize>());
        assert!(metrics.members <= metrics.connections);
        assert!(metrics.connections <= limits.connections_max);
        assert!(metrics.groups <= limits.groups_max.min(metrics.members));
        assert!(metrics.members <= limits.groups_max * limits.members_max);
        assert!(self.hub.accounts() <= 2 * limits.connections_max + 1);
        let open: BTreeSet<_> = self.queued.keys().collect();
        assert!(open.last().is_none_or(|last| **last < self.next));
    }
}
