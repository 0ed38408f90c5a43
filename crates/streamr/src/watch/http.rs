//! Just enough HTTP: one connection, one GET at a time, kept open.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response, Uri, header};
use hyper_util::rt::TokioIo;

use crate::net::Dialer;

/// An answer longer than this is not media that a player would take: 20 s at 25 Mbit/s.
const BODY_BYTES_MAX: usize = 64 << 20;

/// A blocked playlist answers within three target durations.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to one server, opened when needed.
pub(super) struct Client {
    dialer: Dialer,
    origin: Uri,
    sender: Option<SendRequest<Empty<Bytes>>>,
}

/// What came back.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

impl Client {
    /// For the server of `url`.
    pub(super) fn new(dialer: Dialer, url: &Uri) -> Self {
        Self { dialer, origin: url.clone(), sender: None }
    }

    /// The whole answer to a GET of `path` (with its query).
    pub(super) async fn get(&mut self, path: &str) -> Result<Reply> {
        let response = self.open(path).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect();
        match tokio::time::timeout(ANSWER_TIMEOUT, body).await {
            Ok(Ok(body)) => Ok(Reply { status, body: body.to_bytes() }),
            Ok(Err(error)) => {
                self.sender = None;
                Err(anyhow!(error).context(format!("{path} broke off")))
            }
            Err(_) => bail!("{path} does not end"),
        }
    }

    /// The head of an answer to a GET of `path`; its body comes as it comes.
    pub(super) async fn open(&mut self, path: &str) -> Result<Response<Incoming>> {
        let mut sender = match self.sender.take() {
            Some(sender) if !sender.is_closed() => sender,
            _ => self.connect().await?,
        };
        sender.ready().await?;
        let host = self.origin.authority().map_or("", |authority| authority.as_str());
        let request = Request::get(path)
            .header(header::HOST, host)
            .header(header::USER_AGENT, "streamr-watch")
            .body(Empty::new())?;
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, sender.send_request(request)).await;
        let response = answer.with_context(|| format!("{path} is not answered"))??;
        self.sender = Some(sender);
        Ok(response)
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>> {
        let host = self.origin.host().context("the address has no host")?;
        let tls = self.origin.scheme_str() == Some("https");
        let port = self.origin.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let socket = self.dialer.dial(host.trim_matches(['[', ']']), port, tls).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
        tokio::spawn(async move {
            // A broken connection shows in the next request.
            let _ = connection.await;
        });
        Ok(sender)
    }
}

/// `reference` of a playlist at `base`, as path and query (RFC 3986 section 5.2, without other
/// hosts: media of another server is not followed).
pub(super) fn resolve(base: &str, reference: &str) -> String {
    if reference.starts_with('/') {
        return reference.to_owned();
    }
    let path = base.split('?').next().unwrap_or(base);
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = folder.split('/').collect();
    let mut rest = reference;
    while let Some(up) = rest.strip_prefix("../") {
        parts.pop();
        rest = up;
    }
    format!("{}/{}", parts.join("/"), rest.trim_start_matches("./"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_relative_to_the_playlist() {
        for (base, reference, expected) in [
            ("/hls/a/index.m3u8", "source/video0.m3u8", "/hls/a/source/video0.m3u8"),
            ("/hls/a/s/v.m3u8?x=/y", "v/1.m4s", "/hls/a/s/v/1.m4s"),
            ("/hls/a/s/v.m3u8", "../t/v.m3u8", "/hls/a/t/v.m3u8"),
            ("/hls/a/s/v.m3u8", "/x", "/x"),
            ("/a.m3u8", "./b", "/b"),
        ] {
            assert_eq!(resolve(base, reference), expected);
        }
    }
}
