//! `/api/v1`: streams, as docs/openapi.yaml describes them.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use streamr_core::id::StreamName;
use streamr_core::key::StreamKey;
use streamr_core::lifecycle;

use super::auth::Peer;
use super::media::Command;
use super::reply::{self, Fault};
use super::router::Door;
use super::{Request, Response};
use crate::store::Stream;
use crate::time::rfc3339;
use crate::{Error, admin};

type Answer = Result<Response, Fault>;
type Body = Result<Bytes, BytesRejection>;

/// A stream as the API shows it.
#[derive(Serialize)]
struct View {
    name: String,
    title: String,
    state: lifecycle::State,
    viewers: u32,
    started_at: Option<String>,
    width: Option<u16>,
    height: Option<u16>,
    codecs: Vec<String>,
    renditions: Vec<String>,
    hls: String,
    thumbnail: Option<String>,
}

impl View {
    fn new(door: &Door, stream: &Stream) -> Self {
        let name = stream.name.to_string();
        let status = door.media.status(&stream.name).unwrap_or_default();
        Self {
            title: stream.title.clone(),
            state: state(door, stream),
            viewers: status.viewers,
            started_at: stream.broadcast.as_ref().map(|b| rfc3339(b.started_unix_ms)),
            width: status.width,
            height: status.height,
            codecs: status.codecs,
            renditions: status.renditions,
            hls: format!("/hls/{name}/index.m3u8"),
            thumbnail: status.thumbnail.then(|| format!("/api/v1/streams/{name}/thumbnail.jpg")),
            name,
        }
    }
}

/// What a stream is now. The command line archives in the store, behind the back of what is on.
fn state(door: &Door, stream: &Stream) -> lifecycle::State {
    match stream.state {
        lifecycle::State::Archived => lifecycle::State::Archived,
        stored => door.media.state(&stream.name).unwrap_or(stored),
    }
}

/// A stream and the secret that is shown once.
#[derive(Serialize)]
struct Keyed {
    #[serde(flatten)]
    stream: View,
    key: String,
    publish_url: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    name: String,
    #[serde(default)]
    title: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Patch {
    title: Option<String>,
    state: Option<Wish>,
}

/// What a creator can wish for.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Wish {
    Live,
    Offline,
}

/// Everybody's list: what is archived or being tested is not on it.
pub(super) async fn list(State(door): State<Door>) -> Answer {
    let hidden = [lifecycle::State::Archived, lifecycle::State::Testing];
    let all = door.app.store.streams().await?;
    let views = all.iter().map(|stream| View::new(&door, stream));
    let views: Vec<_> = views.filter(|view| !hidden.contains(&view.state)).collect();
    Ok(reply::json(StatusCode::OK, &serde_json::json!({ "streams": views })))
}

pub(super) async fn one(State(door): State<Door>, Path(name): Path<String>) -> Answer {
    let stream = find(&door, &name).await?;
    Ok(reply::json(StatusCode::OK, &View::new(&door, &stream)))
}

pub(super) async fn add(
    State(door): State<Door>,
    peer: Option<Extension<Peer>>,
    head: HeaderMap,
    body: Body,
) -> Answer {
    admit(&door, peer, &head)?;
    let new: New = read(body)?;
    let name = StreamName::new(new.name).map_err(Error::from)?;
    let (stream, key) = admin::add_stream(&door.app, name, new.title).await?;
    Ok(keyed(&door, &head, &stream, &key, StatusCode::CREATED))
}

pub(super) async fn rotate(
    State(door): State<Door>,
    Path(name): Path<String>,
    peer: Option<Extension<Peer>>,
    head: HeaderMap,
) -> Answer {
    admit(&door, peer, &head)?;
    let stream = find(&door, &name).await?;
    let key = admin::rotate_key(&*door.app.store, &stream.name).await?;
    door.media.command(&stream.name, Command::KeyRotated).await?;
    Ok(keyed(&door, &head, &stream, &key, StatusCode::OK))
}

