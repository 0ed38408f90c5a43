//! The real binary on free ports of this machine, and the real tools against it.
#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod http;
pub(crate) mod rtmp;
pub(crate) mod tools;

use std::fs::File;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// What a test waits for at most. Not a measure of speed: far more than a busy machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(100);
/// Another program may take a port between the look and the start.
const TRIES: usize = 3;

/// A running `streamr serve`; killed when dropped.
pub(crate) struct Server {
    /// Where the API and the pages are.
    pub(crate) http: SocketAddr,
    /// Where publishers and players connect.
    pub(crate) rtmp: SocketAddr,
    /// Where SRT publishers send to.
    pub(crate) srt: SocketAddr,
    /// The key of the stream `main`.
    pub(crate) key: String,
    /// The admin token.
    pub(crate) token: String,
    settings: Vec<String>,
    disk: Disk,
    dir: TempDir,
    child: Child,
}

/// What the data folder lies on.
#[derive(Clone, Copy)]
enum Disk {
    Common,
    /// KiB.
    Small(u32),
    TurnsReadOnly,
    /// Whatever the command makes of the folder.
    Of(fn(&Path) -> Command),
}

/// Names the file whose being there makes the database's files read-only, and is its name.
const READ_ONLY: &str = "TEST_READ_ONLY";

impl Server {
    /// With defaults, apart from ports, the folder, and thumbnails, which cost an ffmpeg each.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// With `key=value` settings.
    pub(crate) fn start_with(settings: &[&str]) -> Self {
        Self::start_on(Disk::Common, settings)
    }

    /// With a data folder of its own small file system, which only its process sees: see
    /// [`Server::small_disk`].
    pub(crate) fn start_on_small_disk(kib: u32, settings: &[&str]) -> Self {
        Self::start_on(Disk::Small(kib), settings)
    }

    /// On a disk that [`Server::turn_disk_read_only`] can turn.
    pub(crate) fn start_on_a_disk_that_turns_read_only(settings: &[&str]) -> Self {
        Self::start_on(Disk::TurnsReadOnly, settings)
    }

    /// By another command, which is told the data folder and nothing else about it.
    pub(crate) fn start_by(command: fn(&Path) -> Command) -> Self {
        Self::start_on(Disk::Of(command), &[])
    }

    /// As the kernel does with a disk that fails: no file can be written any more, open ones
    /// included.
    pub(crate) fn turn_disk_read_only(&self, read_only: bool) {
        let flag = self.dir.path().join(READ_ONLY);
        let turned = if read_only { std::fs::write(flag, "") } else { std::fs::remove_file(flag) };
        turned.expect("our own folder");
    }

    /// The way into that file system for the test.
    pub(crate) fn small_disk(&self) -> PathBuf {
        let data = self.data();
        let inside = data.strip_prefix("/").expect("temporary folders are absolute");
        PathBuf::from(format!("/proc/{}/root", self.pid())).join(inside)
    }

