//! Broadcasts from their first byte to their end: who publishes, what is on, who watches.
//!
//! ```text
//! ingest ─ attach(key) ─► Publication ─► Broadcast ─► Rendition (hls::Packager)  ─► http, egress
//!                             │              └──────► fanout::Writer             ─► egress
//!                             └─ drop / goodbye ─► lifecycle: grace, end
//! ```
//!
//! [`Live`] is the handle, [`Driver`] lets time pass and writes to the store. A publisher's events
//! are handled in its own task: no hop, one short lock for each read of its socket.
//!
//! **Taking over.** A second publisher with the same key is refused while the first one sends
//! media. When the first has sent nothing for `Config::silent_after`, it is dismissed and the
//! second continues the broadcast: an encoder that lost its network comes back before the server
//! can know that the old connection is dead.

mod broadcast;
mod clock;
mod door;
mod keeper;
pub mod ladder;
mod publication;
mod registry;
mod rendition;
mod sampler;
mod thumbnail;
pub mod viewers;

use std::time::Duration;

pub use broadcast::{Broadcast, Keyframes, SOURCE};
pub use clock::{Clock, unix_us};
pub use publication::Publication;
pub use registry::{Driver, Live, Refused};
pub use rendition::{Answer, Rendition};
pub use thumbnail::Config as ThumbnailConfig;

use registry::Stream;
use streamr_core::lifecycle;
use streamr_media::{fanout, hls};

use crate::egress;

/// How broadcasts are run.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Grace periods and what follows them.
    pub lifecycle: lifecycle::Config,
    /// How broadcasts are cut into HLS.
    pub hls: hls::Config,
    /// What RTMP and HTTP-FLV players can be behind.
    pub fanout: fanout::Config,
    /// The engine that feeds players.
    pub egress: egress::Config,
    /// Who counts as watching.
    pub viewers: viewers::Config,
    /// Thumbnails, if wanted.
    pub thumbnail: Option<ThumbnailConfig>,
    /// Smaller renditions, if wanted.
    pub ladder: Option<ladder::Config>,
    /// When broadcasts let go.
    pub patience: Patience,
}

impl Config {
    /// What the server's configuration says about it.
    #[must_use]
    pub fn of(config: &crate::Config) -> Self {
        let ffmpeg = || config.ladder.ffmpeg.to_string_lossy().into_owned();
        let thumbnail = config
            .ladder
            .thumbnails
            .then(|| ThumbnailConfig { ffmpeg: ffmpeg(), ..ThumbnailConfig::default() });
        let part_us = i64::from(config.hls.part_ms) * 1_000;
        let segment_us_min = i64::from(config.hls.segment_ms) * 1_000;
        let window_us_min = segment_us_min * i64::from(config.hls.segments);
        let frame_bytes_max = config.stream.frame_bytes_max as usize;
        let hls = hls::Config { part_us, segment_us_min, frame_bytes_max, ..Default::default() };
        Self {
            lifecycle: config.lifecycle(),
            hls: hls::Config {
                window_us_min: hls.window_us_min.max(window_us_min),
                part_bytes_max: hls.part_bytes_max.max(frame_bytes_max),
                ..hls
            },
            thumbnail,
            ladder: (!config.ladder.renditions.is_empty()).then(|| {
                let heights = config.ladder.renditions.iter().filter_map(|n| ladder::height(n));
                let streams_max = config.ladder.streams_max as usize;
                ladder::Config::new(ffmpeg(), heights.collect(), streams_max)
            }),
            egress: egress::Config {
                connections_max: (config.http.connections_max + config.rtmp.connections_max)
                    as usize,
                head_timeout: Duration::from_millis(config.http.header_timeout_ms.into()),
                ..Default::default()
            },
            ..Self::default()
        }
    }
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// A publisher that sent no media for so long can be taken over. Encoders send sound at least
    /// every 100 ms; 5 s is a dead network and not a hiccup.
    pub silent_after: Duration,
    /// A broadcast that is over stays for those who are a little behind.
    pub linger: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { silent_after: Duration::from_secs(5), linger: Duration::from_secs(60) }
    }
}
