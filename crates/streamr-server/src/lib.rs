//! The streaming server as a library: ingest, fan-out, HTTP, storage.

pub mod egress;
