//! Where to publish to or play from.

use core::str::FromStr;

use crate::Error;

/// `rtmp://host[:port]/app/name[?query]`, or `rtmps`. IPv6 hosts stand in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// `rtmps`.
    pub tls: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// 1935 unless said, 443 for `rtmps`.
    pub port: u16,
    /// The first segment of the path.
    pub app: String,
    /// The rest of the path with the query: stream name or key.
    pub name: String,
}

impl Url {
    /// What `connect` calls `tcUrl`: everything but the name.
    #[must_use]
    pub fn tc_url(&self) -> String {
        let scheme = if self.tls { "rtmps" } else { "rtmp" };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        format!("{scheme}://{open}{}{close}:{}/{}", self.host, self.port, self.app)
    }
}

impl FromStr for Url {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |reason| Error::malformed("RTMP URL", reason);
        let (tls, rest) = match text.split_once("://") {
            Some(("rtmp", rest)) => (false, rest),
            Some(("rtmps", rest)) => (true, rest),
            _ => return Err(wrong("does not start with rtmp:// or rtmps://")),
        };
        let (authority, path) = rest.split_once('/').ok_or(wrong("has no application"))?;
        let (app, name) = path.split_once('/').ok_or(wrong("has no stream name"))?;
        let (host, port) = match authority.strip_prefix('[') {
            Some(v6) => v6.split_once(']').ok_or(wrong("has an open bracket"))?,
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().map_err(|_| wrong("has a port that is not a number"))?,
            None => {
                if tls {
                    443
                } else {
                    1935
                }
            }
        };
        if host.is_empty() || app.is_empty() || name.is_empty() {
            return Err(wrong("has an empty host, application or stream name"));
        }
        Ok(Self { tls, host: host.into(), port, app: app.into(), name: name.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_defaults() {
        let cases = [
            ("rtmp://h/live/k", (false, "h", 1935, "live", "k", "rtmp://h:1935/live")),
            ("rtmps://h/a/b/c?d=/e", (true, "h", 443, "a", "b/c?d=/e", "rtmps://h:443/a")),
            ("rtmp://[::1]:9/a/b", (false, "::1", 9, "a", "b", "rtmp://[::1]:9/a")),
        ];
        for (text, (tls, host, port, app, name, tc_url)) in cases {
            let url: Url = text.parse().unwrap();
            assert_eq!((url.tls, url.host.as_str(), url.port), (tls, host, port));
            assert_eq!((url.app.as_str(), url.name.as_str()), (app, name));
            assert_eq!(url.tc_url(), tc_url);
        }
        for text in ["", "http://h/a/b", "rtmp://h", "rtmp://h/a", "rtmp:///a/b", "rtmp://h:x/a/b"]
        {
            assert!(text.parse::<Url>().is_err(), "{text}");
        }
    }
}
