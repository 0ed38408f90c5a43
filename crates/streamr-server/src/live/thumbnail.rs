//! Small pictures of what is on: a key frame, decoded by a short-lived ffmpeg.

use std::process::Stdio;
use std::sync::Weak;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::Broadcast;

/// How thumbnails are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The decoder: a program in the path, or the path of one.
    pub ffmpeg: String,
    /// A new picture of each broadcast this often. One costs about 0.3 s of a core.
    pub every: Duration,
    /// Pixels; the height follows.
    pub width: u16,
    /// A decoder that takes longer is ended.
    pub time_max: Duration,
    /// Address space of the decoder, in KiB. 1 GiB decodes 4K.
    pub memory_kib_max: u32,
    /// A longer picture is not kept.
    pub jpeg_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ffmpeg: "ffmpeg".to_owned(),
            every: Duration::from_secs(10),
            width: 480,
            time_max: Duration::from_secs(5),
            memory_kib_max: 1 << 20,
            jpeg_bytes_max: 256 << 10,
        }
    }
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The program could not be started.
    #[error("the decoder cannot be started: {0}")]
    Start(std::io::Error),
    /// It gave nothing, or too much.
    #[error("the decoder gave no picture of at most jpeg_bytes_max")]
    NoPicture,
    /// It took too long.
    #[error("the decoder took longer than time_max")]
    Slow,
}

/// Makes a new picture of a broadcast every so often, until it is let go.
pub(super) async fn keep_fresh(config: Config, broadcast: Weak<Broadcast>) {
    let mut told = false;
    // The first one soon: a home page without a picture of what just began looks broken.
    let mut pause = Duration::from_secs(2).min(config.every);
    loop {
        tokio::time::sleep(pause).await;
        let Some(broadcast) = broadcast.upgrade().filter(|broadcast| !broadcast.is_over()) else {
            return;
        };
        let Some(pieces) = broadcast.newest_key_frame() else { continue };
        pause = config.every;
        match picture(&config, &pieces).await {
            Ok(jpeg) => broadcast.set_thumbnail(jpeg),
            Err(error) if !told => {
                told = true;
                tracing::warn!(stream = %broadcast.name(), %error, "no thumbnail");
            }
            Err(_) => {}
        }
    }
}

/// Decodes the first picture of a fragmented MP4 (its initialization section, and a segment that
/// begins with a key frame) to a small JPEG.
pub(super) async fn picture(config: &Config, pieces: &[Bytes]) -> Result<Bytes, Error> {
    let child = command(config).spawn().map_err(Error::Start)?;
    let decode = decode(child, pieces, config.jpeg_bytes_max);
    tokio::time::timeout(config.time_max, decode).await.map_err(|_| Error::Slow)?
}

/// Feeds and reads at once: the decoder stops reading as soon as it has its picture.
async fn decode(mut child: Child, pieces: &[Bytes], bytes_max: usize) -> Result<Bytes, Error> {
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(Error::NoPicture);
    };
    let feed = async move {
        for piece in pieces {
            if stdin.write_all(piece).await.is_err() {
                break;
            }
        }
    };
    let mut jpeg = Vec::new();
    let mut stdout = stdout.take(bytes_max as u64 + 1);
    let (_, read) = tokio::join!(feed, stdout.read_to_end(&mut jpeg));
    let whole = jpeg.starts_with(&[0xff, 0xd8]) && jpeg.len() <= bytes_max;
    if read.is_err() || !whole { Err(Error::NoPicture) } else { Ok(jpeg.into()) }
}

/// The shell sets the limits that bind the decoder alone; it is replaced by the decoder.
fn command(config: &Config) -> Command {
    let seconds = config.time_max.as_secs().max(1);
    let limits = format!(
        "ulimit -v {} && ulimit -t {seconds} && exec nice -n 15 \"$0\" \"$@\"",
        config.memory_kib_max
    );
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(limits).arg(&config.ffmpeg);
    command.args(["-hide_banner", "-loglevel", "error", "-threads", "1", "-i", "pipe:0"]);
    command.args(["-frames:v", "1", "-vf", &format!("scale={}:-2", config.width)]);
    command.args(["-f", "mjpeg", "pipe:1"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.kill_on_drop(true);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Bytes {
        let output = std::process::Command::new("ffmpeg")
            .args(["-loglevel", "error", "-f", "lavfi", "-i", "testsrc2=size=640x360", "-t", "1"])
            .args(["-c:v", "libx264", "-movflags", "frag_keyframe+empty_moov", "-f", "mp4", "-"])
            .output()
            .expect("ffmpeg is installed");
        output.stdout.into()
    }

    #[tokio::test]
    async fn a_key_frame_becomes_a_small_jpeg() {
        let jpeg = picture(&Config::default(), &[sample()]).await.expect("a picture");
        assert!(jpeg.starts_with(&[0xff, 0xd8]) && jpeg.len() > 1_000);
    }

    #[tokio::test]
    async fn what_is_no_film_or_no_decoder_gives_no_picture() {
        let junk = Bytes::from_static(&[7; 100_000]);
        let config = Config::default();
        assert!(matches!(picture(&config, &[junk]).await, Err(Error::NoPicture)));
        let absent = Config { ffmpeg: "/nonexistent".to_owned(), ..Config::default() };
        assert!(picture(&absent, &[Bytes::new()]).await.is_err());
        let tiny = Config { jpeg_bytes_max: 10, ..Config::default() };
        assert!(matches!(picture(&tiny, &[sample()]).await, Err(Error::NoPicture)));
    }
}
