//! What the owner of the server can do to streams; the API and the command line both come here.

use streamr_core::id::StreamName;
use streamr_core::key::StreamKey;

use crate::config::Part;
use crate::store::{NewStream, Store, Stream, TITLE_BYTES_MAX};
use crate::time::unix_ms;
use crate::{App, Config, Error};

/// Makes a stream and its key, which is to be shown once. An empty title becomes the name.
///
/// # Errors
/// `Error::NameTaken`, `Error::Limit`, or what the store says.
pub async fn add_stream(
    app: &App,
    name: StreamName,
    title: String,
) -> Result<(Stream, StreamKey), Error> {
    let max = app.config.data.streams_max;
    if app.store.streams().await?.len() >= max as usize {
        return Err(Error::Limit { limit: "data.streams_max", max: max.into() });
    }
    let title = if title.is_empty() { name.to_string() } else { checked(&title)? };
    let key = fresh_key();
    let new = NewStream { name, title, key: key.hash(), created_unix_ms: unix_ms() };
    Ok((app.store.add_stream(&new).await?, key))
}

/// Replaces the key of a stream and returns the new one, which is to be shown once. Whoever
/// publishes now goes on until it leaves, unless `http::Media` is told.
///
/// # Errors
/// `Error::NoStream`, or what the store says.
pub async fn rotate_key(store: &dyn Store, name: &StreamName) -> Result<StreamKey, Error> {
    let key = fresh_key();
    store.set_key(name, &key.hash()).await?;
    Ok(key)
}

/// Changes what a stream is called on pages.
///
/// # Errors
/// `Error::Limit` for a title that is too long, `Error::NoStream`, or what the store says.
pub async fn set_title(store: &dyn Store, name: &StreamName, title: &str) -> Result<(), Error> {
    store.set_title(name, &checked(title)?).await
}

/// Where a publisher publishes with `key`; `host` is what the asking side calls this server, with
/// or without a port.
#[must_use]
pub fn publish_url(config: &Config, host: &str, key: &StreamKey) -> String {
    format!("{}/{}", ingest_url(config, host), key.reveal())
}

/// What goes into the field "Server" of OBS.
#[must_use]
pub fn ingest_url(config: &Config, host: &str) -> String {
    let rtmp = config.listener(Part::Rtmp).ok().flatten();
    let port = rtmp.map_or(1935, |listen| listen.address.port());
    let name = match public_host(config) {
        "" => without_port(host),
        public => without_port(public),
    };
    let name = if name.is_empty() { "localhost" } else { name };
    match port {
        1935 => format!("rtmp://{name}/live"),
        port => format!("rtmp://{name}:{port}/live"),
    }
}

fn public_host(config: &Config) -> &str {
    let url = config.http.public_url.as_str();
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

fn checked(title: &str) -> Result<String, Error> {
    // Control characters have no place on a page or in a terminal.
    let title: String = title.chars().filter(|c| !c.is_control()).collect();
    if title.len() > TITLE_BYTES_MAX {
        let max = TITLE_BYTES_MAX as u64;
        return Err(Error::TooLong { what: "title", bytes_max: max });
    }
    Ok(title.trim().to_owned())
}

fn fresh_key() -> StreamKey {
    StreamKey::from_random(rand::random())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_for_publishers() {
        let mut config = Config::default();
        for (public, listen, host, url) in [
            ("", ":1935", "example.org:8080", "rtmp://example.org/live"),
            ("", ":1936", "example.org", "rtmp://example.org:1936/live"),
            ("", ":1935", "[::1]:8080", "rtmp://[::1]/live"),
            ("", ":1935", "", "rtmp://localhost/live"),
            ("https://tv.example/x", ":1935", "10.0.0.1", "rtmp://tv.example/live"),
        ] {
            config.http.public_url = public.to_owned();
            config.rtmp.listen = listen.to_owned();
            assert_eq!(ingest_url(&config, host), url);
        }
    }

    #[test]
    fn titles_are_cleaned_and_bounded() {
        assert_eq!(checked(" a\u{1b}[2Jb\n ").unwrap(), "a[2Jb");
        assert!(checked(&"x".repeat(TITLE_BYTES_MAX)).is_ok());
        assert!(checked(&"é".repeat(TITLE_BYTES_MAX)).is_err());
    }
}
