//! Requests that wait for a topic.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::{Block, Topic};

/// A connection's wait: its slot, and the number of its wait, because the slot may have been
/// given to another connection since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) slot: u32,
    pub(super) wait: u32,
}

/// All that wait with one and the same request.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) topic: Arc<Topic>,
    pub(super) version: u64,
    pub(super) deadline: Instant,
    pub(super) question: Question,
    pub(super) tickets: Vec<Ticket>,
}

/// The arguments of `Media::hls`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) stream: Box<str>,
    pub(super) path: Box<str>,
    pub(super) query: Option<Box<str>>,
}

/// All groups of a shard, by topic. A connection waits at most once, so they are bounded by
/// `connections_max`; a list of tickets shrinks only when its group is done.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    topics: HashMap<u64, HashMap<Question, Group>>,
}

impl Waiters {
    /// Adds a wait, and gives all that wait alike. The first of a group sets its deadline.
    pub(super) fn add(
        &mut self,
        question: Question,
        block: Block,
        now: Instant,
        ticket: Ticket,
    ) -> &mut Vec<Ticket> {
        let topic = self.topics.entry(block.topic.id()).or_default();
        let group = topic.entry(question).or_insert_with_key(|question| Group {
            topic: block.topic,
            version: block.version,
            deadline: now + block.timeout,
            question: question.clone(),
            tickets: Vec::new(),
        });
        group.tickets.push(ticket);
        &mut group.tickets
    }

    /// Takes the groups that `version` of `topic` lets go on.
    pub(super) fn reached(&mut self, topic: u64, version: u64) -> Vec<Group> {
        self.take(topic, |group| group.version <= version)
    }

    /// Takes the groups that have waited too long.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<Group> {
        let topics: Vec<u64> = self.topics.keys().copied().collect();
        topics.into_iter().flat_map(|topic| self.take(topic, |g| g.deadline <= now)).collect()
    }

    /// Puts a group back whose time had not come after all.
    pub(super) fn put_back(&mut self, group: Group) {
        self.topics
            .entry(group.topic.id())
            .or_default()
            .entry(group.question.clone())
            .and_modify(|g| g.tickets.extend_from_slice(&group.tickets))
            .or_insert(group);
    }

    /// The topic with this id, if somebody still waits for it.
    pub(super) fn topic(&self, id: u64) -> Option<Arc<Topic>> {
        self.topics.get(&id)?.values().next().map(|group| group.topic.clone())
    }

    fn take(&mut self, topic: u64, want: impl Fn(&Group) -> bool) -> Vec<Group> {
        let Some(groups) = self.topics.get_mut(&topic) else { return Vec::new() };
        let taken = groups.extract_if(|_, group| want(group)).map(|(_, group)| group).collect();
        if groups.is_empty() {
            self.topics.remove(&topic);
        }
        taken
    }
}
