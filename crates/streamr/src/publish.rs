//! `streamr publish`: a file goes out over RTMP or RTMPS as if it were live.

mod file;
mod reel;
mod session;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;
use streamr_media::rtmp::Url;

use crate::net::Dialer;
use reel::Reel;

/// Publish a file over RTMP in real time.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// MP4 or FLV file (H.264, HEVC, AV1, VP9; AAC, Opus).
    pub(crate) file: PathBuf,
    /// rtmp://host/live/KEY or rtmps://host/live/KEY.
    pub(crate) url: String,
    /// Begin anew at the end, until stopped.
    #[arg(long = "loop")]
    pub(crate) endless: bool,
    /// Write the time of sending into each picture, so that `streamr watch` can measure latency.
    #[arg(long)]
    pub(crate) stamp: bool,
    /// Stop after this many seconds.
    #[arg(long)]
    pub(crate) seconds: Option<f64>,
    /// PEM file with a certificate to trust besides the public ones.
    #[arg(long)]
    pub(crate) ca: Option<PathBuf>,
    /// Print what was sent as one JSON object at the end, and no progress.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What was sent. The JSON of `streamr publish --json` is this struct.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Sent {
    /// Where to, without the key.
    pub(crate) url: String,
    /// How long, in seconds.
    pub(crate) seconds: f64,
    /// Frames of picture and sound.
    pub(crate) frames: u64,
    /// Bytes of media.
    pub(crate) bytes: u64,
    /// How often the file was played from end to end.
    pub(crate) turns: i64,
    /// The most that a frame was sent after it was due, in milliseconds: a server that takes
    /// too slowly, or a machine that is too busy.
    pub(crate) late_ms_max: f64,
}

/// Runs the command.
///
/// # Errors
/// What to do about a file that cannot be read, or a server that refuses, in words.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let url: Url = args.url.parse().with_context(|| {
        format!("{:?} is not an address to publish to: rtmp://host/live/KEY", args.url)
    })?;
    let name = args.file.display();
    let (tracks, frames) = file::load(&args.file)?;
    let reel = Reel::new(tracks, frames, args.endless)
        .with_context(|| format!("{name} holds no picture and no sound that can be sent"))?;
    let until = args.seconds.map(Duration::try_from_secs_f64).transpose()?;
    let socket = Dialer::new(args.ca.as_deref())?.dial(&url.host, url.port, url.tls).await?;
    let progress = if args.json { None } else { Some(crate::progress::spinner()) };
    let job = session::Job { url, reel, stamp: args.stamp, until };
    let tell = |sent: &Sent| {
        if let Some(progress) = &progress {
            progress.set_message(sent.to_string());
        }
    };
    let sent = session::publish(job, socket, tell).await?;
    match progress {
        None => crate::term::print(&serde_json::to_string(&sent)?),
        Some(progress) => progress.finish_with_message(sent.to_string()),
    }
    Ok(ExitCode::SUCCESS)
}

impl std::fmt::Display for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mbit = self.bytes as f64 * 8.0 / 1e6 / self.seconds.max(0.001);
        write!(
            f,
            "{} · {:.0} s · {mbit:.2} Mbit/s · {} frames · turn {} · at most {:.0} ms late",
            self.url,
            self.seconds,
            self.frames,
            self.turns + 1,
            self.late_ms_max
        )
    }
}
