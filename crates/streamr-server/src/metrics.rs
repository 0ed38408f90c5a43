//! What the server counts, in one place.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// How many so far.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// One more until the returned guard is dropped.
    pub fn hold(self: &std::sync::Arc<Self>) -> Held {
        self.0.fetch_add(1, Relaxed);
        Held(std::sync::Arc::clone(self))
    }

    /// Is now `n`.
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// What it is.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One unit of a gauge.
#[derive(Debug)]
pub struct Held(std::sync::Arc<Gauge>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $name:ident: $kind:ident,)+) => {
        /// Everything that the server counts; docs of the fields are the help texts of `/metrics`.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[doc = $help])+ pub $name: metrics!(@type $kind),)+
        }

        impl Metrics {
            /// All of it in the text format of Prometheus (0.0.4); names begin with `streamr_`.
            #[must_use]
            pub fn render(&self) -> String {
                let mut text = String::with_capacity(4_096);
                $(line(&mut text, stringify!($name), metrics!(@word $kind),
                       concat!($($help),+), self.$name.value());)+
                text
            }
        }
    };
    (@type counter) => { Counter };
    (@type gauge) => { std::sync::Arc<Gauge> };
    (@word counter) => { "counter" };
    (@word gauge) => { "gauge" };
}

metrics! {
    /// HTTP requests answered.
    http_requests_total: counter,
    /// HTTP requests answered with a status of 500 or more.
    http_errors_total: counter,
    /// HTTP connections open now.
    http_connections: gauge,
    /// HTTP connections refused because http.connections_max were open.
    http_refused_total: counter,
    /// HTTP connections and players closed because of what they sent.
    http_malformed_total: counter,
    /// Connections that ask for media now: HTTP and players of RTMP and HTTP-FLV.
    media_connections: gauge,
    /// RTMP players now.
    players_rtmp: gauge,
    /// HTTP-FLV players now.
    players_flv: gauge,
    /// WebRTC publishers and viewers now, connecting ones too.
    webrtc_sessions: gauge,
    /// WebRTC viewers now.
    players_webrtc: gauge,
    /// Datagrams that came to the WebRTC port and belonged to no session, or to one that is busy.
    webrtc_dropped_total: counter,
    /// Requests with a wrong admin token.
    admin_refused_total: counter,
    /// TLS handshakes that failed.
    tls_failed_total: counter,
    /// Publishers connected now.
    publishers: gauge,
    /// Publishers that came.
    publishes_total: counter,
    /// Publishers refused: wrong key, busy or archived stream.
    publishes_refused_total: counter,
    /// Publishers cut off for malformed input or a limit.
    publishes_failed_total: counter,
    /// Bytes of media taken in.
    ingest_bytes_total: counter,
    /// Frames taken in.
    ingest_frames_total: counter,
    /// Streams live now.
    streams_live: gauge,
    /// Segments completed.
    segments_total: counter,
    /// Parts completed.
    parts_total: counter,
    /// Viewers now, by all ways of watching.
    viewers: gauge,
    /// Playlist requests that waited for a part.
    playlists_blocked_total: counter,
    /// Playlist requests that wait for a part now.
    playlists_waiting: gauge,
    /// Bytes of media sent by HTTP, HTTP-FLV and RTMP.
    egress_bytes_total: counter,
    /// Times that a slow player skipped to a later keyframe.
    egress_skips_total: counter,
    /// Connections closed because they took nothing for too long.
    egress_stalled_total: counter,
    /// Transcoding children that ended before they should.
    ladder_failed_total: counter,
}

fn line(text: &mut String, name: &str, kind: &str, help: &str, value: u64) {
    // Writing into a String cannot fail.
    let _ = write!(
        text,
        "# HELP streamr_{name}{help}\n# TYPE streamr_{name} {kind}\nstreamr_{name} {value}\n"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_what_prometheus_reads() {
        let metrics = Metrics::default();
        metrics.http_requests_total.add(3);
        let held = metrics.viewers.hold();
        let text = metrics.render();
        assert!(text.contains(
            "# HELP streamr_http_requests_total HTTP requests answered.\n\
             # TYPE streamr_http_requests_total counter\nstreamr_http_requests_total 3\n"
        ));
        assert!(text.contains("streamr_viewers 1\n"), "{text}");
        drop(held);
        assert!(metrics.render().contains("streamr_viewers 0\n"));
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.split_once(' ').unwrap();
            assert!(name.starts_with("streamr_") && value.parse::<u64>().is_ok(), "{line}");
        }
    }
}
