//! The servers under test, each started anew on its core for each round.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::fetch;
use crate::proc::{Guard, SERVER_CORE, bound_to_us, on_core};
use crate::report::PeerName;

/// Opens nothing but a server that ends with this run.
const TOKEN: &str = "for-this-bench-only-0123456789";
const START_TIMEOUT: Duration = Duration::from_secs(15);
/// nginx writes chunks of this size; ours announces the same.
const CHUNK_BYTES: u32 = 60_000;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// `streamr serve`.
    Ours,
    /// nginx with its RTMP module.
    Nginx,
}

/// A stream that may be published.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    /// Players ask for it by this.
    pub(crate) name: String,
    /// Publishers by this.
    pub(crate) key: String,
}

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Server {
    /// Its process.
    pub(crate) guard: Guard,
    /// Its addresses.
    pub(crate) rtmp: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    /// What it carries.
    pub(crate) streams: Vec<Stream>,
}

/// Where things lie.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    /// The repository.
    pub(crate) root: PathBuf,
    /// The binary under test.
    pub(crate) streamr: PathBuf,
    /// Everything that this run writes but the result.
    pub(crate) scratch: PathBuf,
}

impl Paths {
    /// The certificate of both servers.
    pub(crate) fn cert(&self) -> PathBuf {
        self.scratch.join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.scratch.join("key.pem")
    }

    /// What nginx serves.
    pub(crate) fn www(&self) -> PathBuf {
        self.scratch.join("www")
    }

    /// What is published.
    pub(crate) fn clip(&self) -> PathBuf {
        self.root.join("assets/clapper.mp4")
    }

    /// Empties the scratch folder and makes the certificate.
    pub(crate) fn prepare(&self) -> Result<()> {
        if self.scratch.exists() {
            fs::remove_dir_all(&self.scratch)?;
        }
        fs::create_dir_all(self.www().join("hls"))?;
        // ECDSA P-256, as Let's Encrypt issues by default.
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()])?;
        fs::write(self.cert(), made.cert.pem())?;
        fs::write(self.key(), made.signing_key.serialize_pem())?;
        Ok(())
    }

    /// Starts a server with as many streams on the servers' core.
    pub(crate) fn start(&self, who: Who, streams: usize) -> Result<Server> {
        let mut ports = ports(3)?.into_iter();
        let mut next = || ports.next().expect("three ports");
        let (rtmp, http, https) = (next(), next(), next());
        let guard = match who {
            Who::Ours => {
                self.streamr(&mut on_core(SERVER_CORE, path(&self.streamr)?), [rtmp, http, https])?
            }
            Who::Nginx => self.nginx([rtmp, http, https])?,
        };
        let mut server = Server { guard, rtmp, http, https, streams: Vec::new() };
        server.wait(who)?;
        for index in 0..streams {
            let name = format!("bench-{index}");
            let key = match who {
                Who::Ours => server.add(&name)?,
                Who::Nginx => name.clone(),
            };
            server.streams.push(Stream { name, key });
        }
        Ok(server)
    }

    /// Starts ours with a stream, free to use all cores, thumbnails as by default.
    pub(crate) fn start_anywhere(&self) -> Result<Server> {
        let ports = ports(3)?;
        let (rtmp, http, https) = (ports[0], ports[1], ports[2]);
        let mut command = bound_to_us(path(&self.streamr)?);
        let guard = self.streamr(&mut command, [rtmp, http, https])?;
        let mut server = Server { guard, rtmp, http, https, streams: Vec::new() };
        server.wait(Who::Ours)?;
        let key = server.add("bench-0")?;
        server.streams.push(Stream { name: "bench-0".into(), key });
        Ok(server)
    }

    fn streamr(
        &self,
        command: &mut Command,
        [rtmp, http, https]: [SocketAddr; 3],
    ) -> Result<Guard> {
        let data = self.scratch.join("data");
        if data.exists() {
            fs::remove_dir_all(&data)?;
        }
        let log = fs::File::create(self.scratch.join("streamr.log"))?;
        let settings = [
            format!("data.dir={}", path(&data)?),
            format!("http.listen={http}"),
            format!("http.tls_listen={https}"),
            format!("rtmp.listen={rtmp}"),
            "srt.listen=".into(),
            "webrtc.listen=".into(),
            format!("tls.cert_file={}", path(&self.cert())?),
            format!("tls.key_file={}", path(&self.key())?),
            format!("admin.token={TOKEN}"),
            // Children would compete for the core without being counted.
            "ladder.thumbnails=false".into(),
            "log.filter=warn".into(),
        ];
        command.arg("serve");
        for setting in &settings {
            command.args(["--set", setting]);
        }
        Guard::start("streamr", command.stdout(Stdio::null()).stderr(log))
    }

    fn nginx(&self, [rtmp, http, https]: [SocketAddr; 3]) -> Result<Guard> {
        let file = self.scratch.join("nginx.conf");
        let (cert, key, www) = (self.cert(), self.key(), self.www());
        let (cert, key, www) = (path(&cert)?, path(&key)?, path(&www)?);
        let scratch = path(&self.scratch)?;
        // One process: its CPU time is then that of the one worker. HLS is on because ours
        // packages too.
        let text = format!(
            "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
daemon off; master_process off; worker_processes 1; worker_rlimit_nofile 20000;
pid {scratch}/nginx.pid; error_log {scratch}/nginx.log warn;
events {{ worker_connections 19900; multi_accept on; }}
rtmp {{ access_log off; server {{ listen {rtmp}; chunk_size {CHUNK_BYTES};
  application live {{ live on; hls on; hls_path {www}/hls; hls_fragment 2s;
    hls_playlist_length 16s; }} }} }}
http {{ include /etc/nginx/mime.types; access_log off; sendfile on; tcp_nopush on;
  keepalive_requests 100000000; keepalive_timeout 600; open_file_cache max=1000;
  client_body_temp_path {scratch}/t1; proxy_temp_path {scratch}/t2; fastcgi_temp_path {scratch}/t3;
  uwsgi_temp_path {scratch}/t4; scgi_temp_path {scratch}/t5;
  ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.3;
  server {{ listen {http}; root {www}; }}
  server {{ listen {https} ssl; root {www}; }} }}
"
        );
        fs::write(&file, text)?;
        let log = fs::File::create(self.scratch.join("nginx.out"))?;
        let mut command = on_core(SERVER_CORE, "nginx");
        command.args(["-c", path(&file)?, "-p", scratch]);
        Guard::start("nginx", command.stdout(Stdio::null()).stderr(log))
    }
}

