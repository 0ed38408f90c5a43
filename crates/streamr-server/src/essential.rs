//! What the server cannot do without.

/// Held by a thread or task that must not end by a panic: dropped by one, it ends the process,
/// whose supervisor starts it anew within two seconds. Whatever else panics, a connection above
/// all, ends alone. docs/decisions/0032-a-panic-ends-one-connection.md says why.
#[derive(Debug)]
pub(crate) struct Essential(pub(crate) &'static str);

impl Drop for Essential {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("{} has panicked: the server ends, to be started anew", self.0);
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Command, Stdio};

    use super::*;

    const ASKED: &str = "STREAMR_TEST_PANICS";

    #[test]
    fn a_panic_in_what_is_essential_ends_the_process() {
        if std::env::var_os(ASKED).is_some() {
            let _essential = Essential("this test");
            panic!("as asked");
        }
        let name = "essential::tests::a_panic_in_what_is_essential_ends_the_process";
        let mut again = Command::new(std::env::current_exe().expect("this program"));
        again.args([name, "--exact"]).env(ASKED, "1").stdout(Stdio::null()).stderr(Stdio::null());
        let status = again.status().expect("it starts");
        assert_eq!(status.signal(), Some(6), "{status}");
        drop(Essential("that which ends in peace"));
    }

    #[tokio::test]
    async fn a_panic_in_a_connection_ends_it_alone() {
        let mut connections = tokio::task::JoinSet::new();
        connections.spawn(async { panic!("a fault of ours that a peer has found") });
        let other = tokio::spawn(async {
            let _essential = Essential("this test");
            tokio::task::yield_now().await;
            "goes on"
        });
        let ended = connections.join_next().await.expect("one was there");
        assert!(ended.is_err_and(|error| error.is_panic()));
        assert_eq!(other.await.expect("no panic"), "goes on");
    }
}
