//! The doors to what is on: for the egress engine, and for the pages.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{HeaderMap, Method, StatusCode, header};
use bytes::Bytes;
use futures_util::stream;
use streamr_core::id::StreamName;
use streamr_core::lifecycle::State;
use streamr_media::Error as MediaError;
use streamr_media::fanout::{Framing, Reader};
use streamr_media::hls;

use super::{Answer, Broadcast, Live, viewers};
use crate::egress::{self, Asker, Block};
use crate::http::{Command, Media, Peer, Request, Response, Status};
use crate::{Error, Metrics};

/// How long a blocked playlist waits at most: three target durations of 10 s (draft 6.2.5.2).
const PATIENCE: Duration = Duration::from_secs(30);

/// How often HTTP-FLV players that the engine does not serve are written to.
const WRITE_EVERY: Duration = Duration::from_millis(40);

impl egress::Media for Live {
    fn hls(&self, stream: &str, path: &str, query: Option<&str>) -> egress::Answer {
        match self.answer(stream, path, query) {
            Answer::Ready(reply) => egress::Answer::Ready(egress::Reply {
                status: reply.status,
                content_type: reply.content_type,
                cache_control: reply.cache_control,
                etag: None,
                body: reply.body,
            }),
            Answer::Block(topic, version) => {
                self.metrics().playlists_blocked_total.inc();
                egress::Answer::Block(Block { topic, version, timeout: PATIENCE })
            }
        }
    }

    fn asked(&self, stream: &str, path: &str, query: Option<&str>, by: Asker<'_>) {
        self.see(stream, path, || viewers::identify(query, by.address, by.user_agent));
    }

    fn stream(&self, name: &str) -> Option<Arc<egress::Stream>> {
        let broadcast = self.broadcast(name).filter(|broadcast| !broadcast.is_over())?;
        Some(broadcast.players().clone())
    }
}

impl Live {
    /// Answers a request for HLS at once: the bytes, or what has to be waited for.
    #[must_use]
    pub fn answer(&self, stream: &str, path: &str, query: Option<&str>) -> Answer {
        let request = match hls::Request::parse(path, query) {
            Ok(request) => request,
            Err(MediaError::Unsupported { .. }) => return Answer::Ready(hls::Reply::not_found()),
            Err(_) => return Answer::Ready(hls::Reply::bad_request()),
        };
        match self.broadcast(stream) {
            Some(broadcast) => match broadcast.answer(&request) {
                Answer::Block(..) if broadcast.is_over() => Answer::Ready(hls::Reply::timed_out()),
                answer => answer,
            },
            None => Answer::Ready(hls::Reply::not_found()),
        }
    }

    /// Somebody asked for something: who asks for playlists watches.
    fn see(&self, stream: &str, path: &str, who: impl FnOnce() -> u64) {
        if path.ends_with(".m3u8")
            && let Some(broadcast) = self.broadcast(stream)
        {
            broadcast.viewers().seen(who(), self.clock().now());
        }
    }

    async fn hls_reply(&self, stream: &str, path: &str, query: Option<&str>) -> hls::Reply {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut blocked = 0;
        loop {
            match self.answer(stream, path, query) {
                Answer::Ready(reply) => return reply,
                Answer::Block(topic, version) => {
                    blocked += 1;
                    if blocked == 1 {
                        self.metrics().playlists_blocked_total.inc();
                    }
                    if tokio::time::timeout_at(deadline, topic.reached(version)).await.is_err() {
                        return hls::Reply::timed_out();
                    }
                }
            }
        }
    }

    async fn hls_response(&self, who: u64, below: &str, query: Option<&str>) -> Response {
        let Some((stream, path)) = below.split_once('/') else {
            return response(&hls::Reply::not_found());
        };
        self.see(stream, path, || who);
        let reply = self.hls_reply(stream, path, query).await;
        self.metrics().egress_bytes_total.add(reply.body.len() as u64);
        response(&reply)
    }

