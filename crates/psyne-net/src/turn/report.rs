//! What the server tells who runs it, by HTTP.

use core::convert::Infallible;
use core::fmt::Write as _;
use core::time::Duration;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{Metrics, Shared};

/// How long a question may take to be asked.
const PATIENCE: Duration = Duration::from_secs(10);
/// Who may ask at a time.
const CONNECTIONS_MAX: usize = 16;
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 << 10;

pub(super) async fn listen(shared: Arc<Shared>, listener: TcpListener) {
    let mut answers = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if answers.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => answers.push(timeout(PATIENCE, answer(&shared, stream))),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
            Some(_) = answers.next() => {}
        }
    }
}

async fn answer(shared: &Shared, stream: TcpStream) {
    let service = service_fn(async |request: Request<Incoming>| {
        let (status, body) = match request.uri().path() {
            "/health" => (StatusCode::OK, "ok\n".to_owned()),
            "/metrics" => (StatusCode::OK, exposition(&shared.metrics())),
            _ => (StatusCode::NOT_FOUND, "Ask for /metrics or /health.\n".to_owned()),
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, plain);
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        Ok::<_, Infallible>(response)
    });
    // Who does not speak HTTP is no concern of ours.
    let _ = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// In the text format of Prometheus.
fn exposition(metrics: &Metrics) -> String {
    let Metrics { server, streams, streams_refused, frames_lost } = *metrics;
    let mut out = String::new();
    let mut put = |name: &str, kind: &str, help: &str, value: u64| {
        let name = format!("psyne_turn_{name}");
        let written = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        written.expect("strings take everything");
    };
    put("allocations", "gauge", "Allocations that live.", server.allocations);
    put("streams", "gauge", "Connections by TCP and TLS.", streams);
    for (name, help, value) in [
        ("allocations_made", "Allocations that were made.", server.allocations_made),
        ("requests_refused", "Requests that were answered with an error.", server.requests_refused),
        ("strangers_unanswered", "Strangers that got no answer.", server.strangers_unanswered),
        ("frames_dropped", "Frames that were nothing, or of nobody.", server.frames_dropped),
        ("datagrams_forbidden", "Datagrams without permission.", server.datagrams_forbidden),
        ("datagrams_over_rate", "Datagrams over a rate.", server.datagrams_over_rate),
        ("to_peers", "Datagrams carried to peers.", server.to_peers),
        ("to_peers_bytes", "Their bytes.", server.to_peers_bytes),
        ("to_clients", "Datagrams carried to clients.", server.to_clients),
        ("to_clients_bytes", "Their bytes.", server.to_clients_bytes),
        ("streams_refused", "Connections closed at once.", streams_refused),
        ("frames_lost", "Frames that found no room on their way out.", frames_lost),
    ] {
        put(&format!("{name}_total"), "counter", help, value);
    }
    out
}
