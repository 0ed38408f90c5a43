//! Request heads in, answer heads out. No I/O.

use std::io::Write;

use super::Reply;

const HEADERS_MAX: usize = 64;
/// Starts every HTTP/2 connection that was not negotiated (RFC 9113, 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// What every answer carries: any site may read media (Fetch standard, 3.3.3), and nobody may take
/// it for something else. The general HTTP server says the same of media.
pub(super) const FOR_ALL: &str = "Access-Control-Allow-Origin: *\r\n\
    Access-Control-Expose-Headers: date, content-length\r\n\
    X-Content-Type-Options: nosniff";

/// What the first bytes of a connection, or the next ones, are.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// The head is not complete.
    Partial,
    /// A request that the engine answers, and the length of its head.
    Request(Request<'a>, usize),
    /// Something for the general HTTP server.
    Foreign,
    /// Not HTTP.
    Malformed,
}

/// A request for media.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// What is asked for.
    pub target: Target<'a>,
    /// The method is HEAD: the answer has no body.
    pub head_only: bool,
    /// The connection may be used again (RFC 9112, 9.3).
    pub keep_alive: bool,
    /// Value of `If-None-Match`.
    pub if_none_match: Option<&'a [u8]>,
    /// Value of `Range`, unless it depends on a condition (RFC 9110, 13.1.5 allows to ignore it).
    pub range: Option<&'a [u8]>,
    /// Value of `User-Agent`; empty if there is none.
    pub user_agent: &'a [u8],
}

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// `/hls/{stream}/{path}?{query}`
    Hls {
        /// Name of the stream.
        stream: &'a str,
        /// What is below it.
        path: &'a str,
        /// What follows the question mark, if there is one.
        query: Option<&'a str>,
    },
    /// `/flv/{name}.flv`
    Flv {
        /// Name of the stream.
        name: &'a str,
    },
}

/// Reads a request head (RFC 9112).
#[must_use]
pub fn parse(bytes: &[u8]) -> Parsed<'_> {
    let preface = bytes.len().min(HTTP2_PREFACE.len());
    if preface > 0 && bytes[..preface] == HTTP2_PREFACE[..preface] && bytes[0] == b'P' {
        // "P" may become POST or PUT as well: neither is ours.
        return Parsed::Foreign;
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(head_bytes)) => classify(&request, head_bytes),
        Ok(httparse::Status::Partial) => Parsed::Partial,
        Err(_) => Parsed::Malformed,
    }
}

fn classify<'a>(parsed: &httparse::Request<'_, 'a>, head_bytes: usize) -> Parsed<'a> {
    let head_only = match parsed.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Parsed::Foreign,
    };
    let Some(target) = parsed.path.and_then(route) else { return Parsed::Foreign };
    let keep_alive = parsed.version == Some(1);
    let (if_none_match, range, user_agent) = (None, None, Default::default());
    let mut request = Request { target, head_only, keep_alive, if_none_match, range, user_agent };
    let mut conditional = false;
    for header in parsed.headers.iter() {
        let name = header.name;
        if name.eq_ignore_ascii_case("connection") {
            request.keep_alive = keeps_alive(header.value, request.keep_alive);
        } else if name.eq_ignore_ascii_case("if-none-match") {
            request.if_none_match = Some(header.value);
        } else if name.eq_ignore_ascii_case("range") {
            request.range = Some(header.value);
        } else if name.eq_ignore_ascii_case("user-agent") {
            request.user_agent = header.value;
        } else if name.eq_ignore_ascii_case("if-range") {
            conditional = true;
        } else if has_body_or_more(name) {
            return Parsed::Foreign;
        }
    }
    request.range = request.range.filter(|_| !conditional);
    Parsed::Request(request, head_bytes)
}

/// Headers after which the connection is not a plain sequence of heads any more.
fn has_body_or_more(name: &str) -> bool {
    ["content-length", "transfer-encoding", "upgrade", "expect"]
        .iter()
        .any(|n| name.eq_ignore_ascii_case(n))
}

