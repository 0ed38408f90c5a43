//! What a player asks for.

use crate::Error;
use crate::media::{Kind, TrackId};

/// A request for something of one stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// `source`, or the name of a rung of the ladder; `None` for the multivariant playlist.
    pub rendition: Option<String>,
    /// What of it.
    pub resource: Resource,
}

/// The things that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// `index.m3u8`.
    Multivariant,
    /// `{rendition}/{track}.m3u8`.
    Playlist {
        /// Whose playlist.
        track: TrackId,
        /// From which moment on (`_HLS_msn`, `_HLS_part`); `None`: as it stands.
        wanted: Option<Wanted>,
        /// `_HLS_skip=YES` or `v2`: a delta update will do.
        skip: bool,
    },
    /// `{rendition}/{track}/{epoch}-init{n}.mp4`.
    Init {
        /// Whose init segment.
        track: TrackId,
        /// Of which broadcast.
        epoch: u64,
        /// Which one.
        index: u32,
    },
    /// `{rendition}/{track}/{epoch}-{msn}.m4s`.
    Segment {
        /// Of which track.
        track: TrackId,
        /// Of which broadcast.
        epoch: u64,
        /// Its media sequence number.
        msn: u64,
    },
    /// `{rendition}/{track}/{epoch}-{msn}.{part}.m4s`.
    Part {
        /// Of which track.
        track: TrackId,
        /// Of which broadcast.
        epoch: u64,
        /// Its segment's media sequence number.
        msn: u64,
        /// Its index in that segment.
        part: u32,
    },
}

/// The least that a playlist must contain before it is sent (draft §6.2.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// `_HLS_msn`.
    pub msn: u64,
    /// `_HLS_part`; `None`: the whole segment.
    pub part: Option<u32>,
}

impl Request {
    /// Parses what follows `/hls/{stream}/` in a URL, and its query.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if nothing has such a path: answer 404. [`Error::Malformed`] if the
    /// query breaks the draft's rules: answer 400. Unknown parameters without the prefix `_HLS_`
    /// are ignored.
    pub fn parse(path_below_stream: &str, query: Option<&str>) -> Result<Self, Error> {
        let mut parts = path_below_stream.split('/');
        let (first, second, third) = (parts.next(), parts.next(), parts.next());
        if parts.next().is_some() {
            return Err(NOT_FOUND);
        }
        let (rendition, resource) = match (first, second, third) {
            (Some("index.m3u8"), None, None) => (None, Resource::Multivariant),
            (Some(rendition), Some(playlist), None) => {
                let name = playlist.strip_suffix(".m3u8").ok_or(NOT_FOUND)?;
                (Some(rendition), playlist_request(track(name)?, query)?)
            }
            (Some(rendition), Some(name), Some(file)) => {
                (Some(rendition), media(track(name)?, file)?)
            }
            _ => return Err(NOT_FOUND),
        };
        let rendition = match rendition {
            Some(name) if !is_name(name) => return Err(NOT_FOUND),
            name => name.map(str::to_owned),
        };
        Ok(Self { rendition, resource })
    }
}

const NOT_FOUND: Error = Error::Unsupported { format: "HLS", feature: "this path" };
const BAD_QUERY: Error = Error::malformed("HLS", "delivery directives are inconsistent");

/// Rendition names are short and need no escaping anywhere.
fn is_name(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    (1..=32).contains(&name.len()) && name.bytes().all(plain)
}

fn track(name: &str) -> Result<TrackId, Error> {
    let (kind, index) = if let Some(index) = name.strip_prefix("video") {
        (Kind::Video, index)
    } else if let Some(index) = name.strip_prefix("audio") {
        (Kind::Audio, index)
    } else {
        return Err(NOT_FOUND);
    };
    Ok(TrackId { kind, index: number(index)? })
}

/// Exactly one spelling a number, so that caches hold everything once.
fn number<T: core::str::FromStr>(text: &str) -> Result<T, Error> {
    let canonical = text == "0" || !text.starts_with('0');
    if !canonical || !text.bytes().all(|c| c.is_ascii_digit()) {
        return Err(NOT_FOUND);
    }
    text.parse().map_err(|_| NOT_FOUND)
}

