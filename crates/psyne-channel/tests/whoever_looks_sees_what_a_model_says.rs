//! Latest values, events and broadcasts of values against models: whoever looks, however seldom,
//! sees what happened since it looked last, and nothing twice.
#![cfg(not(loom))]

mod common;

use std::collections::BTreeMap;

use common::{STEPS_MAX, plan};
use proptest::collection::vec;
use proptest::prelude::*;
use psyne_channel::broadcast::values::{self, Window};
use psyne_channel::{Config, event, latest};

/// What one step does, and to whom.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Writes, notifies or sends; the number is an id, or how much is forgotten.
    Happen(usize, u8),
    Look(usize),
    Peek(usize),
    Clone(usize),
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = 0_usize..6;
    let step = prop_oneof![
        6 => (who.clone(), 0_u8..64).prop_map(|(who, id)| Step::Happen(who, id)),
        6 => who.clone().prop_map(Step::Look),
        2 => who.clone().prop_map(Step::Peek),
        1 => who.clone().prop_map(Step::Clone),
        1 => who.prop_map(Step::Leave),
    ];
    vec(step, 0..STEPS_MAX)
}

type Value = [u64; 9];

fn look_at_latest(reader: &mut latest::Reader<Value>, seen: &mut u64, newest: u64) {
    let expected = (newest > *seen).then_some([newest; 9]);
    assert_eq!(reader.try_changed(), Ok(expected));
    *seen = newest;
}

fn play_latest(steps: Vec<Step>) {
    let (mut writer, reader) = latest::channel::<Value>(&Config::default()).unwrap();
    let (mut readers, mut newest) = (vec![(reader, 0)], 0);
    for step in steps {
        let count = readers.len();
        match step {
            Step::Happen(..) => {
                newest += 1;
                writer.set([newest; 9]);
            }
            Step::Look(who) => {
                let (reader, seen) = &mut readers[who % count];
                look_at_latest(reader, seen, newest);
            }
            Step::Peek(who) => {
                let (reader, seen) = &mut readers[who % count];
                assert_eq!(reader.get(), (newest > 0).then_some([newest; 9]));
                *seen = newest;
            }
            Step::Clone(who) => {
                let (reader, seen) = &readers[who % count];
                let both = (reader.clone(), *seen);
                readers.push(both);
            }
            Step::Leave(who) if count > 1 => drop(readers.swap_remove(who % count)),
            Step::Leave(_) => {}
        }
    }
    drop(writer);
    for (mut reader, mut seen) in readers {
        if newest > seen {
            look_at_latest(&mut reader, &mut seen, newest);
        }
        assert_eq!(reader.try_changed().unwrap_err().code(), "closed");
    }
}

/// What a listener has not heard of yet.
type Unheard = BTreeMap<u8, u32>;

fn look_at_events(listener: &mut event::Listener, unheard: &mut Unheard) {
    let heard = listener.try_wait().unwrap();
    let heard: Unheard = heard.iter().flat_map(event::Events::iter).collect();
    assert_eq!(heard, std::mem::take(unheard));
}

fn play_events(steps: Vec<Step>) {
    let (first, mut listener) = event::channel(&Config::default()).unwrap();
    let (second, other) = event::channel(&Config::default()).unwrap();
    listener.join(other).unwrap();
    let mut notifiers = [first, second];
    let mut listeners = vec![(listener, Unheard::new())];
    for step in steps {
        let count = listeners.len();
        match step {
            Step::Happen(who, id) => {
                notifiers[who % 2].notify(id);
                for (_, unheard) in &mut listeners {
                    *unheard.entry(id).or_default() += 1;
                }
            }
            Step::Look(who) | Step::Peek(who) => {
                let (listener, unheard) = &mut listeners[who % count];
                look_at_events(listener, unheard);
            }
            Step::Clone(who) => {
                let listener = listeners[who % count].0.clone();
                listeners.push((listener, Unheard::new()));
            }
            Step::Leave(who) if count > 1 => drop(listeners.swap_remove(who % count)),
            Step::Leave(_) => {}
        }
    }
    drop(notifiers);
    for (mut listener, mut unheard) in listeners {
        if !unheard.is_empty() {
            look_at_events(&mut listener, &mut unheard);
        }
        assert_eq!(listener.try_wait().unwrap_err().code(), "closed");
    }
}

/// What is kept: from which number, to which, and the newest mark.
type Kept = (u64, u64, Option<u64>);

/// Each value is its number.
fn is_kept(window: &Window<u64>, (first, next, mark): Kept) {
    assert_eq!((window.first(), window.next(), window.mark()), (first, next, mark));
    for number in first.saturating_sub(2)..next + 2 {
        let kept = (first..next).contains(&number);
        assert_eq!(window.get(number).copied(), kept.then_some(number));
    }
}

fn play_values(steps: Vec<Step>) {
    let mut sender = values::channel();
    let mut kept: Kept = (0, 0, None);
    let mut followers = vec![(sender.follow(), kept)];
    for step in steps {
        let count = followers.len();
        match step {
            Step::Happen(0, back) => {
                let before = kept.1.saturating_sub(back.into()) + u64::from(back == 0);
                sender.forget_before(before);
                kept.0 = before.clamp(kept.0, kept.1);
                kept.2 = kept.2.filter(|mark| *mark >= kept.0);
            }
            Step::Happen(who, _) => {
                assert_eq!(sender.send(kept.1, who == 1), kept.1);
                kept.2 = if who == 1 { Some(kept.1) } else { kept.2 };
                kept.1 += 1;
            }
            Step::Look(who) => {
                let (follower, known) = &mut followers[who % count];
                follower.refresh();
                *known = kept;
            }
            Step::Peek(who) => {
                let (follower, known) = &followers[who % count];
                is_kept(follower, *known);
            }
            Step::Clone(who) => {
                let follower = followers[who % count].0.clone();
                followers.push((follower, kept));
            }
            Step::Leave(who) if count > 1 => drop(followers.swap_remove(who % count)),
            Step::Leave(_) => {}
        }
        assert_eq!(sender.followers(), followers.len());
    }
    sender.peek(|window| is_kept(window, kept));
    for (mut follower, known) in followers {
        is_kept(&follower, known);
        follower.refresh();
        is_kept(&follower, kept);
    }
}

proptest! {
    #![proptest_config(plan())]

    #[test]
    fn readers_of_the_latest_value_see_the_newest_once(steps in steps()) {
        play_latest(steps);
    }

    #[test]
    fn listeners_hear_each_event_once(steps in steps()) {
        play_events(steps);
    }

    #[test]
    fn followers_have_what_was_kept_when_they_looked(steps in steps()) {
        play_values(steps);
    }
}

/// The sender keeps a value, and each follower that has not looked since.
#[test]
fn what_is_forgotten_is_freed() {
    let mut sender = values::channel::<std::sync::Arc<()>>();
    let value = std::sync::Arc::new(());
    let mut follower = sender.follow();
    sender.send(value.clone(), false);
    follower.refresh();
    assert_eq!(std::sync::Arc::strong_count(&value), 3);
    sender.forget_before(1);
    assert_eq!(std::sync::Arc::strong_count(&value), 2);
    follower.refresh();
    assert_eq!(std::sync::Arc::strong_count(&value), 1);
}
