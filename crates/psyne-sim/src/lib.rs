#![doc = include_str!("../README.md")]

mod link;
mod random;

pub use link::{Conditions, Link};
pub use random::Random;
