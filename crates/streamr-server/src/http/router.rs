//! Which address is answered by what, and the headers that all answers carry.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::IntoResponse;
use axum::routing::{get, options, post};

use super::auth::{AdminToken, Guard};
use super::media::Media;
use super::reply::{self, Fault};
use super::{Request, Response, api, pages, rtc};
use crate::App;
use crate::rtc::Rtc;

/// Every route of the API with its methods; docs/openapi.yaml describes these and no others.
pub const ROUTES: [(&str, &[&str]); 13] = [
    ("/api/v1/streams", &["get", "post"]),
    ("/api/v1/streams/{name}", &["get", "patch", "delete"]),
    ("/api/v1/streams/{name}/key", &["post"]),
    ("/api/v1/streams/{name}/thumbnail.jpg", &["get"]),
    ("/healthz", &["get"]),
    ("/readyz", &["get"]),
    ("/metrics", &["get"]),
    ("/whip", &["post"]),
    ("/whip/{session}", &["patch", "delete"]),
    ("/whep/{name}", &["post"]),
    ("/whep/{name}/{session}", &["patch", "delete"]),
    ("/hls/{path}", &["get"]),
    ("/flv/{path}", &["get"]),
];

/// What handlers share.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) app: App,
    pub(super) media: Arc<dyn Media>,
    pub(super) guard: Arc<Guard>,
    pub(super) rtc: Option<Rtc>,
}

/// Everything that is answered over HTTP; without `rtc`, WHIP and WHEP are not.
pub fn router(app: App, media: Arc<dyn Media>, token: AdminToken, rtc: Option<Rtc>) -> Router {
    let body_bytes_max = app.config.http.body_bytes_max as usize;
    let guard = Arc::new(Guard::new(token, app.config.admin.wrong_tokens_max));
    let door = Door { app, media, guard, rtc };
    let api = Router::new()
        .route("/api/v1/streams", get(api::list).post(api::add))
        .route("/api/v1/streams/{name}", get(api::one).patch(api::patch).delete(api::archive))
        .route("/api/v1/streams/{name}/key", post(api::rotate))
        .route("/api/v1/streams/{name}/thumbnail.jpg", get(api::thumbnail))
        .route("/healthz", get(api::health))
        .route("/readyz", get(api::ready))
        .route("/metrics", get(api::metrics))
        .merge(signaling())
        .fallback(pages::page)
        .layer(DefaultBodyLimit::max(body_bytes_max))
        .layer(middleware::from_fn_with_state(door.clone(), in_time));
    // No time limit: a blocked playlist waits, and HTTP-FLV never ends.
    let media = Router::new()
        .route("/hls/{*path}", get(api::media).options(preflight))
        .route("/flv/{*path}", get(api::media).options(preflight));
    api.merge(media)
        .method_not_allowed_fallback(async || Fault::Method)
        .layer(middleware::from_fn_with_state(door.clone(), finish))
        .with_state(door)
}

/// WHIP and WHEP.
fn signaling() -> Router<Door> {
    let offer = || options(rtc::preflight);
    Router::new()
        .route("/whip", offer().post(rtc::publish))
        .route("/whip/{id}", offer().delete(rtc::stop_publishing).patch(rtc::trickle_publishing))
        .route("/whep/{name}", offer().post(rtc::watch))
        .route("/whep/{name}/{id}", offer().delete(rtc::stop_watching).patch(rtc::trickle_watching))
}

async fn in_time(State(door): State<Door>, request: Request, next: Next) -> Response {
    let limit = Duration::from_millis(door.app.config.http.request_timeout_ms.into());
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Fault::Slow.into_response(),
    }
}

async fn preflight() -> Response {
    let mut response = reply::with_type(StatusCode::NO_CONTENT, "text/plain", "".into());
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "range"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// hls.js plays from blobs and runs a worker from one; Svelte's transitions write style attributes.
const POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data: blob:; media-src 'self' blob:; worker-src 'self' blob:; \
    connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'self'";

/// Counts, and adds what every answer carries.
async fn finish(State(door): State<Door>, request: Request, next: Next) -> Response {
    let (shared, media) = (is_shared(&request), is_media(&request));
    let mut response = next.run(request).await;
    door.app.metrics.http_requests_total.inc();
    if response.status().is_server_error() {
        door.app.metrics.http_errors_total.inc();
    }
    let headers = response.headers_mut();
    let mut add = |name, value| headers.insert(name, HeaderValue::from_static(value));
    add(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    if !media {
        add(header::CONTENT_SECURITY_POLICY, POLICY);
        add(header::REFERRER_POLICY, "same-origin");
    }
    if shared {
        add(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        add(header::ACCESS_CONTROL_EXPOSE_HEADERS, "date, content-length, location, etag, link");
    }
    response
}

/// What any site may read: media, and what the API tells everybody. Nothing that takes a token.
fn is_shared(request: &Request) -> bool {
    let path = request.uri().path();
    let read = matches!(*request.method(), Method::GET | Method::HEAD);
    is_media(request)
        || path.starts_with("/embed/")
        || path == "/whip"
        || path.starts_with("/whip/")
        || path.starts_with("/whep/")
        || (read && path.starts_with("/api/v1/streams"))
}

/// What the egress engine answers too: the headers are those of `egress::http`.
fn is_media(request: &Request) -> bool {
    ["/hls/", "/flv/"].iter().any(|below| request.uri().path().starts_with(below))
}
