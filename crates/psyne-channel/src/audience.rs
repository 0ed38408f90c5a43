//! Readers of one writer, in any number, unknown to it until they first wait: who only looks costs
//! it nothing.

use std::sync::{Arc, Mutex, PoisonError};

use crate::raw::{Side, Words};
use crate::sync::{AtomicU32, Ordering, fence, light_fence, register_fences};
use crate::wait::{Link, is_gone};

/// Where a reader introduces itself.
#[derive(Debug)]
pub(crate) struct Mail {
    posted: AtomicU32,
    new: Mutex<Vec<(Words, Link)>>,
}

impl Mail {
    /// From now on the writer looks at the words of this reader, which it reaches by this link.
    /// What it wrote before it noticed is found by a reader that looks after a full fence.
    pub(crate) fn post(&self, words: Words, link: Link) {
        self.new.lock().unwrap_or_else(PoisonError::into_inner).push((words, link));
        self.posted.fetch_add(1, Ordering::Release);
    }
}

/// Those whom a writer wakes.
#[derive(Debug)]
pub(crate) struct Audience {
    mail: Arc<Mail>,
    seen: u32,
    known: Vec<(Words, Link)>,
    /// Whether a reader that falls asleep pays for the fence of the writer, too.
    asymmetric: bool,
}

impl Audience {
    pub(crate) fn new() -> Self {
        let mail = Mail { posted: AtomicU32::new(0), new: Mutex::default() };
        let asymmetric = register_fences();
        Self { mail: Arc::new(mail), seen: 0, known: Vec::new(), asymmetric }
    }

    /// For readers to introduce themselves.
    pub(crate) fn mail(&self) -> Arc<Mail> {
        self.mail.clone()
    }

    /// After something was written: wakes those who sleep.
    #[inline]
    pub(crate) fn notify(&mut self, ours: &Side) {
        if self.asymmetric {
            light_fence();
        } else {
            fence(Ordering::SeqCst);
        }
        self.adopt();
        let mut gone = false;
        for (words, link) in &mut self.known {
            gone |= link.notify(ours, words.side()).is_err();
        }
        if gone {
            self.known.retain(|(words, _)| !is_gone(words.side()));
        }
    }

    /// The writer is gone, and has said so.
    pub(crate) fn dismiss(&mut self, ours: &Side) {
        fence(Ordering::SeqCst);
        self.adopt();
        for (words, link) in &mut self.known {
            link.rouse(ours, words.side());
        }
    }

    #[inline]
    fn adopt(&mut self) {
        let posted = self.mail.posted.load(Ordering::Acquire);
        if posted != self.seen {
            self.seen = posted;
            let mut new = self.mail.new.lock().unwrap_or_else(PoisonError::into_inner);
            self.known.append(&mut new);
        }
    }
}
