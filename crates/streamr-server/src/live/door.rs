//! The doors to what is on: for the egress engine, and for the pages.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use bytes::Bytes;
use futures_util::stream;
use streamr_core::id::StreamName;
use streamr_media::Error as MediaError;
use streamr_media::fanout::{Framing, Reader};
use streamr_media::hls;

use super::{Answer, Broadcast, Live, viewers};
use crate::Error;
use crate::egress::{self, Block};
use crate::http::{Command, Media, Request, Response, Status};

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
                egress::Answer::Block(Block { topic, version, timeout: PATIENCE })
            }
        }
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
            Some(broadcast) => broadcast.answer(&request),
            None => Answer::Ready(hls::Reply::not_found()),
        }
    }

    async fn hls_reply(&self, stream: &str, path: &str, query: Option<&str>) -> hls::Reply {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            match self.answer(stream, path, query) {
                Answer::Ready(reply) => return reply,
                Answer::Block(topic, version) => {
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
        if path.ends_with(".m3u8")
            && let Some(broadcast) = self.broadcast(stream)
        {
            broadcast.viewers().seen(who, self.clock().now());
        }
        response(&self.hls_reply(stream, path, query).await)
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
            *response.body_mut() = flv_body(broadcast);
        }
        response
    }
}

#[async_trait]
impl Media for Live {
    fn status(&self, name: &StreamName) -> Option<Status> {
        let broadcast = self.broadcast(name.as_str()).filter(|broadcast| !broadcast.is_over())?;
        let size = broadcast.picture_size();
        let viewers = broadcast.viewers().count(self.clock().now());
        Some(Status {
            viewers: u32::try_from(viewers).unwrap_or(u32::MAX),
            width: size.map(|(width, _)| width),
            height: size.map(|(_, height)| height),
            codecs: broadcast.tracks().into_iter().map(|track| track.codec_string).collect(),
            renditions: broadcast.rendition_names(),
            thumbnail: broadcast.thumbnail().is_some(),
        })
    }

    fn thumbnail(&self, name: &StreamName) -> Option<Bytes> {
        self.broadcast(name.as_str())?.thumbnail()
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
        self.shut_down();
    }
}

/// HTTP-FLV over a connection that the engine does not own.
fn flv_body(broadcast: Arc<Broadcast>) -> Body {
    let window = broadcast.players().window();
    let header = Bytes::from_static(&streamr_media::flv::file::HEADER);
    let reader = Reader::new(Framing::Flv, header);
    let viewer = broadcast.viewers().connect();
    let state = (broadcast, window, reader, viewer);
    Body::from_stream(stream::unfold(state, |(broadcast, mut window, mut reader, viewer)| async {
        loop {
            let over = broadcast.is_over();
            broadcast.players().follow(&mut window);
            if let Some(bytes) = reader.peek(&window).map(Bytes::copy_from_slice) {
                reader.advance(bytes.len());
                return Some((Ok::<_, std::io::Error>(bytes), (broadcast, window, reader, viewer)));
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
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
    let agent = user_agent(request.headers());
    viewers::identify(
        named(request.uri()),
        peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        agent,
    )
}

fn user_agent(headers: &HeaderMap) -> &str {
    headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default()
}

fn named(uri: &Uri) -> Option<&str> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix("_v="))
}
