//! WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): SDP by HTTP.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::Response;
use super::auth::Peer;
use super::reply::{self, Fault};
use super::router::Door;
use crate::live::Refused;
use crate::rtc::{Begun, Refusal, Rtc};

type Answer = Result<Response, Fault>;
type Body = Result<Bytes, BytesRejection>;
type From = Option<Extension<Peer>>;

const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// `POST /whip`: publish with the stream key as bearer token.
pub(super) async fn publish(
    State(door): State<Door>,
    from: From,
    head: HeaderMap,
    body: Body,
) -> Answer {
    let rtc = rtc(&door)?;
    let from = peer(from);
    door.guard.admit_offer(from)?;
    let key = bearer(&head).ok_or(Fault::Key)?;
    let offer = text(&head, SDP, body)?;
    let begun = rtc.publish(from, key, &offer).await.map_err(|refusal| {
        if matches!(refusal, Refusal::Publish(Refused::Key)) {
            door.guard.wrong_key(from);
        }
        fault(refusal)
    })?;
    Ok(created(rtc, "/whip", &begun))
}

/// `POST /whep/{name}`: watch.
pub(super) async fn watch(
    State(door): State<Door>,
    Path(name): Path<String>,
    from: From,
    head: HeaderMap,
    body: Body,
) -> Answer {
    let rtc = rtc(&door)?;
    let from = peer(from);
    door.guard.admit_offer(from)?;
    let offer = text(&head, SDP, body)?;
    let begun = rtc.watch(from, &name, &offer).map_err(fault)?;
    Ok(created(rtc, &format!("/whep/{name}"), &begun))
}

/// `DELETE` of a publisher's session URL.
pub(super) async fn stop_publishing(State(door): State<Door>, Path(id): Path<String>) -> Answer {
    stop(&door, &id)
}

/// `DELETE` of a viewer's session URL.
pub(super) async fn stop_watching(
    State(door): State<Door>,
    Path((_, id)): Path<(String, String)>,
) -> Answer {
    stop(&door, &id)
}

/// `PATCH` of a publisher's session URL.
pub(super) async fn trickle_publishing(
    State(door): State<Door>,
    Path(id): Path<String>,
    head: HeaderMap,
    body: Body,
) -> Answer {
    trickle(&door, &id, &head, body)
}

/// `PATCH` of a viewer's session URL.
pub(super) async fn trickle_watching(
    State(door): State<Door>,
    Path((_, id)): Path<(String, String)>,
    head: HeaderMap,
    body: Body,
) -> Answer {
    trickle(&door, &id, &head, body)
}

/// `OPTIONS`: what may be done from any site (RFC 9725 §4.2 has STUN and TURN servers named here
/// too).
pub(super) async fn preflight(State(door): State<Door>) -> Answer {
    let rtc = rtc(&door)?;
    let mut response = reply::with_type(StatusCode::NO_CONTENT, "text/plain", "".into());
    let headers = response.headers_mut();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "POST, PATCH, DELETE, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, if-match"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
        (HeaderName::from_static("accept-post"), SDP),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    link(rtc, headers);
    Ok(response)
}

fn rtc(door: &Door) -> Result<&Rtc, Fault> {
    door.rtc.as_ref().ok_or(Fault::NotFound)
}

fn peer(from: From) -> std::net::IpAddr {
    from.map_or(std::net::Ipv4Addr::UNSPECIFIED.into(), |Extension(peer)| peer.0)
}

fn bearer(head: &HeaderMap) -> Option<&str> {
    let value = head.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// The body, if it is what it should be.
fn text(head: &HeaderMap, wanted: &'static str, body: Body) -> Result<String, Fault> {
    let body = body.map_err(|refused| Fault::Body(refused.status(), refused.body_text()))?;
    let mime = head.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let mime = mime.and_then(|mime| mime.split(';').next()).unwrap_or_default();
    if !mime.trim().eq_ignore_ascii_case(wanted) {
        return Err(Fault::MediaType(wanted));
    }
    let text = String::from_utf8(body.into());
    text.map_err(|_| Fault::Bad("the body is no text in UTF-8".to_owned()))
}

fn created(rtc: &Rtc, below: &str, begun: &Begun) -> Response {
    let answer = begun.answer.clone().into();
    let mut response = reply::with_type(StatusCode::CREATED, SDP, answer);
    let headers = response.headers_mut();
    let location = HeaderValue::from_str(&format!("{below}/{}", begun.id));
    for (name, value) in
        [(header::LOCATION, location), (header::ETAG, HeaderValue::from_str(&begun.etag))]
    {
        headers.insert(name, value.expect("names of streams and sessions are plain ASCII"));
    }
    headers.insert("accept-patch", HeaderValue::from_static(FRAGMENT));
    link(rtc, headers);
    response
}

fn link(rtc: &Rtc, headers: &mut HeaderMap) {
    for server in rtc.ice_servers() {
        if let Ok(value) = HeaderValue::from_str(&format!("<{server}>; rel=\"ice-server\"")) {
            headers.append(header::LINK, value);
        }
    }
}

fn stop(door: &Door, id: &str) -> Answer {
    if rtc(door)?.end(id) {
        Ok(reply::with_type(StatusCode::OK, "text/plain", "".into()))
    } else {
        Err(Fault::NotFound)
    }
}

/// Candidates are taken and not needed: this side is ICE lite and answers whoever checks (RFC 8445
/// §2.5). A restart of ICE is refused as RFC 9725 §4.3.1 says: who lost the way begins anew.
fn trickle(door: &Door, id: &str, head: &HeaderMap, body: Body) -> Answer {
    let etag = rtc(door)?.etag(id).ok_or(Fault::NotFound)?;
    let fragment = text(head, FRAGMENT, body)?;
    let matched = head.get(header::IF_MATCH).and_then(|value| value.to_str().ok());
    match matched {
        None => Err(Fault::Precondition(StatusCode::PRECONDITION_REQUIRED)),
        Some("*") => Err(Fault::Unacceptable("ICE cannot be restarted: begin anew".to_owned())),
        Some(known) if known != etag => Err(Fault::Precondition(StatusCode::PRECONDITION_FAILED)),
        Some(_) if !fragment.contains("a=") => {
            Err(Fault::Bad("the fragment has no attributes".to_owned()))
        }
        Some(_) => Ok(reply::with_type(StatusCode::NO_CONTENT, "text/plain", "".into())),
    }
}

fn fault(refusal: Refusal) -> Fault {
    let message = refusal.to_string();
    match refusal {
        Refusal::Publish(Refused::Key) => Fault::Key,
        Refusal::Publish(Refused::Archived) => Fault::Forbidden(message),
        Refusal::Publish(Refused::InUse) => Fault::Conflict(message),
        Refusal::Publish(Refused::Store(error)) => Fault::Error(error),
        Refusal::Publish(Refused::ShuttingDown) | Refusal::Full(_) | Refusal::Address => {
            Fault::Busy(message)
        }
        Refusal::Malformed(_) => Fault::Bad(message),
        Refusal::Offer(_) | Refusal::Stream(_) => Fault::Unacceptable(message),
        Refusal::NotLive => Fault::NotLive,
    }
}
