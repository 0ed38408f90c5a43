//! Whose datagram it is, where many sessions share a socket.
//!
//! A check says by its name for which session it is; an answer, by the number of what it answers;
//! everything else comes from where a check has come from before.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use psyne_rtc::Time;
use stun_types::attribute::Username;
use stun_types::message::{Message, MessageClass};

use super::bell::Key;

/// Checks without an answer that are remembered, in each of two ages: 64 sessions' 100 pairs.
const ASKED_MAX: usize = 6_400;
/// How long one age lasts: a check is answered within the two or never.
const AGE: Duration = Duration::from_secs(20);
/// Ways from which one session is spoken to.
const WAYS_MAX: usize = 64;
/// After this silence somebody else who proves to be there takes a way over. Checks of consent come
/// every 5 s (RFC 7675 §5.1).
const SILENCE: Duration = Duration::from_secs(6);

/// Our address, theirs.
type Way = (SocketAddr, SocketAddr);
type Number = [u8; 12];

/// What is known of who is where.
#[derive(Debug, Default)]
pub(super) struct Routes {
    names: HashMap<String, Key>,
    ways: HashMap<Way, (Key, Time)>,
    sessions: HashMap<Key, Known>,
    asked: HashMap<Number, Key>,
    asked_before: HashMap<Number, Key>,
    aged: Time,
}

#[derive(Debug, Default)]
struct Known {
    name: String,
    ways: Vec<Way>,
}

impl Routes {
    /// A session goes by this ICE name from now on.
    pub(super) fn name(&mut self, key: Key, name: &str) {
        let known = self.sessions.entry(key).or_default();
        if known.name != name {
            self.names.remove(&known.name);
            name.clone_into(&mut known.name);
            self.names.insert(name.to_owned(), key);
        }
    }

    /// A session is over.
    pub(super) fn forget(&mut self, key: Key) {
        let Some(known) = self.sessions.remove(&key) else { return };
        self.names.remove(&known.name);
        for way in known.ways {
            if self.ways.get(&way).is_some_and(|(owner, _)| *owner == key) {
                self.ways.remove(&way);
            }
        }
    }

    /// A session sends this: if it is a check, its answer will be for that session.
    pub(super) fn note_sent(&mut self, now: Time, key: Key, datagram: &[u8]) {
        let Some(number) = request_number(datagram) else { return };
        if now.since(self.aged) >= AGE || self.asked.len() >= ASKED_MAX {
            self.asked_before = core::mem::take(&mut self.asked);
            self.aged = now;
        }
        self.asked.insert(number, key);
    }

    /// For whom a datagram is that came this way.
    pub(super) fn find(&mut self, now: Time, way: Way, datagram: &[u8]) -> Option<Key> {
        if !matches!(datagram.first(), Some(0..=3)) {
            let (key, at) = self.ways.get_mut(&way)?;
            *at = now;
            return Some(*key);
        }
        let message = Message::from_bytes(datagram).ok()?;
        match message.class() {
            MessageClass::Success | MessageClass::Error => {
                let number = number(datagram)?;
                return self.asked.remove(&number).or_else(|| self.asked_before.remove(&number));
            }
            // What a TURN server hands on, which has answered before.
            MessageClass::Indication => return self.ways.get(&way).map(|(key, _)| *key),
            MessageClass::Request => {}
        }
        let username = message.attribute::<Username>().ok()?;
        let (ours, _) = username.username().split_once(':')?;
        self.names.get(ours).copied()
    }

    /// What came this way was for this session, as it has proved: what comes after is, too. Unless
    /// the way is another's who is still spoken to on it.
    pub(super) fn note_proved(&mut self, now: Time, key: Key, way: Way) {
        match self.ways.get_mut(&way) {
            Some((owner, at)) if *owner == key => {
                *at = now;
                return;
            }
            Some((_, at)) if now.since(*at) < SILENCE => return,
            _ => {}
        }
        let Some(known) = self.sessions.get_mut(&key) else { return };
        if known.ways.len() >= WAYS_MAX {
            // The oldest is the likeliest to be of use no more.
            let oldest = known.ways.remove(0);
            if self.ways.get(&oldest).is_some_and(|(owner, _)| *owner == key) {
                self.ways.remove(&oldest);
            }
        }
        known.ways.push(way);
        self.ways.insert(way, (key, now));
    }
}

/// The number of a STUN request (RFC 8489 §5).
fn request_number(datagram: &[u8]) -> Option<Number> {
    // The two bits of the class are clear.
    match datagram {
        [high, low, ..] if high & !2 == 0 && high & 1 == 0 && low & 0x10 == 0 => number(datagram),
        _ => None,
    }
}

