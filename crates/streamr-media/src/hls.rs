//! Low-latency HLS (draft-pantos-hls-rfc8216bis, called "the draft" here): cuts parts and segments,
//! writes playlists, answers requests. docs/wire/hls.md is normative for URLs and headers.
//!
//! Every track is a media playlist of its own. Segments of all tracks carry the same media sequence
//! numbers: the leader (the first video track, or else the first audio track) cuts at its first
//! keyframe once [`Config::segment_us_min`] is over, and the others follow at that time.

mod answers;
mod config;
mod multivariant;
mod opening;
mod packager;
mod part_target;
mod playlist;
mod request;
mod response;
mod track;

pub use config::Config;
pub use multivariant::{AudioInfo, RenditionInfo, VideoInfo, multivariant};
pub use opening::Opening;
pub use packager::{Event, Output, Packager, Stats};
pub use request::{Request, Resource, Wanted};
pub use response::{Reply, Response, Until};
