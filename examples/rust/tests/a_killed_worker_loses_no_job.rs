//! A worker is killed amid a job; another, of another language, takes its place.

mod support;

use std::os::unix::process::ExitStatusExt;

use support::{LANGUAGES, printed, start};

#[test]
fn a_killed_worker_loses_no_job() {
    let folder = tempfile::tempdir().unwrap();
    for at in 0..LANGUAGES.len() {
        let [giver, first, second] = [at, at + 1, at + 2].map(|at| LANGUAGES[at % LANGUAGES.len()]);
        let what = format!("jobs from {}, done by {}, then {}", giver.0, first.0, second.0);
        let address = format!("ipc://examples-{}-jobs-{}", std::process::id(), giver.0);
        let giver = start(giver.1("jobs", folder.path()), &["give", &address, "3000"]);
        let mut first = start(first.1("jobs", folder.path()), &["work", &address, "1000"]);
        assert_eq!(first.wait().unwrap().signal(), Some(9), "{what}");
        let second = start(second.1("jobs", folder.path()), &["work", &address]);
        // The first one's last job was not released: it is done twice, and no other.
        let done = "3000 jobs done, 1 done again, 1 workers died\n";
        assert_eq!(printed(giver, &what), done, "{what}");
        assert_eq!(printed(second, &what), "did 2001 jobs\n", "{what}");
    }
}
