//! One HTTP/1.1 request at a time, for everything that is not measured; and the reader of
//! responses that the loaders share.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

const HEAD_BYTES_MAX: usize = 16 << 10;

/// Reads responses off a connection that is kept open, cut anywhere; bodies are counted, not kept.
#[derive(Debug, Default)]
pub(crate) struct Responses {
    head: Vec<u8>,
    left: Option<usize>,
    /// Whole responses so far.
    pub(crate) count: u64,
    /// Bytes of bodies so far.
    pub(crate) bytes: u64,
}

impl Responses {
    /// Takes the next bytes; whether a response is complete. Only one request may be open.
    pub(crate) fn push(&mut self, mut input: &[u8]) -> Result<bool> {
        let mut left = match self.left {
            Some(left) => left,
            None => {
                let before = self.head.len();
                self.head.extend_from_slice(&input[..input.len().min(HEAD_BYTES_MAX)]);
                let Some(end) = find(&self.head, b"\r\n\r\n") else {
                    ensure!(self.head.len() < HEAD_BYTES_MAX, "a response without an end of head");
                    return Ok(false);
                };
                input = &input[end + 4 - before..];
                let head = String::from_utf8_lossy(&self.head[..end]).to_lowercase();
                ensure!(head.starts_with("http/1.1 200"), "the server answers: {head}");
                self.head.clear();
                length(&head)?
            }
        };
        let step = left.min(input.len());
        ensure!(step == input.len(), "more bytes than were announced");
        left -= step;
        self.bytes += step as u64;
        self.left = (left > 0).then_some(left);
        self.count += u64::from(left == 0);
        Ok(left == 0)
    }
}

fn length(head: &str) -> Result<usize> {
    let field = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    field.and_then(|text| text.trim().parse().ok()).context("a response without a length")
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// What goes over the wire to ask for `path` and keep the connection.
pub(crate) fn request(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n").into_bytes()
}

/// The body that `GET path` gives.
pub(crate) fn get(addr: SocketAddr, path: &str) -> Result<Vec<u8>> {
    exchange(addr, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n"), "")
}

/// Posts JSON with a bearer token; the body of the answer.
pub(crate) fn post(addr: SocketAddr, path: &str, token: &str, body: &str) -> Result<Vec<u8>> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    exchange(addr, &head, body)
}

fn exchange(addr: SocketAddr, head: &str, body: &str) -> Result<Vec<u8>> {
    let limit = Duration::from_secs(5);
    let mut socket = TcpStream::connect_timeout(&addr, limit)?;
    socket.set_read_timeout(Some(limit))?;
    socket.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes())?;
    let mut all = Vec::new();
    socket.read_to_end(&mut all)?;
    let end = find(&all, b"\r\n\r\n").context("no answer")?;
    let text = String::from_utf8_lossy(&all[..end]).into_owned();
    if !text.starts_with("HTTP/1.1 2") {
        let body = String::from_utf8_lossy(&all[end..]).into_owned();
        bail!("{}: {} {}", head.lines().next().unwrap_or_default(), text, body.trim());
    }
    let body = all.split_off(end + 4);
    let chunked = text.to_lowercase().contains("transfer-encoding: chunked");
    if chunked { unchunk(&body) } else { Ok(body) }
}

/// RFC 9112, 7.1.
fn unchunk(mut body: &[u8]) -> Result<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = find(body, b"\r\n").context("a chunk without a size")?;
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end])?.trim(), 16)?;
        if size == 0 {
            return Ok(whole);
        }
        let rest = &body[end + 2..];
        whole.extend_from_slice(rest.get(..size).context("a chunk is cut off")?);
        body = rest.get(size + 2..).context("a chunk is cut off")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_counted_however_they_are_cut() {
        let wire = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        for step in [1, 20, 39, wire.len()] {
            let mut responses = Responses::default();
            for _ in 0..2 {
                let ends: Vec<bool> =
                    wire.chunks(step).map(|bytes| responses.push(bytes).unwrap()).collect();
                assert!(ends.last().unwrap() & !ends[..ends.len() - 1].contains(&true));
            }
            assert_eq!((responses.count, responses.bytes), (2, 10));
        }
        for wrong in [&b"HTTP/1.1 404 No\r\n\r\n"[..], b"HTTP/1.1 200 OK\r\n\r\n"] {
            assert!(Responses::default().push(wrong).is_err());
        }
    }

    #[test]
    fn chunks_are_joined() {
        assert_eq!(unchunk(b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n").unwrap(), b"abc");
        assert!(unchunk(b"5\r\nab").is_err());
    }
}