    fn flv_response(&self, method: &Method, below: &str) -> Response {
        let broadcast = below.strip_suffix(".flv").and_then(|name| self.broadcast(name));
        let Some(broadcast) = broadcast.filter(|broadcast| !broadcast.is_over()) else {
            return response(&hls::Reply::not_found());
        };
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("video/x-flv"));
        headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
        if method == Method::GET {
            *response.body_mut() = flv_body(broadcast, self.metrics().clone());
        }
        response
    }
}

#[async_trait]
impl Media for Live {
    fn status(&self, name: &StreamName) -> Option<Status> {
        let broadcast = self.broadcast(name.as_str()).filter(|broadcast| !broadcast.is_over())?;
        let size = broadcast.picture_size();
        let viewers = broadcast.viewers_now();
        Some(Status {
            viewers: u32::try_from(viewers).unwrap_or(u32::MAX),
            width: size.map(|(width, _)| width),
            height: size.map(|(_, height)| height),
            codecs: broadcast.tracks().into_iter().map(|track| track.codec_string).collect(),
            renditions: broadcast.rendition_names(),
            thumbnail: broadcast.thumbnail().is_some(),
        })
    }

    fn state(&self, name: &StreamName) -> Option<State> {
        Self::state(self, name.as_str())
    }

    fn thumbnail(&self, name: &StreamName) -> Option<Bytes> {
        self.broadcast(name.as_str())?.thumbnail()
    }

    fn opening(&self, name: &StreamName) -> Option<hls::Opening> {
        self.broadcast(name.as_str()).filter(|broadcast| !broadcast.is_over())?.opening()
    }

    async fn respond(&self, request: Request) -> Response {
        let who = who(&request);
        let (parts, _) = request.into_parts();
        let path = parts.uri.path();
        if let Some(below) = path.strip_prefix("/hls/") {
            self.hls_response(who, below, parts.uri.query()).await
        } else if let Some(below) = path.strip_prefix("/flv/") {
            self.flv_response(&parts.method, below)
        } else {
            response(&hls::Reply::not_found())
        }
    }

    async fn command(&self, name: &StreamName, command: Command) -> Result<(), Error> {
        self.obey(name, command).await
    }

    fn trouble(&self) -> Option<String> {
        self.is_shutting_down().then(|| "the server is shutting down".to_owned())
    }

    async fn close(&self) {
        self.leave_air().await;
    }
}

/// HTTP-FLV over a connection that the engine does not own.
fn flv_body(broadcast: Arc<Broadcast>, metrics: Arc<Metrics>) -> Body {
    let window = broadcast.players().window();
    let header = Bytes::from_static(&streamr_media::flv::file::HEADER);
    let reader = Reader::new(Framing::Flv, header);
    let viewer = broadcast.viewers().connect();
    let state = (broadcast, window, reader, (viewer, metrics));
    Body::from_stream(stream::unfold(state, |(broadcast, mut window, mut reader, kept)| async {
        loop {
            let over = broadcast.is_over();
            broadcast.players().follow(&mut window);
            if let Some(bytes) = reader.peek(&window).map(Bytes::copy_from_slice) {
                reader.advance(bytes.len());
                kept.1.egress_bytes_total.add(bytes.len() as u64);
                return Some((Ok::<_, std::io::Error>(bytes), (broadcast, window, reader, kept)));
            }
            if over {
                return None;
            }
            tokio::time::sleep(WRITE_EVERY).await;
        }
    }))
}

fn response(reply: &hls::Reply) -> Response {
    let mut response = Response::new(Body::from(reply.body.clone()));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK);
    let headers = response.headers_mut();
    let text = header::HeaderValue::from_static;
    headers.insert(header::CONTENT_TYPE, text(reply.content_type));
    headers.insert(header::CACHE_CONTROL, text(reply.cache_control));
    response
}

/// Tells viewers apart.
fn who(request: &Request) -> u64 {
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    let agent = user_agent(request.headers());
    let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    viewers::identify(request.uri().query(), peer, agent)
}

fn user_agent(headers: &HeaderMap) -> &[u8] {
    headers.get(header::USER_AGENT).map(|agent| agent.as_bytes()).unwrap_or_default()
}
