//! Bodies of replies: JSON, and one form for every error.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use super::Response;
use crate::Error;

/// Why a request was not answered as it wished.
#[derive(Debug)]
pub(super) enum Fault {
    /// Nothing lives at this address.
    NotFound,
    /// Something lives here, but not for this method.
    Method,
    /// No token, or a wrong one.
    Unauthorized,
    /// Too many wrong tokens from this address.
    Throttled,
    /// The request says what cannot be done.
    Bad(String),
    /// The body could not be taken.
    Body(StatusCode, String),
    /// The answer took too long.
    Slow,
    /// No stream key, or a wrong one.
    Key,
    /// The body is of another type than this.
    MediaType(&'static str),
    /// The request is meant for another state, or does not say for which.
    Precondition(StatusCode),
    /// The key is right and of no use.
    Forbidden(String),
    /// Somebody else does it already.
    Conflict(String),
    /// The request is well formed, and cannot be answered as it is.
    Unacceptable(String),
    /// The server has no room for it now.
    Busy(String),
    /// The stream is not on.
    NotLive,
    /// What a part of the server said.
    Error(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl axum::response::IntoResponse for Fault {
    fn into_response(self) -> Response {
        if let Self::Error(cause) = &self
            && status(cause).is_server_error()
        {
            tracing::error!(code = cause.code(), "{cause}");
        }
        error(&self)
    }
}

/// `value` as JSON that nobody may keep.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).unwrap_or_else(|error| panic!("our own JSON: {error}"));
    with_type(status, "application/json", body.into())
}

/// `{"error":{"code","message"}}`
pub(super) fn error(fault: &Fault) -> Response {
    let (status, code, message) = words(fault);
    let body = serde_json::json!({ "error": { "code": code, "message": message } });
    let mut response = json(status, &body);
    let extra = match status {
        StatusCode::UNAUTHORIZED => Some((header::WWW_AUTHENTICATE, "Bearer")),
        StatusCode::SERVICE_UNAVAILABLE => Some((header::RETRY_AFTER, "10")),
        StatusCode::TOO_MANY_REQUESTS => Some((header::RETRY_AFTER, "60")),
        _ => None,
    };
    if let Some((name, value)) = extra {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn words(fault: &Fault) -> (StatusCode, &'static str, String) {
    match fault {
        Fault::NotFound => (StatusCode::NOT_FOUND, "not_found", "nothing lives here".to_owned()),
        Fault::Method => (
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "this address does not know this method".to_owned(),
        ),
        Fault::Unauthorized => (
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "send the admin token: `Authorization: Bearer …`".to_owned(),
        ),
        Fault::Throttled => (
            StatusCode::TOO_MANY_REQUESTS,
            "throttled",
            "too many wrong tokens or requests from this address: wait a minute".to_owned(),
        ),
        Fault::Bad(message) => (StatusCode::BAD_REQUEST, "bad_request", message.clone()),
        Fault::Body(status, message) => (*status, "bad_body", message.clone()),
        Fault::Slow => (
            StatusCode::SERVICE_UNAVAILABLE,
            "slow",
            "the answer took longer than http.request_timeout_ms".to_owned(),
        ),
        Fault::Error(error) => (status(error), error.code(), error.to_string()),
        _ => signaling_words(fault),
    }
}

/// Of WHIP and WHEP.
fn signaling_words(fault: &Fault) -> (StatusCode, &'static str, String) {
    let text = |what: &str| what.to_owned();
    match fault {
        Fault::Key => {
            let what = "send the stream key: `Authorization: Bearer sk_…`; no stream has this one";
            (StatusCode::UNAUTHORIZED, "wrong_key", text(what))
        }
        Fault::MediaType(wanted) => {
            let what = format!("the body must be {wanted}");
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type", what)
        }
        Fault::Precondition(status) => {
            let what = "If-Match must name the ETag that the session began with";
            (*status, "precondition", text(what))
        }
        Fault::Forbidden(what) => (StatusCode::FORBIDDEN, "forbidden", text(what)),
        Fault::Conflict(what) => (StatusCode::CONFLICT, "busy", text(what)),
        Fault::Unacceptable(what) => {
            (StatusCode::UNPROCESSABLE_ENTITY, "not_acceptable", text(what))
        }
        Fault::Busy(what) => (StatusCode::SERVICE_UNAVAILABLE, "full", text(what)),
        _ => (StatusCode::NOT_FOUND, "not_live", text("the stream is not live")),
    }
}

fn status(error: &Error) -> StatusCode {
    match error {
        Error::NoStream(_) => StatusCode::NOT_FOUND,
        Error::NameTaken(_) | Error::State(_) => StatusCode::CONFLICT,
        Error::Limit { .. } => StatusCode::INSUFFICIENT_STORAGE,
        Error::TooLong { .. } => StatusCode::BAD_REQUEST,
        Error::Rule(rule) => match rule.code() {
            "bad_state" | "busy" => StatusCode::CONFLICT,
            _ => StatusCode::BAD_REQUEST,
        },
        Error::StoreLocked(_)
        | Error::StoreReadOnly(_)
        | Error::StoreDisk { .. }
        | Error::StoreFull(_) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A body of this type that nobody may keep.
pub(super) fn with_type(status: StatusCode, mime: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(mime));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