pub(super) async fn patch(
    State(door): State<Door>,
    Path(name): Path<String>,
    peer: Option<Extension<Peer>>,
    head: HeaderMap,
    body: Body,
) -> Answer {
    admit(&door, peer, &head)?;
    let patch: Patch = read(body)?;
    let stream = find(&door, &name).await?;
    if let Some(title) = patch.title {
        admin::set_title(&*door.app.store, &stream.name, &title).await?;
    }
    let command = patch.state.map(|wish| match wish {
        Wish::Live => Command::GoLive,
        Wish::Offline => Command::End,
    });
    if let Some(command) = command {
        door.media.command(&stream.name, command).await?;
    }
    one(State(door), Path(name)).await
}

pub(super) async fn archive(
    State(door): State<Door>,
    Path(name): Path<String>,
    peer: Option<Extension<Peer>>,
    head: HeaderMap,
) -> Answer {
    admit(&door, peer, &head)?;
    let stream = find(&door, &name).await?;
    door.media.command(&stream.name, Command::Archive).await?;
    one(State(door), Path(name)).await
}

pub(super) async fn thumbnail(State(door): State<Door>, Path(name): Path<String>) -> Answer {
    let name = StreamName::new(name).map_err(|_| Fault::NotFound)?;
    let image = door.media.thumbnail(&name).ok_or(Fault::NotFound)?;
    let mut response = reply::with_type(StatusCode::OK, "image/jpeg", image.into());
    let keep = HeaderValue::from_static("public, max-age=10");
    response.headers_mut().insert(header::CACHE_CONTROL, keep);
    Ok(response)
}

pub(super) async fn media(State(door): State<Door>, request: Request) -> Response {
    door.media.respond(request).await
}

pub(super) async fn health() -> Response {
    reply::with_type(StatusCode::OK, "text/plain; charset=utf-8", "ok\n".into())
}

/// Ready to take publishers: the store can be written, media runs, no shutdown has begun.
pub(super) async fn ready(State(door): State<Door>) -> Response {
    let trouble = if door.app.shutdown.is_begun() {
        Some("shutting down".to_owned())
    } else if let Err(error) = door.app.store.check().await {
        Some(error.to_string())
    } else {
        door.media.trouble()
    };
    let status = if trouble.is_some() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let text = trouble.unwrap_or_else(|| "ready".to_owned()) + "\n";
    reply::with_type(status, "text/plain; charset=utf-8", text.into())
}

pub(super) async fn metrics(State(door): State<Door>) -> Response {
    let text = door.app.metrics.render();
    reply::with_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text.into())
}

fn admit(door: &Door, peer: Option<Extension<Peer>>, head: &HeaderMap) -> Result<(), Fault> {
    door.guard.admit(&door.app, peer.map(|peer| peer.0), head)
}

async fn find(door: &Door, name: &str) -> Result<Stream, Fault> {
    let missing = || Error::NoStream(name.chars().take(StreamName::BYTES_MAX).collect());
    let known = StreamName::new(name).map_err(|_| missing())?;
    Ok(door.app.store.stream(&known).await?.ok_or_else(missing)?)
}

fn keyed(
    door: &Door,
    head: &HeaderMap,
    stream: &Stream,
    key: &StreamKey,
    status: StatusCode,
) -> Response {
    let host = head.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let publish_url = admin::publish_url(&door.app.config, host, key);
    let stream = View::new(door, stream);
    reply::json(status, &Keyed { stream, key: key.reveal().to_owned(), publish_url })
}

fn read<T: DeserializeOwned>(body: Body) -> Result<T, Fault> {
    let body = body.map_err(|refused| Fault::Body(refused.status(), refused.body_text()))?;
    serde_json::from_slice(&body).map_err(|error| Fault::Bad(format!("the body: {error}")))
}