fn playlist_request(track: TrackId, query: Option<&str>) -> Result<Resource, Error> {
    let (mut msn, mut part, mut skip) = (None, None, false);
    for pair in query.unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match name {
            "_HLS_msn" => msn = Some(number(value).map_err(|_| BAD_QUERY)?),
            "_HLS_part" => part = Some(number(value).map_err(|_| BAD_QUERY)?),
            "_HLS_skip" => skip = matches!(value, "YES" | "v2"),
            _ => {}
        }
    }
    let wanted = match (msn, part) {
        (Some(msn), part) => Some(Wanted { msn, part }),
        (None, None) => None,
        (None, Some(_)) => return Err(BAD_QUERY),
    };
    Ok(Resource::Playlist { track, wanted, skip })
}

fn media(track: TrackId, file: &str) -> Result<Resource, Error> {
    let (epoch, rest) = file.split_once('-').ok_or(NOT_FOUND)?;
    let epoch = number(epoch)?;
    if let Some(init) = rest.strip_prefix("init") {
        let index = number(init.strip_suffix(".mp4").ok_or(NOT_FOUND)?)?;
        return Ok(Resource::Init { track, epoch, index });
    }
    let name = rest.strip_suffix(".m4s").ok_or(NOT_FOUND)?;
    match name.split_once('.') {
        None => Ok(Resource::Segment { track, epoch, msn: number(name)? }),
        Some((msn, part)) => {
            Ok(Resource::Part { track, epoch, msn: number(msn)?, part: number(part)? })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V: TrackId = TrackId::VIDEO;

    fn parse(path: &str, query: &str) -> Result<Resource, Error> {
        Request::parse(path, (!query.is_empty()).then_some(query)).map(|r| r.resource)
    }

    #[test]
    fn good_requests_parse() {
        let list = |wanted, skip| Resource::Playlist { track: V, wanted, skip };
        let wanted = |msn, part| Some(Wanted { msn, part });
        for (path, query, expected) in [
            ("index.m3u8", "", Resource::Multivariant),
            ("index.m3u8", "_HLS_part=x", Resource::Multivariant),
            ("source/video0.m3u8", "", list(None, false)),
            ("480p/video0.m3u8", "_HLS_msn=7", list(wanted(7, None), false)),
            ("480p/video0.m3u8", "_HLS_part=0&_HLS_msn=7", list(wanted(7, Some(0)), false)),
            ("s/video0.m3u8", "token=a&_HLS_skip=v2&x", list(None, true)),
            ("s/video0/9-init2.mp4", "", Resource::Init { track: V, epoch: 9, index: 2 }),
            ("s/video0/9-12.m4s", "", Resource::Segment { track: V, epoch: 9, msn: 12 }),
            ("s/video0/9-12.3.m4s", "", Resource::Part { track: V, epoch: 9, msn: 12, part: 3 }),
        ] {
            assert_eq!(parse(path, query), Ok(expected), "{path}?{query}");
        }
        let request = Request::parse("480p/audio1.m3u8", None).unwrap();
        assert_eq!(request.rendition.as_deref(), Some("480p"));
    }

    #[test]
    fn bad_requests_are_not_found_or_bad() {
        for path in [
            "",
            "/",
            "index.m3u8/",
            "source",
            "source/video0",
            "source/video.m3u8",
            "s/video256.m3u8",
            "s/text0.m3u8",
            "../video0.m3u8",
            "a b/video0.m3u8",
            "s/video0/9-init.mp4",
            "s/video0/9.m4s",
            "s/video0/9-1.2.3.m4s",
            "s/video0/9-01.m4s",
            "s/video0/+9-1.m4s",
            "s/video0/9--1.m4s",
            "s/video0/9-1.m4s/x",
            "s/video0/9-99999999999999999999.m4s",
            "s/video00.m3u8",
        ] {
            assert_eq!(parse(path, ""), Err(NOT_FOUND), "{path}");
        }
        for query in
            ["_HLS_part=1", "_HLS_msn=", "_HLS_msn=-1", "_HLS_msn=x", "_HLS_msn=1&_HLS_part=a"]
        {
            assert_eq!(parse("s/video0.m3u8", query), Err(BAD_QUERY), "{query}");
        }
    }
}
