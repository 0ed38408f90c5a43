//! The pages that the binary carries: web/dist as it was at build time.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::Response;
use super::reply::{self, Fault};

#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/../../web/dist"]
#[allow_missing = true]
struct Dist;

/// Shown when the binary was built without the pages, which needs Node.
const UNBUILT: &str = "<!doctype html><meta charset=utf-8><title>streamr</title>\
    <h1>The server runs; its pages were not built</h1>\
    <p>Run <code>cargo xtask web</code>, then build <code>streamr</code> again. The API, RTMP and \
    HLS work without them: <a href=/api/v1/streams>/api/v1/streams</a>.";

/// Answers for everything that is no other route.
pub(super) async fn page(method: Method, uri: Uri, head: HeaderMap) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return reply::error(&Fault::NotFound);
    }
    let path = uri.path().trim_start_matches('/');
    if path == "api" || path.starts_with("api/") {
        return reply::error(&Fault::NotFound);
    }
    if let Some(file) = Some(path).filter(|path| !path.is_empty()).and_then(Dist::get) {
        return embedded(path, file, &head);
    }
    let (status, page) = match path {
        "" => (StatusCode::OK, "index.html"),
        _ if is_watch_page(path) => (StatusCode::OK, "watch.html"),
        _ => (StatusCode::NOT_FOUND, "404.html"),
    };
    match Dist::get(page) {
        Some(file) => {
            let mut response = embedded(page, file, &head);
            if status != StatusCode::OK {
                *response.status_mut() = status;
            }
            response
        }
        None if status == StatusCode::OK => {
            reply::with_type(status, "text/html; charset=utf-8", UNBUILT.into())
        }
        None => reply::error(&Fault::NotFound),
    }
}

/// One page for all streams: it reads the name from its address.
fn is_watch_page(path: &str) -> bool {
    path.strip_prefix("watch/").is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

fn embedded(path: &str, file: EmbeddedFile, head: &HeaderMap) -> Response {
    let tag = blake3::Hash::from_bytes(file.metadata.sha256_hash()).to_hex();
    let tag = format!("\"{}\"", &tag[..32]);
    let known =
        head.get(header::IF_NONE_MATCH).is_some_and(|sent| sent.as_bytes() == tag.as_bytes());
    let body = if known { Body::empty() } else { Body::from(file.data) };
    let mut response = Response::new(body);
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    // Vite puts a hash of the content into the name of everything below assets/.
    let keep = if path.starts_with("assets/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(mime(path)));
    response
}

/// Types of what a build of the pages contains; what is not listed is bytes to the browser.
fn mime(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" => "image/jpeg",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
