#![doc = include_str!("../README.md")]

pub mod admin;
mod app;
pub mod config;
pub mod doctor;
pub mod egress;
mod error;
mod essential;
pub mod http;
pub mod ingest;
pub mod live;
pub mod metrics;
pub mod rtc;
pub mod serve;
pub mod store;
pub mod time;

pub use app::{App, Shutdown};
pub use config::Config;
pub use error::Error;
pub use metrics::Metrics;
pub use store::Store;
