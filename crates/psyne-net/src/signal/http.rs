//! The hub's few HTTP addresses, and the upgrade to a WebSocket.

use core::convert::Infallible;
use core::fmt::Write as _;
use std::sync::{Arc, Mutex};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::handshake::server::create_response;

use super::SUBPROTOCOL;
use super::hub::Metrics;
use super::server::Shared;

/// Bytes of a request's head: browsers' are a tenth of it.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Serves one request. If it was for `/signal`, what comes out is the socket behind it.
pub(super) async fn upgrade(
    shared: &Shared,
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
) -> Option<Upgraded> {
    match tls {
        None => exchange(shared, stream).await,
        // Who does not speak TLS is no concern of ours.
        Some(tls) => exchange(shared, tls.accept(stream).await.ok()?).await,
    }
}

async fn exchange<S>(shared: &Shared, stream: S) -> Option<Upgraded>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let upgraded = Arc::new(Mutex::new(None::<OnUpgrade>));
    let service = service_fn(|request| {
        let response = route(shared, request, &upgraded);
        async { Ok::<_, Infallible>(response) }
    });
    // No timer: the hub's limit on how long a join may take holds for all before it.
    http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await
        .ok()?;
    let taken = upgraded.lock().expect("nobody panicked with it in hand").take();
    taken?.await.ok()
}

type Answer = Response<Full<Bytes>>;

fn route(
    shared: &Shared,
    request: Request<Incoming>,
    upgraded: &Mutex<Option<OnUpgrade>>,
) -> Answer {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/signal") => websocket(request, upgraded),
        (&Method::GET, "/health") => text(StatusCode::OK, "ok\n"),
        (&Method::GET, "/metrics") => text(StatusCode::OK, &exposition(&shared.metrics())),
        _ => text(StatusCode::NOT_FOUND, "This is a signaling hub: connect to /signal.\n"),
    }
}

fn websocket(mut request: Request<Incoming>, upgraded: &Mutex<Option<OnUpgrade>>) -> Answer {
    let head = {
        let mut head = Request::new(());
        *head.method_mut() = request.method().clone();
        *head.version_mut() = request.version();
        *head.headers_mut() = request.headers().clone();
        head
    };
    let offered = head.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let names = offered.filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(','));
    if !names.map(str::trim).any(|name| name == SUBPROTOCOL) {
        let said = format!("Ask for the WebSocket subprotocol {SUBPROTOCOL}.\n");
        return text(StatusCode::BAD_REQUEST, &said);
    }
    let Ok(response) = create_response(&head) else {
        return text(StatusCode::UPGRADE_REQUIRED, "Connect here by WebSocket (RFC 6455).\n");
    };
    *upgraded.lock().expect("nobody panicked with it in hand") =
        Some(hyper::upgrade::on(&mut request));
    let mut response = response.map(|()| Full::default());
    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    response
}

fn text(status: StatusCode, body: &str) -> Answer {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// In the text format of Prometheus.
fn exposition(metrics: &Metrics) -> String {
    let Metrics { connections, groups, members, queued_bytes, joins, relayed, refused } = metrics;
    let mut out = String::new();
    let mut put = |name: &str, kind: &str, help: &str, value: u64| {
        let name = format!("psyne_signal_{name}");
        let written = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        written.expect("strings take everything");
    };
    put("connections", "gauge", "Connections, joined or not.", *connections as u64);
    put("groups", "gauge", "Groups that have a member.", *groups as u64);
    put("members", "gauge", "Members of all groups.", *members as u64);
    put("queued_bytes", "gauge", "Bytes that wait to be read.", *queued_bytes as u64);
    put("joins_total", "counter", "Joins that were welcomed.", *joins);
    put("relayed_total", "counter", "Messages from one member to another.", *relayed);
    let head = "# HELP psyne_signal_refused_total What was refused, by code.\n\
                # TYPE psyne_signal_refused_total counter\n";
    out.push_str(head);
    for (code, count) in refused {
        let line = format!("psyne_signal_refused_total{{code=\"{code}\"}} {count}\n");
        out.push_str(&line);
    }
    out
}
