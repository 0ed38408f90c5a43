#![doc = include_str!("../README.md")]

mod app;
pub mod config;
pub mod egress;
mod error;
pub mod http;
pub mod metrics;
pub mod store;
pub mod time;

pub use app::{App, Shutdown};
pub use config::Config;
pub use error::Error;
pub use metrics::Metrics;
pub use store::Store;
