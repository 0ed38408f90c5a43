//! Smaller renditions of a broadcast, made by ffmpeg.
//!
//! Each rung is a child process of its own between two pipes: the FLV that players get goes in,
//! FLV of the rung comes out and is packaged like the source. Nothing waits for a child: it reads
//! the fan-out as a player does, and when it falls behind or dies, its rung leaves the multivariant
//! playlist, the source plays on, and the rung is tried again. A child ends with the server,
//! however that ends, because its input does.
//!
//! What FLV was not made for (HEVC, AV1, VP9) is read by ffmpeg from version 6.1 on. Before that,
//! broadcasts with these have their source only, and the log says so.

use std::process::Stdio;
use std::sync::{Arc, Weak};
use std::time::Duration;

use streamr_media::fanout::{Framing, Reader};
use streamr_media::flv;
use streamr_media::media::{Codec, Demux, Event, Format};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use super::broadcast::Broadcast;

/// Which rungs are made, and when they are given up.
#[derive(Clone, Debug)]
pub struct Config {
    /// ffmpeg: a program in the path, or the path of one.
    pub ffmpeg: String,
    /// Heights of the rungs, in pixels.
    pub heights: Vec<u16>,
    /// One place for each broadcast that may have a ladder.
    pub places: Arc<Semaphore>,
    /// A rung that is further behind the source is started anew: viewers would notice it as a
    /// jump when their player changes to it.
    pub lag_max: Duration,
    /// A child that takes nothing for so long is ended.
    pub stall_max: Duration,
    /// Address space of a child, in KiB. 3 GiB encode 1080p with 16 threads.
    pub memory_kib_max: u32,
    /// A rung that failed is tried again after this, then after twice as long, …
    pub pause: Duration,
    /// … but never later than that.
    pub pause_max: Duration,
    /// Failures in a row after which a rung is given up for the broadcast. One that ran for
    /// `pause_max` starts counting anew.
    pub failures_max: u32,
}

impl Config {
    /// For these heights in at most `streams_max` broadcasts at once.
    #[must_use]
    pub fn new(ffmpeg: String, heights: Vec<u16>, streams_max: usize) -> Self {
        Self {
            ffmpeg,
            heights,
            places: Arc::new(Semaphore::new(streams_max)),
            lag_max: Duration::from_secs(6),
            stall_max: Duration::from_secs(10),
            memory_kib_max: 3 << 20,
            pause: Duration::from_secs(1),
            pause_max: Duration::from_secs(60),
            failures_max: 10,
        }
    }
}

/// The height that the name of a rung means: `480p` is 480.
#[must_use]
pub fn height(name: &str) -> Option<u16> {
    let height: u16 = name.strip_suffix('p')?.parse().ok()?;
    ((64..=4_320).contains(&height) && height.is_multiple_of(2)).then_some(height)
}

/// Keeps the ladder of a broadcast until it is over or let go.
pub(super) async fn keep(config: Config, broadcast: Weak<Broadcast>) {
    let Ok(_place) = config.places.clone().try_acquire_owned() else {
        tracing::warn!("ladder.streams_max are transcoded: this broadcast has its source only");
        return;
    };
    let (codec, source_height) = loop {
        let Some(broadcast) = on_air(&broadcast) else { return };
        if let Some(found) = picture(&broadcast) {
            break found;
        }
        drop(broadcast);
        sleep(POLL).await;
    };
    if codec != Codec::H264 && !reads_enhanced_flv(&version(&config).await) {
        tracing::warn!(
            "ffmpeg before 6.1 cannot transcode {codec:?}: this broadcast has its source only; \
             publish H.264, or set ladder.ffmpeg to a newer one"
        );
        return;
    }
    let mut rungs = tokio::task::JoinSet::new();
    for &height in config.heights.iter().filter(|height| **height < source_height) {
        rungs.spawn(hold(config.clone(), broadcast.clone(), height));
    }
    while rungs.join_next().await.is_some() {}
}

/// Codec and height of the first picture track.
fn picture(broadcast: &Broadcast) -> Option<(Codec, u16)> {
    broadcast.tracks().into_iter().find_map(|track| match track.format {
        Format::Video { height, .. } => Some((track.codec, height)),
        Format::Audio { .. } => None,
    })
}

