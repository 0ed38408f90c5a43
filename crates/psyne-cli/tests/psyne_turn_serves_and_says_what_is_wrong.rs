//! The command `psyne turn`, as a person runs it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

fn psyne(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_psyne"));
    command.arg("turn").args(args);
    command
}

fn run(args: &[&str]) -> Output {
    psyne(args).output().unwrap()
}

/// What it complains about.
fn complaint(args: &[&str]) -> String {
    let output = run(args);
    assert_eq!(output.status.code(), Some(1), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_answers_stun_tells_metrics_and_stops_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "0123456789abcdef\n").unwrap();
    let args = ["-l", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--json", "--secret-file"];
    let mut command = psyne(&args);
    let child = command.arg(&secret).stdout(Stdio::piped()).spawn().unwrap();
    let mut server = Server(child);
    let mut lines = BufReader::new(server.0.stdout.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    // A Binding request (RFC 8489), whose answer comes back under its transaction.
    let request = [&[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42][..], &[7; 12]].concat();
    socket.send_to(&request, first["listening"][0].as_str().unwrap()).unwrap();
    let mut answer = [0; 100];
    let count = socket.recv(&mut answer).unwrap();
    assert_eq!((count, &answer[..2], &answer[8..20]), (32, &[1, 1][..], &[7; 12][..]));
    let mut stream = TcpStream::connect(first["metrics"].as_str().unwrap()).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut metrics = String::new();
    stream.read_to_string(&mut metrics).unwrap();
    assert!(metrics.contains("psyne_turn_allocations 0\n"), "{metrics}");
    let pid = rustix::process::Pid::from_child(&server.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let last: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!((&last["stopped"], &last["allocations"]), (&true.into(), &0.into()));
    assert!(server.0.wait().unwrap().success());
}

#[test]
fn it_says_what_is_wrong_and_what_to_do() {
    let said = complaint(&["-l", "127.0.0.1:0"]);
    assert!(said.contains("--secret-file") && said.contains("--users-file"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let secret = file("secret", "0123456789abcdef");
    let said = complaint(&["-l", "0.0.0.0:0", "--secret-file", &secret]);
    assert!(said.contains("--relay"), "{said}");
    let said = complaint(&["--secret-file", &file("short", "short")]);
    assert!(said.contains("openssl rand -hex 32"), "{said}");
    let said = complaint(&["--users-file", &file("users", "ann:pass\nben\n")]);
    assert!(said.contains("line 2"), "{said}");
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let said = complaint(&["-l", &addr, "--secret-file", &secret]);
    assert!(said.contains(&addr) && said.contains("something else listens there"), "{said}");
    for args in [
        ["--ports", "9-1"],
        ["--ports", "0-1"],
        ["--allow-peer", "10.0.0.0/33"],
        ["--realm", ""],
        ["--tls-listen", "127.0.0.1:0"],
    ] {
        let args = [&["--secret-file", secret.as_str()][..], &args].concat();
        assert_eq!(run(&args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn credentials_are_those_of_coturn() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "0123456789abcdef0123456789abcdef\n").unwrap();
    let output = run(&["credential", "--secret-file", secret.to_str().unwrap(), "--user", "ann"]);
    let said = String::from_utf8(output.stdout).unwrap();
    let (username, password) = said.trim().split_once(' ').unwrap();
    assert!(username.ends_with(":ann") && password.len() == 28, "{said}");
}
