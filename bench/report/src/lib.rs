//! The form that all bench areas share, and what they all need to fill it in.

pub mod place;
pub mod report;
pub mod stats;
