//! The API, the pages, and the door to media, over HTTP/1.1 and HTTP/2.

mod media;
mod reply;

pub use media::{Command, Idle, Media, Status};

/// A request as it comes from the connection.
pub type Request = axum::extract::Request;
/// A response; its body may be shared bytes or a stream without end.
pub type Response = axum::response::Response;