fn keeps_alive(connection: &[u8], default: bool) -> bool {
    let says = |word: &[u8]| {
        connection.split(|&b| b == b',').any(|w| w.trim_ascii().eq_ignore_ascii_case(word))
    };
    (default && !says(b"close")) || says(b"keep-alive")
}

/// Splits a request target below `/hls/` or `/flv/`; `None` for everything else.
fn route(target: &str) -> Option<Target<'_>> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    if let Some(rest) = path.strip_prefix("/hls/") {
        let (stream, path) = rest.split_once('/')?;
        return Some(Target::Hls { stream, path, query });
    }
    let name = path.strip_prefix("/flv/")?.strip_suffix(".flv")?;
    Some(Target::Flv { name })
}

/// Which bytes of a body to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub from: usize,
    /// Behind the last byte; not less than `from`.
    pub to: usize,
    /// How long the body is; not less than `to`.
    pub whole: usize,
}

/// Reads a `Range` with one span (RFC 9110, 14.1.2). `None` means to send everything, as for any
/// range that is not understood; an empty span means that nothing of it exists.
#[must_use]
pub fn span(range: &[u8], whole: usize) -> Option<Span> {
    let range = std::str::from_utf8(range).ok()?.strip_prefix("bytes=")?;
    let (from, to) = range.split_once('-')?;
    if from.is_empty() {
        let last: usize = to.parse().ok()?;
        return Some(Span { from: whole.saturating_sub(last), to: whole, whole });
    }
    let from: usize = from.parse().ok()?;
    let to = if to.is_empty() { whole } else { to.parse::<usize>().ok()?.saturating_add(1) };
    let to = to.min(whole);
    Some(Span { from: from.min(to), to, whole })
}

/// How an answer is to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) keep_alive: bool,
    pub(super) span: Option<Span>,
}

/// Appends the head of an answer. `date` is an IMF-fixdate.
pub(super) fn write_head(out: &mut Vec<u8>, reply: &Reply, style: Style, date: &str) {
    let (status, length) = match style.span {
        None => (reply.status, reply.body.len()),
        Some(s) if s.from == s.to => (416, 0),
        Some(s) => (206, s.to - s.from),
    };
    put(out, &[b"HTTP/1.1 ", status_line(status).as_bytes()]);
    put(out, &[b"\r\nDate: ", date.as_bytes()]);
    put(out, &[b"\r\nContent-Type: ", reply.content_type.as_bytes()]);
    put(out, &[b"\r\nCache-Control: ", reply.cache_control.as_bytes()]);
    put(out, &[b"\r\n", FOR_ALL.as_bytes()]);
    if status != 304 {
        // Writing to a Vec cannot fail.
        let _ = write!(out, "\r\nContent-Length: {length}");
    }
    if let Some(s) = style.span {
        let _ = match status {
            206 => write!(out, "\r\nContent-Range: bytes {}-{}/{}", s.from, s.to - 1, s.whole),
            _ => write!(out, "\r\nContent-Range: bytes */{}", s.whole),
        };
    }
    if let Some(etag) = &reply.etag {
        put(out, &[b"\r\nETag: ", etag]);
    }
    let end: &[u8] = if style.keep_alive { b"\r\n\r\n" } else { b"\r\nConnection: close\r\n\r\n" };
    put(out, &[end]);
}

fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

fn status_line(status: u16) -> &'static str {
    match status {
        200 => "200 OK",
        206 => "206 Partial Content",
        304 => "304 Not Modified",
        400 => "400 Bad Request",
        403 => "403 Forbidden",
        404 => "404 Not Found",
        410 => "410 Gone",
        416 => "416 Range Not Satisfiable",
        431 => "431 Request Header Fields Too Large",
        503 => "503 Service Unavailable",
        _ => "500 Internal Server Error",
    }
}

