//! The last stage of deploy/Containerfile, step by step in a bare Debian of its own (debootstrap,
//! chroot), where no container engine is at hand. It shows that the packages are there, that its
//! user can run the binary with what it sets, and that a stop is clean. It does not show the first
//! stage (`cargo xtask web` and a release build, which other tests and the demo run), nor what an
//! engine does: base images, layers, volumes, published ports.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use anyhow::{Context, Result, bail, ensure};

use super::site::{self, Ports};
use crate::{setup, sh};

const FILE: &str = "deploy/Containerfile";
const RELEASE: &str = "bookworm";

/// Runs the steps, then the command, asks whether it is ready, and stops it.
pub(crate) fn run() -> Result<()> {
    ensure!(setup::is_root()?, "making another root needs to be root: sudo");
    setup::packages(&[("debootstrap", "usr/sbin/debootstrap")])?;
    let steps = last_stage(&fs::read_to_string(sh::root().join(FILE)).context(FILE)?);
    let binary = site::build(true)?;
    let root = bare_debian()?;
    let mut image = Image { root, user: "root".into(), environment: vec![], command: vec![] };
    for (instruction, rest) in &steps {
        image.step(instruction, rest, &binary)?;
    }
    image.serves()
}

/// Instructions and what stands behind them, lines joined, comments left out.
fn last_stage(file: &str) -> Vec<(String, String)> {
    let lines = file.lines().filter(|line| !line.trim_start().starts_with('#'));
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let steps = joined.lines().filter_map(|line| line.split_once(' '));
    let steps: Vec<_> = steps.map(|(a, b)| (a.to_owned(), b.trim().to_owned())).collect();
    let from = steps.iter().rposition(|(instruction, _)| instruction == "FROM").unwrap_or(0);
    steps.into_iter().skip(from).collect()
}

/// A Debian with nothing in it, from where this machine has its packages.
fn bare_debian() -> Result<PathBuf> {
    let root = sh::root().join("target/container");
    let shown = root.to_string_lossy().into_owned();
    if root.exists() {
        sh::run(sh::cmd("rm", &["--one-file-system", "-rf", &shown]))?;
    }
    let targets = ["indextargets", "--format", "$(RELEASE) $(REPO_URI)"];
    let mirrors = sh::output(sh::cmd("apt-get", &targets))?;
    let mut ours = mirrors.lines().filter_map(|line| line.strip_prefix(RELEASE)?.strip_prefix(' '));
    let mirror = ours.next().unwrap_or("http://deb.debian.org/debian");
    let options = ["--variant=minbase", RELEASE, &shown, mirror];
    sh::run(sh::cmd("debootstrap", &options))?;
    Ok(root)
}

/// What the steps have made so far.
struct Image {
    root: PathBuf,
    user: String,
    environment: Vec<String>,
    command: Vec<String>,
}

impl Image {
    fn step(&mut self, instruction: &str, rest: &str, binary: &Path) -> Result<()> {
        match instruction {
            "FROM" => ensure!(rest.contains(RELEASE), "the file starts from {rest}"),
            "RUN" => sh::run(self.inside("root", &["sh", "-ec", rest]))?,
            "COPY" => {
                let to = rest.split_whitespace().last().context("COPY without a target")?;
                ensure!(rest.contains("/target/release/streamr "), "COPY {rest}: not known here");
                fs::copy(binary, self.root.join(to.trim_start_matches('/')))?;
            }
            "USER" => rest.clone_into(&mut self.user),
            "ENV" => self.environment.extend(rest.split_whitespace().map(str::to_owned)),
            "ENTRYPOINT" | "CMD" => {
                let words: Vec<String> = serde_json::from_str(rest)?;
                self.command.extend(words);
            }
            "STOPSIGNAL" => ensure!(rest == "SIGTERM", "{rest} is not what is tried here"),
            "VOLUME" => {
                let there = self.root.join(rest.trim_start_matches('/')).is_dir();
                ensure!(there, "no step makes the folder {rest}");
            }
            // A test of the deploy files holds the ports to the configuration.
            "EXPOSE" => {}
            other => bail!("{FILE}: {other} is not known here"),
        }
        Ok(())
    }

    fn inside(&self, user: &str, words: &[&str]) -> Command {
        let mut command = sh::cmd("chroot", &[&format!("--userspec={user}")]);
        command.arg(&self.root).arg("env").args(&self.environment).args(words);
        command.env("DEBIAN_FRONTEND", "noninteractive").env("HOME", "/");
        command
    }

    /// Its user runs its command, it becomes ready, and ends well on SIGTERM.
    fn serves(&self) -> Result<()> {
        let ports = Ports::free()?;
        let mut words: Vec<&str> = self.command.iter().map(String::as_str).collect();
        let settings = ports.settings();
        words.extend(settings.iter().map(String::as_str));
        let mut server = self.inside(&self.user, &words).spawn().context("chroot")?;
        let outcome = ready(&mut server, &ports);
        sh::run(sh::cmd("kill", &["-TERM", &server.id().to_string()]))?;
        let status = server.wait()?;
        outcome?;
        ensure!(status.success(), "it did not end well: {status}");
        Ok(())
    }
}

fn ready(server: &mut Child, ports: &Ports) -> Result<()> {
    site::await_that("it is ready", || {
        if let Some(status) = server.try_wait()? {
            bail!("it ended by itself: {status}");
        }
        Ok(ports.get("/readyz").is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::last_stage;

    #[test]
    fn steps_are_read() {
        let file = "FROM a AS build\nRUN x\n# no\nFROM b\nRUN one \\\n    && two\nUSER me\n";
        let steps = last_stage(file);
        let expected = [("FROM", "b"), ("RUN", "one      && two"), ("USER", "me")];
        assert_eq!(steps, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
}
