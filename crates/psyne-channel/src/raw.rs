//! Everything unsafe of the crate: memory, messages as bytes, the ownership of slots, futex,
//! copies.
//!
//! Each block does one operation and names what it owes. What leaves this module is safe.

pub(crate) mod arrow;
mod book;
mod cast;
mod copy;
pub(crate) mod dlpack;
mod futex;
mod lane;
pub(crate) mod lease;
#[cfg(not(loom))]
mod map;
mod message;
#[cfg(not(any(loom, miri)))]
mod other;
#[cfg(loom)]
#[path = "raw/model.rs"]
mod region;
#[cfg(not(loom))]
mod region;

pub(crate) use book::Book;
#[cfg(not(any(loom, miri)))]
pub(crate) use cast::WORDS as CAST_WORDS;
pub(crate) use cast::{Caster, Listener, Settled};
pub(crate) use copy::{copy, prefetch};
pub(crate) use futex::{wait, wait_any, wake};
pub(crate) use lane::{Consumer, Format, Producer, lane};
pub use message::{Layout, Message};
pub(crate) use message::{
    load, load_bytes, read, slice, store, store_bytes, view, view_mut, zeroed,
};
#[cfg(not(any(loom, miri)))]
pub(crate) use other::{Other, Rights, shared};
#[cfg(any(loom, miri))]
pub(crate) use region::Other;
pub(crate) use region::{LINE, Region, Side, Words};