/// Whether an `If-None-Match` names this tag (RFC 9110, 13.1.2; weak comparison).
#[must_use]
pub fn matches_etag(if_none_match: &[u8], etag: &[u8]) -> bool {
    let bare = |tag: &'_ [u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
    let wanted = bare(etag);
    if_none_match
        .split(|&b| b == b',')
        .map(<[u8]>::trim_ascii)
        .any(|tag| tag == b"*" || bare(tag) == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_sorted_into_ours_and_others() {
        let hls = |path, query| Target::Hls { stream: "s", path, query };
        let ours: &[(&str, Target<'_>, bool, bool)] = &[
            ("GET /hls/s/index.m3u8 HTTP/1.1\r\n\r\n", hls("index.m3u8", None), false, true),
            ("GET /hls/s/a/b?x=1 HTTP/1.1\r\n\r\n", hls("a/b", Some("x=1")), false, true),
            ("HEAD /hls/s/a HTTP/1.0\r\n\r\n", hls("a", None), true, false),
            (
                "GET /hls/s/a HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
                hls("a", None),
                false,
                true,
            ),
            ("GET /hls/s/a HTTP/1.1\r\nconnection: x, close\r\n\r\n", hls("a", None), false, false),
            ("GET /flv/n.flv HTTP/1.1\r\n\r\n", Target::Flv { name: "n" }, false, true),
        ];
        for (head, target, head_only, keep_alive) in ours {
            let Parsed::Request(request, bytes) = parse(head.as_bytes()) else {
                panic!("{head:?} is ours");
            };
            assert_eq!(bytes, head.len());
            assert_eq!(request.target, *target, "{head:?}");
            assert_eq!((request.head_only, request.keep_alive), (*head_only, *keep_alive));
        }
        let others: &[(&[u8], Parsed<'_>)] = &[
            (b"GET / HTTP/1.1\r\n\r\n", Parsed::Foreign),
            (b"GET /hls/s HTTP/1.1\r\n\r\n", Parsed::Foreign),
            (b"POST /hls/s/a HTTP/1.1\r\n\r\n", Parsed::Foreign),
            (b"GET /hls/s/a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", Parsed::Foreign),
            (b"GET /hls/s/a HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", Parsed::Foreign),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Parsed::Foreign),
            (b"GET /hls/s/a HTTP/1.1\r\nHost: x", Parsed::Partial),
            (b"", Parsed::Partial),
            (b"\x16\x03\x01\x02\x00", Parsed::Malformed),
            (b"GET /hls/s/a\r\n\r\n", Parsed::Malformed),
        ];
        for (head, parsed) in others {
            assert_eq!(parse(head), *parsed, "{}", head.escape_ascii());
        }
    }

    #[test]
    fn ranges_are_cut_to_what_exists() {
        let cases: &[(&str, Option<(usize, usize)>)] = &[
            ("bytes=0-9", Some((0, 10))),
            ("bytes=90-", Some((90, 100))),
            ("bytes=-30", Some((70, 100))),
            ("bytes=-300", Some((0, 100))),
            ("bytes=50-500", Some((50, 100))),
            ("bytes=100-", Some((100, 100))),
            ("bytes=9-3", Some((4, 4))),
            ("bytes=0-1,3-4", None),
            ("bytes=0-18446744073709551615", Some((0, 100))),
            ("bytes=x-", None),
            ("lines=1-2", None),
        ];
        for (range, want) in cases {
            let got = span(range.as_bytes(), 100).map(|s| (s.from, s.to));
            assert_eq!(got, *want, "{range}");
        }
    }

    #[test]
    fn an_answer_head_says_what_follows() {
        let reply = Reply { etag: Some("\"e\"".into()), ..Reply::text(200, "hello") };
        let mut out = Vec::new();
        write_head(&mut out, &reply, Style { keep_alive: false, span: span(b"bytes=1-2", 5) }, "D");
        let text = String::from_utf8(out).expect("heads are text");
        assert!(text.starts_with("HTTP/1.1 206 Partial Content\r\nDate: D\r\n"), "{text}");
        for line in ["Content-Length: 2", "Content-Range: bytes 1-2/5", "ETag: \"e\""] {
            assert!(text.contains(&format!("\r\n{line}\r\n")), "{line} in {text}");
        }
        assert!(text.ends_with("\r\nConnection: close\r\n\r\n"));
        assert!(matches_etag(b"W/\"e\"", b"\"e\"") && matches_etag(b"\"a\", *", b"\"e\""));
        assert!(!matches_etag(b"\"a\"", b"\"e\""));
    }
}