/// What ffmpeg says of itself; nothing if it cannot be started, which its rungs will tell.
async fn version(config: &Config) -> String {
    let said = Command::new(&config.ffmpeg).arg("-version").stdin(Stdio::null()).output();
    match timeout(config.stall_max, said).await {
        Ok(Ok(output)) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(Err(_)) | Err(_) => String::new(),
    }
}

/// Whether an ffmpeg of this version reads HEVC, AV1 and VP9 in FLV. Builds that are not numbered
/// are newer than any number.
fn reads_enhanced_flv(version: &str) -> bool {
    let number = version.strip_prefix("ffmpeg version ").unwrap_or_default();
    let mut digits = number.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (digits.next(), digits.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (6, 1),
        (Some(Ok(major)), _) => major > 6,
        _ => true,
    }
}

const POLL: Duration = Duration::from_millis(200);
/// As often as the engine writes to players.
const WRITE_EVERY: Duration = Duration::from_millis(40);
const READ_BYTES: usize = 64 << 10;

fn on_air(broadcast: &Weak<Broadcast>) -> Option<Arc<Broadcast>> {
    broadcast.upgrade().filter(|broadcast| !broadcast.is_over())
}

/// Keeps one rung.
async fn hold(config: Config, broadcast: Weak<Broadcast>, height: u16) {
    let name = format!("{height}p");
    let (mut failures, mut pause) = (0, config.pause);
    while let Some(broadcast) = on_air(&broadcast) {
        let began = Instant::now();
        let ended = transcode(&config, &broadcast, &name, height).await;
        broadcast.remove_rendition(&name);
        if broadcast.is_over() {
            return;
        }
        if matches!(ended, Ended::Returned) {
            continue;
        }
        broadcast.metrics().ladder_failed_total.inc();
        if began.elapsed() >= config.pause_max {
            (failures, pause) = (0, config.pause);
        }
        failures += 1;
        let stream = broadcast.name().clone();
        if failures >= config.failures_max {
            tracing::error!(%stream, rung = name, %ended, "the rung is given up");
            return;
        }
        tracing::warn!(%stream, rung = name, %ended, "the rung is tried again in {pause:?}");
        drop(broadcast);
        sleep(pause).await;
        pause = (pause * 2).min(config.pause_max);
    }
}

/// Why a child is no more.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("ffmpeg cannot be started: {0}")]
    Start(std::io::Error),
    #[error("ffmpeg ended")]
    Gone,
    #[error("ffmpeg takes nothing")]
    Stalled,
    #[error("ffmpeg is too far behind the source")]
    Behind,
    #[error("ffmpeg gave what cannot be used: {0}")]
    Media(streamr_media::Error),
    #[error("the publisher is back with a clock of its own")]
    Returned,
    #[error("the broadcast is over")]
    Over,
}

async fn transcode(config: &Config, broadcast: &Broadcast, name: &str, height: u16) -> Ended {
    let mut child = match command(config, height).spawn() {
        Ok(child) => child,
        Err(error) => return Ended::Start(error),
    };
    let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Ended::Gone;
    };
    tracing::debug!(rung = name, pid = child.id(), "a rung begins");
    // The child is killed when it is dropped, and reaped by the runtime.
    tokio::select! {
        ended = feed(config, broadcast, stdin) => ended,
        ended = read(config, broadcast, name, stdout) => ended,
    }
}

/// Writes the source to a child, as to an HTTP-FLV player.
async fn feed(config: &Config, broadcast: &Broadcast, mut stdin: ChildStdin) -> Ended {
    let returns = broadcast.returns();
    let mut window = broadcast.players().window();
    let mut reader = Reader::new(Framing::Flv, flv::file::HEADER.to_vec().into());
    while !broadcast.is_over() {
        broadcast.players().follow(&mut window);
        while let Some(bytes) = reader.peek(&window) {
            match timeout(config.stall_max, stdin.write(bytes)).await {
                Ok(Ok(count @ 1..)) => reader.advance(count),
                Ok(Ok(0) | Err(_)) => return Ended::Gone,
                Err(_) => return Ended::Stalled,
            }
        }
        if broadcast.returns() != returns {
            return Ended::Returned;
        }
        sleep(WRITE_EVERY).await;
    }
    Ended::Over
}

