#![doc = include_str!("../README.md")]

pub use psyne_core::Time;
