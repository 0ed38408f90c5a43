//! What a stranger types, and what comes back: help, or one sentence that says what to do.

mod support;

use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use support::streamr;

fn run(arguments: &[&str]) -> Output {
    streamr(arguments).output().expect("the binary of this build")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What it complains; standard output has to be empty.
fn complaint(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(!output.status.success(), "{arguments:?} succeeded");
    assert_eq!(text(&output.stdout), "", "{arguments:?}");
    let complaint = text(&output.stderr);
    assert!(!complaint.contains("panicked"), "{arguments:?}: {complaint}");
    complaint
}

/// A configuration whose ports are free, in a folder of its own.
fn quiet(dir: &Path) -> Vec<String> {
    let dir = dir.join("data").display().to_string();
    let off = "127.0.0.1:0";
    let all = [
        format!("data.dir={dir}"),
        format!("http.listen={off}"),
        format!("rtmp.listen={off}"),
        "srt.listen=".to_owned(),
        format!("webrtc.listen={off}"),
    ];
    all.iter().flat_map(|setting| ["--set".to_owned(), setting.clone()]).collect()
}

fn with<'a>(command: &'a [&'a str], quiet: &'a [String], more: &'a [&'a str]) -> Vec<&'a str> {
    let quiet = quiet.iter().map(String::as_str);
    command.iter().copied().chain(quiet).chain(more.iter().copied()).collect()
}

#[test]
fn every_command_has_help() {
    for command in
        ["serve", "publish", "watch", "doctor", "stream", "config", "completions", "stream add"]
    {
        let words: Vec<_> = command.split(' ').chain(["--help"]).collect();
        let output = run(&words);
        assert!(output.status.success(), "{command}");
        assert!(text(&output.stdout).contains("Usage: streamr"), "{command}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(text(&run(&["completions", shell]).stdout).contains("streamr"), "{shell}");
    }
}

#[test]
fn wrong_settings_are_refused_with_a_hint() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let quiet = quiet(dir.path());
    let file = dir.path().join("streamr.toml");
    std::fs::write(&file, "[http]\nlisen = \":80\"\n").expect("our own folder");
    let broken = dir.path().join("broken.toml");
    std::fs::write(&broken, "[http\n").expect("our own folder");
    let negative = dir.path().join("negative.toml");
    std::fs::write(&negative, "[hls]\npart_ms = -5\n").expect("our own folder");
    let [file, broken, negative] = [file, broken, negative].map(|path| path.display().to_string());
    for (more, words) in [
        (&["--set", "http.lisen=:80"][..], &["http.lisen", "http.listen"][..]),
        (&["--config", &file], &["http.lisen", "listen", &file]),
        (&["--config", &broken], &["is not TOML", &broken]),
        (&["--config", &negative], &["hls.part_ms: invalid value", "-5"]),
        (&["--set", "http.proxies=[\"x\"]"], &["http.proxies: invalid IP address"]),
        (&["--config", "/nowhere/x.toml"], &["cannot read", "/nowhere/x.toml"]),
        (&["--set", "http.listen"], &["key=value"]),
        (&["--set", "http.listen=localhost"], &["http.listen", "0.0.0.0:8080"]),
        (&["--set", "http.listen=:99999"], &["http.listen", "an address and a port"]),
        (&["--set", "hls.part_ms=fast"], &["hls.part_ms", "fast"]),
        (&["--set", "hls.part_ms=1"], &["hls.part_ms is 1", "from 20 to 5000"]),
        (&["--set", "log.format=xml"], &["xml", "json"]),
        (&["--set", "log.filter=a=b=c"], &["log.filter"]),
        (&["--set", "http.tls_listen=:8443"], &["certificate", "tls.self_signed"]),
        (&["--set", "tls.cert_file=/x"], &["tls.key_file", "set both"]),
        (
            &["--set", "tls.cert_file=/nowhere/c", "--set", "tls.key_file=/nowhere/k"],
            &["tls.cert_file /nowhere/c"],
        ),
        (&["--set", "admin.token=short"], &["admin.token", "16 characters"]),
        (&["--set", "data.dir=/proc/nowhere"], &["/proc/nowhere", "data.dir"]),
    ] {
        let said = complaint(&with(&["serve"], &quiet, more));
        for word in words {
            assert!(said.contains(word), "{more:?}: {word:?} is not in: {said}");
        }
        assert!(said.trim_end().lines().count() <= 6, "{more:?} takes many words: {said}");
    }
}

#[test]
fn a_port_in_use_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let quiet = quiet(dir.path());
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let (tcp, udp_port) = (taken.local_addr().unwrap(), udp.local_addr().unwrap());
    for (key, address) in [
        ("http.listen", tcp),
        ("rtmp.listen", tcp),
        ("srt.listen", udp_port),
        ("webrtc.listen", udp_port),
    ] {
        let setting = format!("{key}={address}");
        let said = complaint(&with(&["serve"], &quiet, &["--set", &setting]));
        let port = format!("port {}", address.port());
        for word in [port.as_str(), "in use by another program", key] {
            assert!(said.contains(word), "{key}: {word:?} is not in: {said}");
        }
    }
}

