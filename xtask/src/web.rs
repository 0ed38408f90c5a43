//! Builds the pages that the binary embeds.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::Result;

use crate::sh;

/// `npm ci` and `npm run build` in web/; the result lies in web/dist.
pub(crate) fn build() -> Result<()> {
    npm(&["ci", "--no-audit", "--no-fund"])?;
    npm(&["run", "build"])
}

/// The same, unless web/dist is newer than everything it is made from.
pub(crate) fn build_if_stale() -> Result<()> {
    let web = sh::root().join("web");
    let built = modified(&web.join("dist/index.html"));
    if built.is_some_and(|built| newest(&web) <= built) {
        return Ok(());
    }
    build()
}

/// Runs npm in web/.
pub(crate) fn npm(args: &[&str]) -> Result<()> {
    sh::run(npm_command(args))
}

/// npm in web/, for whoever wants to add to its environment.
pub(crate) fn npm_command(args: &[&str]) -> Command {
    let mut command = sh::cmd("npm", args);
    command.current_dir(sh::root().join("web"));
    if let Some(folder) = own_node() {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(folder).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(folders).expect("the folders came from a PATH"));
    }
    command
}

/// Where `setup` puts a Node of our own, from the root.
pub(crate) const OWN_NODE: &str = "target/node";

/// The folder of the Node that `setup` fetched, if it had to.
pub(crate) fn own_node() -> Option<PathBuf> {
    let folder = sh::root().join(OWN_NODE).join("node_modules/node/bin");
    folder.join("node").is_file().then_some(folder)
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|meta| meta.modified()).ok()
}

/// The youngest source below a folder; what is made or fetched does not count.
fn newest(dir: &Path) -> SystemTime {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            !matches!(entry.file_name().to_str(), Some("dist" | "node_modules" | "tests"))
        })
        .filter_map(|entry| {
            let path = entry.path();
            if path.is_dir() { Some(newest(&path)) } else { modified(&path) }
        })
        .max()
        .unwrap_or(SystemTime::UNIX_EPOCH)
}
