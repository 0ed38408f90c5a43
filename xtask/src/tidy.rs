//! The rules of the house that a machine can check. STYLE.md says why they stand.

mod layers;
mod rust;
mod text;

use anyhow::{Result, bail};

use crate::{header, sh, wasm};

/// One broken rule: where, and what to do.
pub(crate) struct Finding {
    /// Path in the repository, with a line where there is one.
    pub(crate) place: String,
    /// What is wrong and what to do.
    pub(crate) message: String,
}

impl Finding {
    pub(crate) fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), message: message.into() }
    }
}

/// A file that git tracks or would track.
pub(crate) struct File {
    /// Path from the root, with slashes.
    pub(crate) path: String,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
}

impl File {
    /// Its text, if it is text.
    pub(crate) fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }

    /// Whether it is Rust that ships, or Rust that tests.
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// Formatting, lints, layers, sizes, words.
pub(crate) fn run() -> Result<()> {
    let files = files()?;
    let mut findings = layers::check(&files)?;
    for file in &files {
        findings.extend(text::check(file));
        if file.is_rust() {
            findings.extend(rust::check(file));
        }
    }
    findings.extend(stale_header(&files)?);
    for finding in &findings {
        sh::say(&format!("{}: {}", finding.place, finding.message));
    }
    for manifest in ["Cargo.toml", "bench/Cargo.toml"] {
        lint(manifest)?;
    }
    wasm::check(&layers::pure(&files))?;
    if !findings.is_empty() {
        bail!("tidy: {} rules are broken", findings.len());
    }
    sh::say(&format!("tidy: {} files keep the rules of the house", files.len()));
    Ok(())
}

/// The C header must be what its source says.
fn stale_header(files: &[File]) -> Result<Option<Finding>> {
    let committed = files.iter().find(|file| file.path == header::PATH).and_then(File::text);
    let is_current = committed == Some(header::text()?.as_str());
    let finding = || Finding::new(header::PATH, "is not current: `cargo xtask header`");
    Ok((!is_current).then(finding))
}

/// Formatting and lints of a workspace.
fn lint(manifest: &str) -> Result<()> {
    let at = ["--manifest-path", manifest];
    sh::run(sh::cargo(&[&["fmt", "--all", "--check"], &at[..]].concat()))?;
    let all = ["clippy", "--workspace", "--all-targets", "--locked", "--target-dir", "target"];
    sh::run(sh::cargo(&[&all, &at[..], &["--", "-D", "warnings"]].concat()))
}

fn files() -> Result<Vec<File>> {
    let list = sh::output(sh::cmd("git", &["ls-files", "-co", "--exclude-standard"]))?;
    let root = sh::root();
    let read = |path: &str| {
        let bytes = std::fs::read(root.join(path)).ok()?;
        Some(File { path: path.to_owned(), bytes })
    };
    Ok(list.lines().filter_map(read).collect())
}