#[test]
fn wrong_input_of_the_other_commands_is_a_sentence() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let text_file = dir.path().join("text.mp4");
    std::fs::write(&text_file, "this is no film").expect("our own folder");
    let (text_file, quiet) = (text_file.display().to_string(), quiet(dir.path()));
    let nobody = format!("rtmp://{}/live/key", support::free_tcp());
    for (arguments, word) in [
        (vec!["publish", "/nowhere/film.mp4", &nobody], "/nowhere/film.mp4"),
        (vec!["publish", &text_file, &nobody], "text.mp4"),
        (vec!["publish", &text_file, "ftp://x/y"], "rtmp://"),
        (vec!["watch", "gopher://x"], "http"),
        (with(&["stream", "archive", "nobody"], &quiet, &[]), "no stream called nobody"),
        (with(&["stream", "add", "Not A Name"], &quiet, &[]), "letters a to z"),
        (vec!["srve"], "serve"),
    ] {
        let said = complaint(&arguments);
        assert!(said.contains(word), "{arguments:?}: {word:?} is not in: {said}");
    }
}

#[test]
fn who_watches_nothing_is_told_why() {
    let nobody = format!("http://{}/hls/main/index.m3u8", support::free_tcp());
    for report in [&[][..], &["--json"]] {
        let arguments = [&["watch", &nobody, "--seconds", "0.5"], report].concat();
        let output = run(&arguments);
        assert!(!output.status.success(), "{report:?}");
        let said = text(&output.stderr);
        assert!(said.contains("onnection refused"), "{report:?}: {said}");
    }
}

#[test]
fn streams_are_kept_from_the_command_line() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let quiet = quiet(dir.path());
    let json = |command: &[&str]| -> Value {
        let output = run(&with(command, &quiet, &["--json"]));
        assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let made = json(&["stream", "add", "tv", "--title", "My TV"]);
    assert!(made["publish_url"].as_str().unwrap().ends_with(made["key"].as_str().unwrap()));
    let rekeyed = json(&["stream", "rotate-key", "tv"]);
    assert_ne!(rekeyed["key"], made["key"]);
    json(&["stream", "archive", "tv"]);
    let listed = json(&["stream", "list"]);
    assert_eq!(listed["streams"][0]["state"], "archived");
    assert_eq!(listed["streams"][0]["title"], "My TV");
}

/// What the doctor says of each subject: level and message.
fn doctor(quiet: &[String], more: &[&str]) -> (bool, Vec<(String, String, String)>) {
    let output = run(&with(&["doctor", "--json"], quiet, more));
    let findings: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)));
    let part = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let all = findings.as_array().expect("a list").iter();
    let all = all.map(|f| (part(f, "subject"), part(f, "level"), part(f, "message"))).collect();
    (output.status.success(), all)
}

#[test]
fn the_doctor_finds_each_fault_that_there_is() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let quiet = quiet(dir.path());
    let (well, findings) = doctor(&quiet, &[]);
    assert!(well, "{findings:?}");
    assert!(findings.iter().all(|finding| finding.1 != "bad"), "{findings:?}");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = format!("rtmp.listen={}", taken.local_addr().unwrap());
    let damaged = dir.path().join("damaged");
    std::fs::create_dir(&damaged).expect("our own folder");
    std::fs::write(damaged.join("streamr.db"), "no database ".repeat(1_000)).expect("ours");
    let damaged = format!("data.dir={}", damaged.display());
    for (settings, subject, level, word) in [
        (vec![taken.as_str()], "port RTMP", "bad", "in use"),
        (vec!["ladder.ffmpeg=/nowhere/ffmpeg"], "ffmpeg", "warning", "apt install ffmpeg"),
        (
            vec!["ladder.ffmpeg=/nowhere/ffmpeg", "ladder.renditions=[\"480p\"]"],
            "ffmpeg",
            "bad",
            "apt install ffmpeg",
        ),
        (vec!["ladder.ffmpeg=false"], "ffmpeg", "warning", "does not work"),
        (vec![damaged.as_str()], "database", "bad", "restore a backup"),
        (vec!["data.dir=/proc/nowhere"], "database", "bad", "/proc/nowhere"),
        (vec!["tls.self_signed=true"], "TLS", "warning", "self-signed"),
        (vec!["tls.cert_file=/x", "tls.key_file=/y"], "TLS", "bad", "tls.cert_file /x"),
        (
            vec!["http.connections_max=1048576", "rtmp.connections_max=1048576"],
            "open files",
            "warning",
            "LimitNOFILE",
        ),
    ] {
        let flags: Vec<_> = settings.iter().flat_map(|setting| ["--set", *setting]).collect();
        let (well, findings) = doctor(&quiet, &flags);
        let found = findings.iter().find(|finding| finding.0 == subject);
        let (_, got, message) = found.unwrap_or_else(|| panic!("{subject}: {findings:?}"));
        assert_eq!(got, level, "{settings:?}: {message}");
        assert!(message.contains(word), "{settings:?}: {word:?} is not in: {message}");
        assert_eq!(well, level != "bad", "{settings:?}: the exit code");
    }
    let human = text(&run(&with(&["doctor"], &quiet, &[])).stdout);
    assert!(human.contains("ok") && human.contains("database"), "{human}");
}
