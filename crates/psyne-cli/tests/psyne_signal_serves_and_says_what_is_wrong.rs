//! The command `psyne signal`, as a person runs it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

fn psyne(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_psyne"));
    command.arg("signal").args(args);
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
fn it_serves_until_it_is_told_to_stop_and_says_what_it_did() {
    let child = psyne(&["-l", "127.0.0.1:0", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut server = Server(child);
    let mut lines = BufReader::new(server.0.stdout.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(first["open"], true);
    let addr = first["listening"].as_str().unwrap().strip_prefix("ws://").unwrap();
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("psyne_signal_connections 1\n"), "{answer}");
    let pid = rustix::process::Pid::from_child(&server.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let last: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!((&last["stopped"], &last["joins"]), (&true.into(), &0.into()));
    assert!(server.0.wait().unwrap().success());
}

#[test]
fn it_says_what_is_wrong_and_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let said = complaint(&["-l", &addr]);
    assert!(said.contains(&addr) && said.contains("something else listens there"), "{said}");
    let said = complaint(&["-l", "0.0.0.0:0"]);
    assert!(said.contains("--secret-file") && said.contains("--open"), "{said}");
    let said = complaint(&["--secret-file", "/nowhere/secret"]);
    assert!(said.contains("/nowhere/secret"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let short = folder.path().join("short");
    std::fs::write(&short, "short\n").unwrap();
    let said = complaint(&["--secret-file", short.to_str().unwrap()]);
    assert!(said.contains("openssl rand -hex 32"), "{said}");
    assert_eq!(run(&["--turn", "turn:x"]).status.code(), Some(2), "TURN without its secret");
}

#[test]
fn tokens_are_made_for_a_group_and_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "0123456789abcdef0123456789abcdef\n").unwrap();
    let make = |secret: &Path, group: &str| {
        run(&["token", "--secret-file", secret.to_str().unwrap(), "--group", group])
    };
    let token = make(&secret, "demo");
    let token = String::from_utf8(token.stdout).unwrap();
    assert!(token.starts_with("psyne1.") && token.trim().split('.').count() == 3, "{token}");
    assert_eq!(make(&secret, "no group").status.code(), Some(2));
}
