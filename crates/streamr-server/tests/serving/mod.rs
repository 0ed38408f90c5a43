//! A whole server on ports of its own, real ffmpeg as its publisher, and a small HTTP client.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use streamr_server::serve::Server;
use streamr_server::{App, Config, admin};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Generous: a busy machine is no failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server.
pub(crate) struct Serving {
    pub(crate) http: SocketAddr,
    pub(crate) key: String,
    app: App,
    run: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

#[allow(dead_code, reason = "not every test needs it")]
/// An address of this machine that is free just now.
pub(crate) fn free_address() -> String {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    socket.local_addr().expect("it is bound").to_string()
}

impl Serving {
    pub(crate) async fn start(mut config: Config) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        config.data.dir = dir.path().to_owned();
        config.http.listen = "127.0.0.1:0".to_owned();
        config.ladder.thumbnails = false;
        if config.webrtc.listen == Config::default().webrtc.listen {
            config.webrtc.listen = String::new();
        }
        let server = Server::bind(config).await.expect("it starts");
        let http = server.hello().addresses[0].1;
        let (_, key) = server.hello().first_stream.clone().expect("a first stream");
        let app = server.app().clone();
        let run = tokio::spawn(server.run());
        Self { http, key, app, run, _dir: dir }
    }

    /// The key of a further stream.
    #[allow(dead_code, reason = "not every test needs one")]
    pub(crate) async fn add_stream(&self, name: &str) -> String {
        let name = name.parse().expect("a name");
        let added = admin::add_stream(&self.app, name, String::new()).await;
        added.expect("the store works").1.reveal().to_owned()
    }

    /// The body of the answer to a GET.
    pub(crate) async fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path}"), "", "").await.1
    }

    /// Head and body of the answer to a request: method and path, further lines of its head, body.
    pub(crate) async fn ask(&self, what: &str, head: &str, body: &str) -> (String, String) {
        let mut socket = TcpStream::connect(self.http).await.expect("it listens");
        let length = match body {
            "" => String::new(),
            body => format!("Content-Length: {}\r\n", body.len()),
        };
        let request = format!(
            "{what} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{head}{length}\r\n{body}"
        );
        socket.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.expect("it answers in text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (head.to_owned(), body.to_owned())
    }

    /// Asks again and again until the answer is as wanted, and gives it.
    pub(crate) async fn wait_for(&self, path: &str, wanted: impl Fn(&str) -> bool) -> String {
        let asking = async {
            loop {
                let body = self.get(path).await;
                if wanted(&body) {
                    return body;
                }
                sleep(Duration::from_millis(100)).await;
            }
        };
        match timeout(PATIENCE, asking).await {
            Ok(body) => body,
            Err(_) => panic!("{path} stays as it is:\n{}", self.get(path).await),
        }
    }

    pub(crate) async fn stop(self) {
        self.app.shutdown.begin();
        timeout(PATIENCE, self.run).await.expect("it ends").expect("without a panic");
    }
}

#[allow(dead_code, reason = "not every test needs it")]
/// ffmpeg, publishing a test picture with sound.
pub(crate) fn publish(format: &str, url: &str) -> Child {
    publish_as("libx264", format, url)
}

#[allow(dead_code, reason = "not every test needs it")]
/// The same by another encoder.
pub(crate) fn publish_as(encoder: &str, format: &str, url: &str) -> Child {
    Command::new("ffmpeg")
        .args(["-loglevel", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25"])
        .args(["-re", "-f", "lavfi", "-i", "sine", "-c:v", encoder, "-preset", "ultrafast"])
        .args(["-pix_fmt", "yuv420p", "-g", "25", "-c:a", "aac", "-f", format, url])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("ffmpeg is installed")
}
