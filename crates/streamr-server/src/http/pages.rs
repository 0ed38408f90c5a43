//! The pages that the binary carries: web/dist as it was at build time.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use bytes::Bytes;
use rust_embed::{EmbeddedFile, RustEmbed};
use streamr_core::id::StreamName;
use streamr_media::hls::Opening;

use super::Response;
use super::reply::{self, Fault};
use super::router::Door;

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
pub(super) async fn page(
    State(door): State<Door>,
    method: Method,
    uri: Uri,
    head: HeaderMap,
) -> Response {
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
    let watched = watched(path);
    let (status, page) = match path {
        "" => (StatusCode::OK, "index.html"),
        _ if watched.is_some() => (StatusCode::OK, "watch.html"),
        _ => (StatusCode::NOT_FOUND, "404.html"),
    };
    let Some(file) = Dist::get(page) else {
        return match status {
            StatusCode::OK => reply::with_type(status, HTML, UNBUILT.into()),
            _ => reply::error(&Fault::NotFound),
        };
    };
    let name = watched.and_then(|name| name.parse().ok());
    if let Some((name, opening)) =
        name.and_then(|name| door.media.opening(&name).map(|opening| (name, opening)))
    {
        return opened(&file.data, &name, &opening);
    }
    let mut response = embedded(page, file, &head);
    if status != StatusCode::OK {
        *response.status_mut() = status;
    }
    response
}

/// One page for all streams: it reads the name from its address.
fn watched(path: &str) -> Option<&str> {
    path.strip_prefix("watch/").filter(|name| !name.is_empty() && !name.contains('/'))
}

/// The watch page of a stream that is on, which brings along what playback begins with: playlists
/// as text, media as links that the browser follows while the player's code is on its way.
/// web/player/src/prefetch.ts is the other side.
fn opened(page: &[u8], name: &StreamName, opening: &Opening) -> Response {
    let page = String::from_utf8_lossy(page);
    let (head, rest) = page.split_once("</head>").unwrap_or(("", &page));
    let address = |path: &str| format!("/hls/{name}/{path}");
    let links = opening.media.iter().map(|path| {
        format!("<link rel=\"preload\" as=\"fetch\" crossorigin href=\"{}\">", address(path))
    });
    let text = |body: &Bytes| String::from_utf8_lossy(body).into_owned();
    let texts: BTreeMap<String, String> =
        opening.playlists.iter().map(|(path, body)| (address(path), text(body))).collect();
    let texts = serde_json::to_string(&texts).unwrap_or_default().replace('<', "\\u003c");
    let links: String = links.collect();
    let page = format!(
        "{head}{links}<script type=\"application/json\" id=\"opening\">{texts}</script>\
         </head>{rest}"
    );
    let mut response = reply::with_type(StatusCode::OK, HTML, page.into());
    // Not `no-store`, which would also forbid to keep the page for the way back to it.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

const HTML: &str = "text/html; charset=utf-8";

/// A page as it was built, or one of its compressed twins if the reader takes it.
fn embedded(path: &str, file: EmbeddedFile, head: &HeaderMap) -> Response {
    let twin = CODINGS.iter().find_map(|(coding, ending)| {
        let file = || Dist::get(&format!("{path}{ending}"));
        accepts(head, coding).then(file).flatten().map(|file| (*coding, file))
    });
    let (coding, file) = twin.map_or((None, file), |(coding, file)| (Some(coding), file));
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
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(coding) = coding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(mime(path)));
    response
}

/// Compressed twins that `web/compress.mjs` writes, smallest first.
const CODINGS: [(&str, &str); 2] = [("br", ".br"), ("gzip", ".gz")];

/// Whether `Accept-Encoding` names a coding without refusing it (RFC 9110 §12.5.3).
fn accepts(head: &HeaderMap, coding: &str) -> bool {
    let fields = head.get_all(header::ACCEPT_ENCODING);
    let offers = fields.iter().filter_map(|field| field.to_str().ok()).flat_map(|v| v.split(','));
    offers.map(|offer| offer.split_once(';').unwrap_or((offer, ""))).any(|(name, weight)| {
        let weight = weight.trim().trim_start_matches("q=").trim();
        name.trim().eq_ignore_ascii_case(coding) && weight.parse() != Ok(0.0)
    })
}

/// Types of what a build of the pages contains; what is not listed is bytes to the browser.
fn mime(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => HTML,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coding_is_accepted_only_by_its_name_and_not_with_weight_zero() {
        for (sent, takes) in [
            ("gzip, deflate, br, zstd", true),
            ("gzip;q=1.0, BR ; q=0.2", true),
            ("br;q=0, gzip", false),
            ("br;q=0.000", false),
            ("brotli", false),
            ("", false),
            ("*", false),
        ] {
            let head =
                HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(sent))]);
            assert_eq!(accepts(&head, "br"), takes, "{sent}");
        }
        assert!(!accepts(&HeaderMap::new(), "br"));
    }
}
