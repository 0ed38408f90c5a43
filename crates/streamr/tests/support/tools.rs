//! Programs of other people: they publish and play as everybody's do.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::eventually;

/// A program that runs beside the test; killed when dropped.
pub(crate) struct Tool {
    name: String,
    child: Child,
}

impl Tool {
    /// Starts it; what it says is kept for `ended`.
    pub(crate) fn start(name: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(name);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().unwrap_or_else(|error| panic!("{}", absent(name, &error)));
        Self { name: name.to_owned(), child }
    }

    /// SIGINT: it says goodbye.
    pub(crate) fn stop(&self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
    }

    /// SIGKILL: it says goodbye to nobody.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("our own child").is_none()
    }

    /// Waits for its end: how, and what it complained about.
    pub(crate) fn ended(mut self) -> (ExitStatus, String) {
        let what = format!("{} ends by itself", self.name);
        let child = &mut self.child;
        let status = eventually(&what, || child.try_wait().expect("our own child"));
        let status = status.unwrap_or_else(|what| panic!("{what}"));
        let mut text = String::new();
        if let Some(pipe) = &mut self.child.stderr {
            let _ = pipe.read_to_string(&mut text);
        }
        (status, text)
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn absent(name: &str, error: &std::io::Error) -> String {
    format!("{name} is needed by this test and does not start ({error}): `cargo xtask setup`")
}

/// Runs a program to its end.
pub(crate) fn run(name: &str, arguments: &[&str]) -> Output {
    let output = Command::new(name).args(arguments).stdin(Stdio::null()).output();
    output.unwrap_or_else(|error| panic!("{}", absent(name, &error)))
}

/// A certificate for localhost and its key, `cert.pem` and `key.pem`, by openssl.
pub(crate) fn certificate(folder: &Path, issuer: &str) {
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let subject = format!("/CN={issuer}");
    let output = run(
        "openssl",
        &[
            &["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"][..],
            &["-nodes", "-days", "2", "-subj", &subject],
            &["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=CA:FALSE"],
            &["-out", &cert.to_string_lossy(), "-keyout", &key.to_string_lossy()],
        ]
        .concat(),
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// ffmpeg that publishes pictures and a tone in real time, a keyframe every second, until killed.
pub(crate) fn ffmpeg_publishes(url: &str) -> Tool {
    let picture = ["-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30"];
    let sound = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"];
    let video = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "30", "-pix_fmt", "yuv420p"];
    let audio = ["-c:a", "aac", "-b:a", "64k"];
    let out = ["-f", "flv", url];
    let quiet = ["-nostdin", "-v", "error"];
    Tool::start("ffmpeg", &[&quiet[..], &picture, &sound, &video, &audio, &out].concat())
}

/// What ffprobe says about an address, as JSON.
pub(crate) fn ffprobe(url: &str) -> serde_json::Value {
    let arguments = ["-v", "error", "-show_streams", "-of", "json", url];
    let output = run("ffprobe", &arguments);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ffprobe {url}: {complaints}");
    serde_json::from_slice(&output.stdout).expect("ffprobe writes JSON")
}

/// Decodes `seconds` of an address with ffmpeg; its complaints, empty if there were none.
pub(crate) fn ffmpeg_plays(url: &str, seconds: u32) -> String {
    let seconds = seconds.to_string();
    let input = ["-nostdin", "-v", "error", "-xerror", "-i", url, "-t", &seconds];
    // As the stream has them: ffmpeg complains about times that it rounded itself.
    let out = ["-fps_mode", "passthrough", "-enc_time_base", "-1", "-f", "null", "-"];
    let output = run("ffmpeg", &[&input[..], &out].concat());
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ffmpeg plays {url}: {complaints}");
    complaints.into_owned()
}

/// The same with about 30 Mbit/s that compress badly.
pub(crate) fn ffmpeg_publishes_much(url: &str) -> Tool {
    let source = "testsrc2=size=320x180:rate=30,noise=alls=60:allf=t";
    let picture = ["-re", "-f", "lavfi", "-i", source];
    let video = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "30", "-pix_fmt", "yuv420p"];
    let out = ["-bf", "0", "-qp", "1", "-f", "flv", url];
    let quiet = ["-nostdin", "-v", "error"];
    Tool::start("ffmpeg", &[&quiet[..], &picture, &video, &out].concat())
}

/// The number of the newest whole segment in a playlist.
pub(crate) fn newest_segment(playlist: &str) -> Option<u64> {
    let mut uris = playlist.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let name = uris.next_back()?.rsplit('/').next()?;
    name.split(['-', '.']).nth(1)?.parse().ok()
}

/// Reads FLV as it comes and sees what is missing in the video.
#[derive(Debug, Default)]
pub(crate) struct FlvCheck {
    /// Bytes so far.
    pub(crate) bytes: u64,
    /// Video tags so far.
    pub(crate) frames: u64,
    /// Jumps of more than two frames of 30 a second.
    pub(crate) gaps: u64,
    /// Jumps that did not land on a keyframe.
    pub(crate) gaps_without_key: u64,
    rest: Vec<u8>,
    started: bool,
    last_ms: Option<u32>,
}

impl FlvCheck {
    /// More bytes of the answer, its head included.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.rest.extend_from_slice(bytes);
        if !self.started {
            let head = self.rest.windows(4).position(|four| four == b"\r\n\r\n");
            let Some(end) = head.filter(|end| self.rest.len() >= end + 4 + 13) else { return };
            assert!(self.rest[end + 4..].starts_with(b"FLV\x01"), "this is no FLV");
            self.rest.drain(..end + 4 + 13);
            self.started = true;
        }
        let mut at = 0;
        while let Some(header) = self.rest.get(at..at + 11) {
            let size = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
            let ms = u32::from_be_bytes([header[7], header[4], header[5], header[6]]);
            let kind = header[0];
            let Some(body) = self.rest.get(at + 11..at + 11 + size + 4) else { break };
            let length = u32::from_be_bytes([0, 1, 2, 3].map(|n| body[size + n]));
            assert_eq!(length as usize, size + 11, "the framing of FLV broke");
            let (first, sequence_header) = (body[0], body[1] == 0);
            at += 11 + size + 4;
            if kind == 9 && !sequence_header {
                self.frame(ms, first >> 4 == 1);
            }
        }
        self.rest.drain(..at);
    }

    fn frame(&mut self, ms: u32, key: bool) {
        self.frames += 1;
        if self.last_ms.is_some_and(|last| ms.abs_diff(last) > 70) {
            self.gaps += 1;
            self.gaps_without_key += u64::from(!key);
        }
        self.last_ms = Some(ms);
    }
}

/// A library that, loaded before the system's, refuses to write the database's files while the file
/// named by `TEST_READ_ONLY` is there, with what a disk says that was remounted read-only.
pub(crate) fn shim(folder: &Path) -> PathBuf {
    let (source, library) = (folder.join("shim.c"), folder.join("shim.so"));
    std::fs::write(&source, include_str!("read_only.c")).expect("our own folder");
    let paths = [source.display().to_string(), library.display().to_string()];
    let output = run("cc", &["-shared", "-fPIC", "-O1", "-o", &paths[1], &paths[0], "-ldl"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library
}
