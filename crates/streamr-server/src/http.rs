//! The API, the pages, and the door to media, over HTTP/1.1 and HTTP/2.

mod api;
mod auth;
mod media;
mod pages;
mod reply;
mod router;
mod rtc;
mod server;
mod throttle;
pub mod tls;

pub use auth::AdminToken;
pub(crate) use auth::Peer;
pub use media::{Command, Idle, Media, Status};
pub use router::{ROUTES, router};
pub use server::Server;

/// A request as it comes from the connection.
pub type Request = axum::extract::Request;
/// A response; its body may be shared bytes or a stream without end.
pub type Response = axum::response::Response;
