//! Request heads as the egress engine reads and routes them.

use streamr_server::egress::http::{Parsed, Request, matches_etag, parse, span};

/// Every request on a connection, pipelined or not, however it is cut.
pub fn head(data: &[u8]) {
    let mut rest = data;
    loop {
        for cut in [1, rest.len() / 2, rest.len().saturating_sub(1)] {
            check_cut(rest, cut.min(rest.len()));
        }
        let Parsed::Request(request, bytes) = parse(rest) else { return };
        assert!(bytes > 0 && bytes <= rest.len(), "a head is made of bytes that were read");
        check_request(&request);
        rest = &rest[bytes..];
    }
}

/// What is known of the first bytes stays true when more come.
fn check_cut(bytes: &[u8], cut: usize) {
    match parse(&bytes[..cut]) {
        Parsed::Partial => {}
        // Whatever starts like HTTP/2 is for the general server, without waiting for more.
        Parsed::Foreign if b"PRI * HTTP/2.0\r\n".starts_with(&bytes[..cut]) => {}
        early => assert_eq!(early, parse(bytes), "more bytes change nothing"),
    }
}

fn check_request(request: &Request<'_>) {
    for whole in [0, 1, 1_250_000] {
        let Some(span) = request.range.and_then(|range| span(range, whole)) else { continue };
        assert!(span.from <= span.to && span.to <= span.whole, "a span lies in its body");
        assert_eq!(span.whole, whole);
    }
    if let Some(known) = request.if_none_match {
        let _ = matches_etag(known, b"\"tag\"");
    }
}