    fn start_on(disk: Disk, settings: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (http, rtmp, srt) = (free_tcp(), free_tcp(), free_udp());
        let mut all = vec![
            format!("data.dir={}", dir.path().join("data").display()),
            format!("http.listen={http}"),
            format!("rtmp.listen={rtmp}"),
            format!("srt.listen={srt}"),
            "webrtc.listen=".to_owned(),
            "ladder.thumbnails=false".to_owned(),
        ];
        all.extend(settings.iter().map(|&setting| setting.to_owned()));
        let child = spawn(dir.path(), &all, disk);
        let (key, token) = (String::new(), String::new());
        let mut server = Self { http, rtmp, srt, key, token, settings: all, disk, dir, child };
        server.await_ready();
        let said = server.said();
        let after = |word: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(word));
            line.unwrap_or_else(|| panic!("no {word:?} in:\n{said}")).trim().to_owned()
        };
        (server.key, server.token) = (after("key "), after("admin "));
        server
    }

    fn await_ready(&mut self) {
        for _ in 0..TRIES {
            let end = Instant::now() + PATIENCE;
            while Instant::now() < end {
                if let Some(answer) = http::try_get(self.http, "/readyz")
                    && answer.status == 200
                {
                    return;
                }
                if self.child.try_wait().expect("our own child").is_some() {
                    break;
                }
                std::thread::sleep(LOOK);
            }
            assert!(self.log().contains("is in use"), "it did not start:\n{}", self.log());
            self.child = spawn(self.dir.path(), &self.settings, self.disk);
        }
        panic!("it did not start in {TRIES} tries:\n{}", self.log());
    }

    /// Starts it again, with the same ports and the same folder.
    pub(crate) fn restart(&mut self) {
        assert!(self.child.try_wait().expect("our own child").is_some(), "it still runs");
        self.child = spawn(self.dir.path(), &self.settings, self.disk);
        self.await_ready();
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let log = self.log_path();
        let child = &mut self.child;
        eventually("the server ends after SIGTERM", || child.try_wait().expect("our own child"))
            .unwrap_or_else(|what| panic!("{what}:\n{}", read(&log)))
    }

    /// Any other signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("our own child");
    }

    /// Its process, for those who look into /proc.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("our own child").is_none()
    }

    /// Its data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A folder for the test itself.
    pub(crate) fn scratch(&self) -> &Path {
        self.dir.path()
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        read(&self.log_path())
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// What it printed so far.
    pub(crate) fn said(&self) -> String {
        read(&self.dir.path().join("said"))
    }

    /// Where to publish the stream `main`.
    pub(crate) fn publish_url(&self) -> String {
        format!("rtmp://{}/live/{}", self.rtmp, self.key)
    }

    /// Where RTMP players play it.
    pub(crate) fn play_url(&self) -> String {
        format!("rtmp://{}/live/main", self.rtmp)
    }

    /// An address below its pages.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// GET, which has to be answered.
    pub(crate) fn get(&self, path: &str) -> http::Answer {
        http::try_get(self.http, path)
            .unwrap_or_else(|| panic!("GET {path} had no answer:\n{}", self.log()))
    }

    /// A request with the admin token.
    pub(crate) fn admin(&self, method: &str, path: &str, body: &str) -> http::Answer {
        let token = format!("Bearer {}", self.token);
        http::request(self.http, method, path, &[("Authorization", &token)], body)
            .unwrap_or_else(|| panic!("{method} {path} had no answer:\n{}", self.log()))
    }

    /// What the API says of the stream `main`.
    pub(crate) fn stream(&self) -> serde_json::Value {
        self.get("/api/v1/streams/main").json()
    }

    /// The state of the stream `main`.
    pub(crate) fn state(&self) -> String {
        self.stream()["state"].as_str().unwrap_or_default().to_owned()
    }

    /// The newest video playlist, empty if there is none yet.
    pub(crate) fn playlist(&self) -> String {
        let answer = self.get("/hls/main/source/video0.m3u8");
        if answer.status == 200 { answer.text() } else { String::new() }
    }

    /// Waits for something to be there; panics with `what` and the log if it does not come.
    pub(crate) fn eventually<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        eventually(what, look).unwrap_or_else(|what| panic!("{what}; the log:\n{}", self.log()))
    }

    /// Waits until a playlist has media in it.
    pub(crate) fn await_media(&self) {
        self.eventually("HLS has a segment", || self.playlist().contains("#EXTINF").then_some(()));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `streamr` with these arguments, apart from the environment of whoever runs the tests.
pub(crate) fn streamr(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_streamr"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STREAMR_") {
            command.env_remove(name);
        }
    }
    command.args(arguments);
    command
}

fn spawn(dir: &Path, settings: &[String], disk: Disk) -> Child {
    let file = |name: &str| {
        File::options().create(true).append(true).open(dir.join(name)).expect("our own folder")
    };
    let mut command = match disk {
        Disk::Common | Disk::TurnsReadOnly => streamr(&["serve"]),
        Disk::Small(kib) => on_small_disk(kib, &dir.join("data"), &streamr(&["serve"])),
        Disk::Of(command) => command(&dir.join("data")),
    };
    if let Disk::TurnsReadOnly = disk {
        command.env("LD_PRELOAD", tools::shim(dir)).env(READ_ONLY, dir.join(READ_ONLY));
    }
    let told =
        |setting: &&String| !matches!(disk, Disk::Of(_)) || !setting.starts_with("data.dir=");
    command.args(settings.iter().filter(told).flat_map(|setting| ["--set", setting]));
    command.stdout(file("said")).stderr(file("log")).spawn().expect("the binary of this build")
}

/// Mounts a file system at `data` in namespaces of the command's own, which needs no rights. The
/// process stays the same one from here to the command.
fn on_small_disk(kib: u32, data: &Path, inner: &Command) -> Command {
    std::fs::create_dir_all(data).expect("our own folder");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    command.arg(format!("mount -t tmpfs -o size={kib}k tmpfs \"$0\" && exec \"$@\"")).arg(data);
    command.arg(inner.get_program()).args(inner.get_args());
    for (key, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    command
}

/// Waits for something to be there.
///
/// # Errors
/// A sentence with `what` in it: it did not come.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T, String> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() > end {
            return Err(format!("waited {} s in vain: {what}", PATIENCE.as_secs()));
        }
        std::thread::sleep(LOOK);
    }
}

/// A TCP address that nobody listens on.
pub(crate) fn free_tcp() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|s| s.local_addr()).expect("a free port")
}

/// A UDP address that nobody listens on.
pub(crate) fn free_udp() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").and_then(|s| s.local_addr()).expect("a free port")
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}
