//! The opening handshake (RFC 6455, 4).

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{accept_hdr_async_with_config, client_async_with_config};

use super::Line;
use crate::Error;
use crate::channel::{Options, Path, Wire};
use crate::frame::MESSAGE_BYTES_MAX;
use crate::uri::Uri;

/// The subprotocol that who knows asks for; who does not is served as well.
const PROTOCOL: HeaderValue = HeaderValue::from_static("psyne.channel.1");
const PROTOCOL_HEADER: &str = "sec-websocket-protocol";
/// Longest message that a side takes: browsers can't say, and are believed to take any.
const BYTES_MAX_HEADER: &str = "psyne-message-bytes-max";
/// What is read at a time: the library's own 128 KiB for each channel are too much for many.
const READ_BYTES: usize = 16 << 10;

fn config(options: &Options) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .max_message_size(Some(options.message_bytes_max))
        .max_frame_size(Some(options.message_bytes_max))
}

fn bytes_max(headers: &HeaderMap) -> usize {
    let said = headers.get(BYTES_MAX_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
    said.unwrap_or(MESSAGE_BYTES_MAX).min(MESSAGE_BYTES_MAX)
}

/// Asks for a WebSocket. `None`: the channel ended, which it was told.
pub(super) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    uri: &Uri,
    wire: Wire,
    path: Path,
) -> Option<Line<S>> {
    let target = format!("{}://{}", uri.scheme().name(), uri.rest());
    let asked = async {
        let mut request = target.into_client_request()?;
        let headers = request.headers_mut();
        headers.insert(PROTOCOL_HEADER, PROTOCOL);
        headers.insert(BYTES_MAX_HEADER, wire.options().message_bytes_max.into());
        client_async_with_config(request, stream, Some(config(wire.options()))).await
    };
    match timeout(wire.options().handshake_timeout, asked).await {
        Ok(Ok((socket, response))) => {
            wire.open(bytes_max(response.headers()), path);
            return Some(Line { wire, socket });
        }
        Ok(Err(WsError::Http(response))) => {
            let why = format!("it answered {} instead of a WebSocket", response.status());
            wire.end(Error::Handshake { why });
        }
        Ok(Err(error)) => wire.end(Error::Handshake { why: error.to_string() }),
        Err(_) => wire.end(Error::TimedOut),
    }
    None
}

/// Accepts a WebSocket at the URI's path. `None`: the channel ended, which it was told.
pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    uri: &Uri,
    wire: Wire,
    path: Path,
) -> Option<Line<S>> {
    let mut theirs = MESSAGE_BYTES_MAX;
    let ours = wire.options().message_bytes_max;
    let at = uri.rest().find('/').and_then(|start| uri.rest().get(start..)).unwrap_or("/");
    #[allow(clippy::result_large_err, reason = "the library's type")]
    let answer = |request: &Request, mut response: Response| {
        if request.uri().path() != at {
            return Err(not_found());
        }
        theirs = bytes_max(request.headers());
        let headers = response.headers_mut();
        headers.insert(BYTES_MAX_HEADER, ours.into());
        let asked = request.headers().get_all(PROTOCOL_HEADER).iter();
        if asked.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).any(is_ours) {
            headers.insert(PROTOCOL_HEADER, PROTOCOL);
        }
        Ok(response)
    };
    let accepted = accept_hdr_async_with_config(stream, answer, Some(config(wire.options())));
    let why = match timeout(wire.options().handshake_timeout, accepted).await {
        Ok(Ok(socket)) => {
            wire.open(theirs, path);
            return Some(Line { wire, socket });
        }
        Ok(Err(error)) => Error::Handshake { why: error.to_string() },
        Err(_) => Error::TimedOut,
    };
    wire.end(why);
    None
}

fn is_ours(name: &[u8]) -> bool {
    name.trim_ascii() == PROTOCOL.as_bytes()
}

fn not_found() -> ErrorResponse {
    let mut response = ErrorResponse::new(None);
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}
