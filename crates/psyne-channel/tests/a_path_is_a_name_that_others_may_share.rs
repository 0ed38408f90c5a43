//! A path as the name of a channel: whose permissions say who may come, of which nothing stays when
//! its owner leaves, and that is taken over when its owner was killed.
#![cfg(not(miri))]

mod process;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Barrier;
use std::time::Duration;

use process::{Other, job};
use psyne_channel::{Config, Error, Full, spsc};

/// A user and a group that own nothing.
const NOBODY: u32 = 65_534;
/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(60);

fn config() -> Config {
    Config { full: Full::BlockFor(PATIENCE), ..Config::default() }
}

/// A directory of this test, which goes with it.
struct Directory(PathBuf);

impl Directory {
    fn new(what: &str) -> Self {
        let path = std::env::temp_dir().join(format!("psyne-{}-{what}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self) -> PathBuf {
        self.0.join("ticks")
    }

    fn address(&self) -> String {
        format!("ipc://{}", self.path().display())
    }

    /// What lies in it.
    fn files(&self) -> usize {
        fs::read_dir(&self.0).unwrap().count()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
#[ignore = "the other process of the tests below"]
fn child() {
    match job().as_deref() {
        Some([what, address]) if what == "receive" => {
            let mut receiver = spsc::Receiver::<u64>::open(address, &config()).unwrap();
            writeln!(std::io::stdout(), "\nready to receive").unwrap();
            while let Ok(7) = receiver.recv() {}
        }
        Some([what, address]) if what == "send" => {
            let sender = spsc::Sender::<u64>::open(address, &config());
            let sent = sender.and_then(|mut sender| sender.send(7));
            let said = sent.map_or_else(|error| error.to_string(), |()| "sent".into());
            writeln!(std::io::stdout(), "\nsaid {said}").unwrap();
        }
        _ => {}
    }
}

#[test]
fn both_ends_meet_at_a_path_of_which_nothing_stays() {
    let directory = Directory::new("meet");
    let address = directory.address();
    let mut receiver = spsc::Receiver::<u64>::open(&address, &config()).unwrap();
    let mut sender = spsc::Sender::<u64>::open(&address, &config()).unwrap();
    sender.send(7).unwrap();
    assert_eq!(receiver.recv(), Ok(7));
    let path = directory.path();
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
    assert_eq!((mode(&path), directory.files()), (0o600, 1));
    let second = spsc::Receiver::<u64>::open(&address, &config());
    assert!(matches!(second, Err(Error::Crowded(1))), "{second:?}");
    drop((sender, receiver));
    assert_eq!(directory.files(), 0);
}

#[test]
fn the_first_sender_waits_for_the_path_to_appear() {
    let directory = Directory::new("wait");
    let address = directory.address();
    let mut sender = spsc::Sender::<u64>::open(&address, &config()).unwrap();
    sender.send(7).unwrap();
    let mut receiver = spsc::Receiver::<u64>::open(&address, &config()).unwrap();
    assert_eq!(receiver.recv(), Ok(7));
}

#[test]
fn the_place_of_a_killed_process_is_taken_by_one_of_many() {
    let directory = Directory::new("taken");
    let address = directory.address();
    for _ in 0..5 {
        let mut dead = Other::start(&["receive", &address]);
        dead.says("ready");
        dead.kill();
        assert_eq!(directory.files(), 1, "a killed process takes nothing away");
        let start = Barrier::new(4);
        let kept: Vec<_> = std::thread::scope(|scope| {
            let open = || {
                start.wait();
                spsc::Receiver::<u64>::open(&address, &config())
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(kept.iter().filter(|kept| kept.is_ok()).count(), 1, "{kept:?}");
        let mut receiver = kept.into_iter().find_map(Result::ok).unwrap();
        let mut sender = spsc::Sender::<u64>::open(&address, &config()).unwrap();
        sender.send(7).unwrap();
        assert_eq!(receiver.recv(), Ok(7));
    }
    assert_eq!(directory.files(), 0);
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let directory = Directory::new("file");
    fs::write(directory.path(), "precious").unwrap();
    for address in [directory.address(), format!("{}/below", directory.address())] {
        let wrong = spsc::Receiver::<u64>::open(&address, &config());
        assert!(matches!(wrong, Err(Error::Address(_))), "{wrong:?}");
    }
    assert_eq!(fs::read(directory.path()).unwrap(), b"precious");
    let nowhere = format!("{}-gone/ticks", directory.0.display());
    let wrong = spsc::Receiver::<u64>::open(&format!("ipc://{nowhere}"), &config());
    assert!(matches!(wrong, Err(Error::Address(_))), "{wrong:?}");
}

#[test]
fn who_keeps_the_directory_locked_holds_others_up_for_a_while_only() {
    let directory = Directory::new("locked");
    let locked = fs::File::open(&directory.0).unwrap();
    locked.lock().unwrap();
    let held_up = spsc::Receiver::<u64>::open(&directory.address(), &config());
    assert!(matches!(&held_up, Err(Error::System(why)) if why.contains("locked")), "{held_up:?}");
    drop(locked);
    spsc::Receiver::<u64>::open(&directory.address(), &config()).unwrap();
}

#[test]
fn a_socket_put_there_meanwhile_stays() {
    let directory = Directory::new("moved");
    let address = directory.address();
    let first = spsc::Receiver::<u64>::open(&address, &config()).unwrap();
    fs::remove_file(directory.path()).unwrap();
    let _second = spsc::Receiver::<u64>::open(&address, &config()).unwrap();
    drop(first);
    assert_eq!(directory.files(), 1);
}

#[test]
fn permissions_are_as_they_were_asked_for() {
    let directory = Directory::new("modes");
    for (share, wanted) in [("owner", 0o600), ("group", 0o660), ("everyone", 0o666)] {
        let address = format!("{}?share={share}", directory.address());
        let _receiver = spsc::Receiver::<u64>::open(&address, &config()).unwrap();
        assert_eq!(mode(&directory.path()), wanted, "{share}");
    }
}

/// Only root can be somebody else: `cargo xtask test` tells others that this was not shown.
#[test]
fn another_user_comes_only_where_the_path_is_shared_by_both() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let directory = Directory::new("users");
    fs::set_permissions(&directory.0, fs::Permissions::from_mode(0o755)).unwrap();
    let address = directory.address();
    let binary = directory.0.join("binary");
    fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    let said = |ours: &str, theirs: &str| {
        let receiver = spsc::Receiver::<u64>::open(&format!("{address}{ours}"), &config());
        let mut command = Command::new(&binary);
        command.uid(NOBODY).gid(NOBODY).current_dir(&directory.0);
        let said = Other::spawn(command, &["send", &format!("{address}{theirs}")]).says("said ");
        if said == "sent" {
            assert_eq!(receiver.unwrap().recv(), Ok(7));
        }
        said
    };
    assert_eq!(said("?share=everyone", "?share=everyone"), "sent");
    for (ours, theirs) in
        [("?share=everyone", ""), ("", "?share=everyone"), ("?share=group", "?share=group")]
    {
        let said = said(ours, theirs);
        assert!(said.contains("user"), "{ours} {theirs}: {said}");
    }
}