impl Server {
    /// Waits until it answers.
    fn wait(&mut self, who: Who) -> Result<()> {
        let end = Instant::now() + START_TIMEOUT;
        loop {
            self.guard.alive()?;
            let ready = match who {
                Who::Ours => fetch::get(self.http, "/healthz").is_ok(),
                Who::Nginx => std::net::TcpStream::connect(self.http).is_ok(),
            };
            if ready {
                return Ok(());
            }
            ensure!(Instant::now() < end, "{who:?} does not answer on {}", self.http);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Makes a stream of ours; its key.
    fn add(&self, name: &str) -> Result<String> {
        let body = format!("{{\"name\":\"{name}\",\"title\":\"\"}}");
        let answer = fetch::post(self.http, "/api/v1/streams", TOKEN, &body)?;
        let answer: serde_json::Value = serde_json::from_slice(&answer)?;
        Ok(answer["key"].as_str().context("a new stream without a key")?.to_owned())
    }

    /// Path of a stream's media playlist of pictures; ours only.
    pub(crate) fn playlist(&self, stream: usize) -> String {
        format!("/hls/{}/source/video0.m3u8", self.streams[stream].name)
    }
}

/// What the peer is, as Debian says.
pub(crate) fn peer(name: &str, package: &str) -> PeerName {
    let query = Command::new("dpkg-query").args(["-W", "-f", "${Version}", package]).output();
    let version = query.ok().filter(|out| out.status.success());
    let version = version.map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
    PeerName { name: name.into(), version: version.unwrap_or_else(|| "unknown".into()) }
}

/// Free ports of the loopback address.
pub(crate) fn ports(count: usize) -> Result<Vec<SocketAddr>> {
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let held = (0..count).map(bind).collect::<Result<Vec<_>, _>>()?;
    Ok(held.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?)
}

/// A path as an argument.
pub(crate) fn path(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}
