//! A server with one stream, in a folder of its own, and the sample that is published to it.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::sh;

/// The demo's only stream.
pub(super) const STREAM: &str = "demo";

/// How long a debug build on a busy machine may take to come up, or to go live.
const PATIENCE: Duration = Duration::from_secs(60);

/// Builds the binary and returns its path.
pub(super) fn build(dev: bool) -> Result<PathBuf> {
    let mut args = vec!["build", "--locked", "--package", "streamr"];
    if !dev {
        args.push("--release");
    }
    sh::run(sh::cargo(&args))?;
    Ok(target().join(if dev { "debug" } else { "release" }).join("streamr"))
}

/// Builds the native peer that a browser talks to by data channels.
pub(super) fn peer() -> Result<PathBuf> {
    let args = ["build", "--locked", "--package", "psyne-rtc", "--example", "peer"];
    sh::run(sh::cargo(&args))?;
    Ok(target().join("debug/examples/peer"))
}

/// Builds the native side of the example chat.
pub(super) fn chat() -> Result<PathBuf> {
    sh::run(sh::cargo(&["build", "--locked", "--package", "examples", "--bin", "chat"]))?;
    Ok(target().join("debug/chat"))
}

/// Where cargo puts what it builds.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or(sh::root().join("target"), PathBuf::from)
}

/// Where the server listens on loopback.
pub(super) struct Ports {
    http: u16,
    rtmp: u16,
}

impl Ports {
    /// 8080 and 1935, or whatever is free where those are taken.
    pub(super) fn usual_or_free() -> Result<Self> {
        let free = Self::free()?;
        let or = |usual: u16, other: u16| {
            TcpListener::bind((Ipv4Addr::LOCALHOST, usual)).map_or(other, |_| usual)
        };
        Ok(Self { http: or(8080, free.http), rtmp: or(1935, free.rtmp) })
    }

    /// Two ports that are free now.
    pub(super) fn free() -> Result<Self> {
        let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port");
        let (http, rtmp) = (bind()?, bind()?);
        Ok(Self { http: http.local_addr()?.port(), rtmp: rtmp.local_addr()?.port() })
    }

    /// Flags that make a server listen there, and nowhere else.
    pub(super) fn settings(&self) -> Vec<String> {
        vec![
            format!("--set=http.listen=127.0.0.1:{}", self.http),
            format!("--set=rtmp.listen=127.0.0.1:{}", self.rtmp),
            "--set=srt.listen=".to_owned(),
            "--set=webrtc.listen=".to_owned(),
        ]
    }

    /// The body of a 200.
    pub(super) fn get(&self, path: &str) -> Result<String> {
        get(self.http, path)
    }
}

/// A running server and its publisher; both end with it.
pub(super) struct Site {
    streamr: PathBuf,
    settings: Vec<String>,
    data: PathBuf,
    ports: (u16, u16),
    key: String,
    server: Child,
    publisher: Option<Child>,
}

impl Site {
    /// Makes the stream and starts the server on an empty folder.
    pub(super) fn start(streamr: &Path, ports: &Ports) -> Result<Self> {
        Self::start_with(streamr, ports, &[])
    }

    /// The same with further flags.
    pub(super) fn start_with(streamr: &Path, ports: &Ports, more: &[&str]) -> Result<Self> {
        let data = sh::root().join("target/demo").join(ports.http.to_string());
        if data.exists() {
            std::fs::remove_dir_all(&data).context("the last demo's folder")?;
        }
        std::fs::create_dir_all(&data)?;
        let mut settings = ports.settings();
        settings.push(format!("--set=data.dir={}", data.display()));
        settings.extend(more.iter().map(|&flag| flag.to_owned()));
        let key = add_stream(streamr, &settings)?;
        let server = serve(streamr, &settings, ports.http)?;
        let ports = (ports.http, ports.rtmp);
        Ok(Self {
            streamr: streamr.to_owned(),
            settings,
            data,
            ports,
            key,
            server,
            publisher: None,
        })
    }