fn number(datagram: &[u8]) -> Option<Number> {
    datagram.get(8..20)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use stun_types::message::{MessageType, MessageWriteVec, TransactionId};
    use stun_types::prelude::*;

    fn way(n: u16) -> Way {
        (([192, 0, 2, 1], 9).into(), ([198, 51, 100, (n >> 8) as u8], 1 + (n & 255)).into())
    }

    fn stun(class: MessageClass, number: u128, name: Option<&str>) -> Vec<u8> {
        let kind = MessageType::from_class_method(class, stun_types::message::BINDING);
        let number = TransactionId::from(number);
        let mut message = Message::builder(kind, number, MessageWriteVec::new());
        if let Some(name) = name {
            message.add_attribute(&Username::new(name).unwrap()).unwrap();
        }
        message.finish()
    }

    #[test]
    fn checks_go_by_name_answers_by_number_and_the_rest_by_where_it_comes_from() {
        let (mut routes, now) = (Routes::default(), Time::ZERO);
        routes.name(1, "one1");
        routes.name(2, "two2");
        let ask = |name| stun(MessageClass::Request, 5, Some(name));
        assert_eq!(routes.find(now, way(1), &ask("one1:x")), Some(1));
        assert_eq!(routes.find(now, way(1), &ask("two2:x")), Some(2));
        assert_eq!(routes.find(now, way(1), &ask("none:x")), None);
        assert_eq!(routes.find(now, way(1), &ask("one1")), None);
        assert_eq!(routes.find(now, way(1), &stun(MessageClass::Request, 5, None)), None);
        assert_eq!(routes.find(now, way(1), &[1, 2, 3]), None);
        assert_eq!(routes.find(now, way(1), &[]), None);
        // An answer is one's who asked, once.
        let answer = stun(MessageClass::Success, 7, None);
        assert_eq!(routes.find(now, way(1), &answer), None);
        routes.note_sent(now, 2, &stun(MessageClass::Request, 7, Some("x:two2")));
        routes.note_sent(now, 1, &stun(MessageClass::Success, 7, None));
        assert_eq!(routes.find(now, way(1), &answer), Some(2));
        assert_eq!(routes.find(now, way(1), &answer), None);
        // DTLS comes from where a check came from.
        assert_eq!(routes.find(now, way(1), &[22; 50]), None);
        routes.note_proved(now, 1, way(1));
        assert_eq!(routes.find(now, way(1), &[22; 50]), Some(1));
        assert_eq!(routes.find(now, way(2), &[22; 50]), None);
        routes.forget(1);
        assert_eq!(routes.find(now, way(1), &[22; 50]), None);
        assert_eq!(routes.find(now, way(1), &ask("one1:x")), None);
    }

    #[test]
    fn a_restart_changes_the_name_and_keeps_the_way() {
        let (mut routes, now) = (Routes::default(), Time::ZERO);
        routes.name(1, "one1");
        routes.note_proved(now, 1, way(1));
        routes.name(1, "uno1");
        let ask = |name| stun(MessageClass::Request, 5, Some(name));
        assert_eq!(routes.find(now, way(1), &ask("one1:x")), None);
        assert_eq!(routes.find(now, way(1), &ask("uno1:x")), Some(1));
        assert_eq!(routes.find(now, way(1), &[22; 50]), Some(1));
    }

    /// Whoever may speak to one session cannot take the place from where another is spoken to, but
    /// a peer that vanished leaves it.
    #[test]
    fn a_way_is_taken_over_only_when_its_owner_is_silent() {
        let mut routes = Routes::default();
        routes.name(1, "one1");
        routes.name(2, "two2");
        routes.note_proved(Time::ZERO, 1, way(1));
        let soon = Time::ZERO + SILENCE / 2;
        routes.note_proved(soon, 2, way(1));
        assert_eq!(routes.find(soon, way(1), &[22; 50]), Some(1));
        let late = soon + SILENCE;
        routes.note_proved(late, 2, way(1));
        assert_eq!(routes.find(late, way(1), &[22; 50]), Some(2));
        // Who had it before leaves it to who has it.
        routes.forget(1);
        assert_eq!(routes.find(late, way(1), &[22; 50]), Some(2));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut routes, now) = (Routes::default(), Time::ZERO);
        routes.name(1, "one1");
        for n in 0..3 * WAYS_MAX as u16 {
            routes.note_proved(now, 1, way(n));
        }
        assert_eq!((routes.ways.len(), routes.sessions[&1].ways.len()), (WAYS_MAX, WAYS_MAX));
        for n in 0..3 * ASKED_MAX as u128 {
            routes.note_sent(now, 1, &stun(MessageClass::Request, n, None));
        }
        assert!(routes.asked.len() + routes.asked_before.len() <= 2 * ASKED_MAX);
    }
}
