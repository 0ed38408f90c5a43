//! The systemd unit and the container file say nothing that is not so. What only a running systemd
//! or a container engine can show is not shown here: see docs/guide/operating.md.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Server, streamr, tools};

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(deploy(name)).expect("a file of the repository")
}

/// The values of a key in the unit, in order.
fn unit(key: &str) -> Vec<String> {
    let unit = text("streamr.service");
    let values = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    values.map(str::to_owned).collect()
}

/// The words behind an instruction of the container file's last stage.
fn container(instruction: &str) -> Vec<String> {
    let file = text("Containerfile");
    let (_, stage) = file.rsplit_once("\nFROM ").expect("two stages");
    let rest = stage.lines().filter_map(|line| line.strip_prefix(instruction)?.strip_prefix(' '));
    let bare = |c: char| !matches!(c, '[' | ']' | '"' | ',');
    let words = rest.flat_map(str::split_whitespace);
    words.map(|word| word.chars().filter(|c| bare(*c)).collect()).collect()
}

/// systemd says nothing against the unit, and holds what it shuts out to be enough.
#[test]
fn systemd_takes_the_unit() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("streamr.service");
    let here =
        text("streamr.service").replace("/usr/local/bin/streamr", env!("CARGO_BIN_EXE_streamr"));
    std::fs::write(&file, here).expect("our own folder");
    let file = file.display().to_string();
    let verified = tools::run("systemd-analyze", &["verify", "--man=no", &file]);
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && said.is_empty(), "{said}");
    // Exposure in tenths: 0 is none, 100 all; from 50 on systemd calls a service medium.
    let options = ["security", "--offline=yes", "--no-pager", "--threshold=35", &file];
    let exposure = tools::run("systemd-analyze", &options);
    let said = String::from_utf8_lossy(&exposure.stdout);
    assert!(exposure.status.success(), "{said}");
}

/// As near to the unit's sandbox as one comes without systemd: its paths, nothing else writable, no
/// homes, an empty `/tmp`, its one capability. `$1` is the binary, `$2` the configuration, `$3` the
/// folder for its state; the rest is the command.
const SANDBOX: &str = r#"set -e
configuration=$(cat "$2")
mount --bind "$3" /mnt
mount -t tmpfs tmpfs /usr/local/bin
touch /usr/local/bin/streamr
mount --bind "$1" /usr/local/bin/streamr
mount -t tmpfs tmpfs /var/lib
mkdir /var/lib/streamr
mount --bind /mnt /var/lib/streamr
umount /mnt
mount -t tmpfs tmpfs /etc
mkdir /etc/streamr
printf '%s\n' "$configuration" > /etc/streamr/streamr.toml
for each in /tmp /home /root; do mount -t tmpfs tmpfs "$each"; done
for each in / /etc /usr/local/bin /home /root; do mount -o remount,bind,ro "$each"; done
! touch /var/elsewhere /etc/streamr/streamr.toml 2>/dev/null
shift 3
exec setpriv --no-new-privs --bounding-set=-all,+net_bind_service "$@"
"#;

/// The unit's command, in such a sandbox.
fn sandboxed(state: &Path) -> Command {
    std::fs::create_dir_all(state).expect("a folder of the test");
    let start = unit("ExecStart").concat();
    assert!(start.contains(" --data-dir /var/lib/streamr"), "{start}");
    assert_eq!(unit("StateDirectory"), ["streamr"]);
    assert_eq!(unit("CapabilityBoundingSet"), ["CAP_NET_BIND_SERVICE"]);
    for (key, value) in [
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"),
    ] {
        assert_eq!(unit(key), [value], "{key}");
    }
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", SANDBOX, "sandbox"]);
    command.arg(env!("CARGO_BIN_EXE_streamr")).arg(deploy("streamr.toml")).arg(state);
    command.args(start.split_whitespace());
    command
}

#[test]
fn the_units_command_serves_in_its_sandbox() {
    let mut server = Server::start_by(sandboxed);
    let publisher = tools::ffmpeg_publishes(&server.publish_url());
    server.await_media();
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", server.pid())).expect("our child");
    let both = |line: &&str| line.split(' ').nth(1).is_some_and(|rights| rights.contains("wx"));
    assert_eq!(maps.lines().find(both), None, "MemoryDenyWriteExecute would kill it");
    publisher.kill();
    assert!(server.terminate().success(), "{}", server.log());
}

#[test]
fn the_container_names_what_there_is() {
    let environment = container("ENV");
    assert_eq!(environment, ["STREAMR_DATA_DIR=/data"]);
    assert_eq!(container("VOLUME"), ["/data"]);
    assert_eq!(
        (container("ENTRYPOINT"), container("CMD")),
        (vec!["streamr".into()], vec!["serve".into()])
    );
    let mut print = streamr(&["config", "print"]);
    for pair in &environment {
        let (name, value) = pair.split_once('=').expect("a name and a value");
        print.env(name, value);
    }
    let printed = print.output().expect("the binary of this build");
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    assert!(printed.contains("dir = \"/data\""), "{printed}");
    for port in container("EXPOSE") {
        let port = port.trim_end_matches("/udp");
        assert!(printed.contains(&format!(":{port}\"")), "nothing listens on {port}: {printed}");
    }
    let ports = printed.matches("0.0.0.0:").count();
    assert_eq!(container("EXPOSE").len(), ports, "a port that is not exposed: {printed}");
}