    /// The pages' address.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.0)
    }

    /// A folder that is emptied before each start.
    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// What encoders want to know.
    pub(super) fn rtmp_server_and_key(&self) -> (String, &str) {
        (format!("rtmp://127.0.0.1:{}/live", self.ports.1), &self.key)
    }

    /// The stream for RTMP players.
    pub(super) fn rtmp_url(&self) -> String {
        format!("rtmp://127.0.0.1:{}/live/{STREAM}", self.ports.1)
    }

    /// Loops the sample to the server, each frame stamped with its send time.
    pub(super) fn publish(&mut self) -> Result<()> {
        let (server, key) = self.rtmp_server_and_key();
        let to = format!("{server}/{key}");
        let mut command = self.streamr(&["publish", "assets/clapper.mp4", &to]);
        command.args(["--loop", "--stamp", "--json"]).stdout(Stdio::null());
        self.publisher = Some(command.spawn().context("streamr publish")?);
        Ok(())
    }

    /// Waits until the stream can be played.
    pub(super) fn await_live(&mut self) -> Result<()> {
        await_that("the stream goes live", || {
            self.check_children()?;
            Ok(get(self.ports.0, &format!("/hls/{STREAM}/index.m3u8")).is_ok())
        })
    }

    /// Waits until players that know nothing of parts can begin, too.
    pub(super) fn await_segment(&mut self) -> Result<()> {
        await_that("HLS has a segment", || {
            self.check_children()?;
            let playlist = get(self.ports.0, &format!("/hls/{STREAM}/source/video0.m3u8"));
            Ok(playlist.is_ok_and(|text| text.contains("#EXTINF")))
        })
    }

    /// Waits for Ctrl-C, which ends the children as well; an error if one ends by itself.
    pub(super) fn wait(&mut self) -> Result<()> {
        loop {
            self.check_children()?;
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// The stream as the API has it.
    pub(super) fn stream(&self) -> Result<Value> {
        Ok(serde_json::from_str(&get(self.ports.0, &format!("/api/v1/streams/{STREAM}"))?)?)
    }

    /// The list of streams as the API has it.
    pub(super) fn streams(&self) -> Result<Value> {
        Ok(serde_json::from_str(&get(self.ports.0, "/api/v1/streams")?)?)
    }

    /// Shell commands with which a browser case stops and starts the publisher and the server.
    pub(super) fn commands(&self) -> [(&'static str, String); 3] {
        let publish = format!(
            "publish assets/clapper.mp4 rtmp://127.0.0.1:{}/live/{}",
            self.ports.1, self.key
        );
        let streamr = self.streamr.display();
        let (root, log) = (sh::root(), self.data.join("restarted.log"));
        let (root, log) = (root.display(), log.display());
        let start = |what: &str| format!("cd '{root}' && '{streamr}' {what} >>'{log}' 2>&1 &");
        let publisher = start(&format!("{publish} --loop --stamp --json"));
        let server = start(&format!("serve '{}'", self.settings.join("' '")));
        let stop =
            |what: &str| format!("pkill -KILL -f '[s]treamr {what}.*127.0.0.1:{}'", self.ports.1);
        let (stop_publisher, stop_server) = (stop("publish"), stop("serve"));
        let ready = format!(
            "for try in $(seq 300); do curl -sf {}/readyz >/dev/null && break; sleep 0.1; done",
            self.url()
        );
        let restart =
            format!("{stop_server}; {stop_publisher}; sleep 1; {server} {ready}; {publisher}");
        [
            ("PUBLISHER_STOP", stop_publisher),
            ("PUBLISHER_START", publisher),
            ("SERVER_RESTART", restart),
        ]
    }

    /// A command of the binary under test.
    pub(super) fn streamr(&self, args: &[&str]) -> Command {
        sh::cmd(&self.streamr.to_string_lossy(), args)
    }

    fn check_children(&mut self) -> Result<()> {
        if let Some(status) = self.server.try_wait()? {
            bail!("the server ended by itself: {status}");
        }
        if let Some(publisher) = &mut self.publisher
            && let Some(status) = publisher.try_wait()?
        {
            bail!("the publisher ended by itself: {status}");
        }
        Ok(())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for child in self.publisher.iter_mut().chain([&mut self.server]) {
            // It may have ended already, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
        // Those that a browser case started anew are not our children.
        for (name, command) in self.commands() {
            if name == "SERVER_RESTART" {
                let stop = command.split(" sleep 1;").next().unwrap_or_default().to_owned();
                let _ = sh::cmd("sh", &["-c", &stop]).status();
            }
        }
    }
}

/// Looks until it is so.
pub(super) fn await_that(what: &str, mut look: impl FnMut() -> Result<bool>) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if look()? {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("waited {} s in vain: {what}", PATIENCE.as_secs())
}

fn add_stream(streamr: &Path, settings: &[String]) -> Result<String> {
    let mut command = sh::cmd(&streamr.to_string_lossy(), &["stream"]);
    command.args(settings).args(["--json", "add", STREAM, "--title", "Clapperboard"]);
    let made: Value = serde_json::from_str(&sh::output(command)?)?;
    Ok(made["key"].as_str().context("streamr stream add --json printed no key")?.to_owned())
}

fn serve(streamr: &Path, settings: &[String], http: u16) -> Result<Child> {
    let mut command = sh::cmd(&streamr.to_string_lossy(), &["serve"]);
    let mut server =
        command.args(settings).stdout(Stdio::null()).spawn().context("streamr serve")?;
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if get(http, "/readyz").is_ok() {
            return Ok(server);
        }
        if let Some(status) = server.try_wait()? {
            bail!("streamr serve: {status}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    server.kill()?;
    bail!("streamr serve was not ready within {} s", PATIENCE.as_secs())
}

/// A GET without a library: the body of a 200, an error otherwise.
fn get(port: u16, path: &str) -> Result<String> {
    use std::io::{Read, Write};
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut reply = String::new();
    socket.read_to_string(&mut reply)?;
    let (head, body) = reply.split_once("\r\n\r\n").context("no HTTP reply")?;
    if !head.starts_with("HTTP/1.1 200") {
        bail!("GET {path}: {}", head.lines().next().unwrap_or_default());
    }
    Ok(body.to_owned())
}