/// Packages what a child makes. Its times are those of the source, so a rung's clock is the
/// source's at the same picture, however late that comes out.
async fn read(
    config: &Config,
    broadcast: &Broadcast,
    name: &str,
    mut stdout: ChildStdout,
) -> Ended {
    let mut demuxer = flv::Demuxer::new(flv::Config::default());
    let mut buffer = vec![0; READ_BYTES];
    let mut rendition = None;
    loop {
        let bytes = match stdout.read(&mut buffer).await {
            Ok(count @ 1..) => buffer.get(..count).unwrap_or_default(),
            Ok(0) | Err(_) => return Ended::Gone,
        };
        if let Err(error) = demuxer.push(bytes) {
            return Ended::Media(error);
        }
        let events = std::iter::from_fn(|| demuxer.poll_event());
        let events: Vec<_> = events.filter(|event| *event != Event::End).collect();
        let newest = events.iter().filter_map(|event| match event {
            Event::Frame(frame) => u64::try_from(frame.dts_us).ok(),
            _ => None,
        });
        let newest = newest.max().map(Duration::from_micros);
        if newest.is_some_and(|newest| newest + config.lag_max < broadcast.newest()) {
            return Ended::Behind;
        }
        let at = broadcast.started() + newest.unwrap_or_default();
        let rung = rendition.get_or_insert_with(|| broadcast.add_rendition(name, at));
        if let Err(error) = rung.handle_events_at(at, events) {
            return Ended::Media(error);
        }
    }
}

/// The shell sets the limits that bind the child alone; it is replaced by the child.
fn command(config: &Config, height: u16) -> Command {
    let limits = format!("ulimit -v {} && exec nice -n 10 \"$0\" \"$@\"", config.memory_kib_max);
    // A tenth of a bit for each pixel of a 16:9 picture at 30 frames a second.
    let kilobits = u32::from(height) * u32::from(height) / 200;
    let (rate, buffer) = (format!("{kilobits}k"), format!("{}k", kilobits * 2));
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(limits).arg(&config.ffmpeg);
    command.args(["-hide_banner", "-loglevel", "error", "-fflags", "nobuffer", "-copyts"]);
    command.args(["-analyzeduration", "500000", "-f", "flv", "-i", "pipe:0"]);
    command.args(["-map", "0:v:0", "-map", "0:a:0?", "-vf", &format!("scale=-2:{height}")]);
    command.args(["-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency"]);
    command.args(["-pix_fmt", "yuv420p", "-b:v", &rate, "-maxrate", &rate, "-bufsize", &buffer]);
    // Key frames where the source has them, and nowhere else: segments of all rungs are cut alike.
    command.args(["-force_key_frames", "source", "-sc_threshold", "0", "-g", "100000"]);
    command.args(["-c:a", "copy", "-flvflags", "no_duration_filesize", "-flush_packets", "1"]);
    command.args(["-f", "flv", "pipe:1"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.kill_on_drop(true);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_decoders_are_known_by_their_version() {
        for (version, want) in [
            ("ffmpeg version 5.1.6-0+deb12u1 Copyright (c) 2000-2024", false),
            ("ffmpeg version 6.0", false),
            ("ffmpeg version 6.1.1-3ubuntu5", true),
            ("ffmpeg version 7.0", true),
            ("ffmpeg version 8 Copyright", true),
            ("ffmpeg version N-112345-gabcdef", true),
            ("ffmpeg version git-2026-01-01", true),
            ("", true),
        ] {
            assert_eq!(reads_enhanced_flv(version), want, "{version}");
        }
    }

    #[test]
    fn rungs_are_named_by_their_height() {
        for (name, want) in [
            ("480p", Some(480)),
            ("2160p", Some(2_160)),
            ("481p", None),
            ("16p", None),
            ("9999p", None),
            ("480", None),
            ("p", None),
            ("-480p", None),
        ] {
            assert_eq!(height(name), want, "{name}");
        }
    }
}
