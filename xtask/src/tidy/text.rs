//! Rules for every file: size, line length, words that must not be committed.

use super::{File, Finding};

const FILE_BYTES_MAX: usize = 2_000_000;
const LINE_COLUMNS_MAX: usize = 100;

/// Psyne is a fabric: it does not know who uses it.
const PRODUCT_WORDS: &[&str] = &["viewer", "supporter", "streamr"];

/// What a pure crate must not touch.
const IMPURE: &[&str] = &[
    "std::net",
    "std::fs",
    "std::thread",
    "std::process",
    "std::env",
    "SystemTime",
    "Instant::now",
    "tokio::",
    "rand::rng",
];
const PURE_CRATES: &[&str] = &["psyne-core", "psyne", "streamr-core", "streamr-media"];

pub(super) fn check(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    if file.bytes.len() > FILE_BYTES_MAX {
        findings.push(Finding::new(&file.path, "over 2 MB: it does not belong into git"));
    }
    let Some(text) = file.text() else { return findings };
    let shipped = shipped_crate(&file.path);
    let mut tests = false;
    for (index, line) in text.lines().enumerate() {
        tests |= line.trim() == "#[cfg(test)]";
        for message in line_faults(&file.path, line, shipped.filter(|_| !tests)) {
            findings.push(Finding::new(format!("{}:{}", file.path, index + 1), message));
        }
    }
    findings
}

/// The crate whose shipping source this file is.
fn shipped_crate(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("crates/")?;
    let (name, rest) = rest.split_once('/')?;
    (rest.starts_with("src/") && path.ends_with(".rs")).then_some(name)
}

fn line_faults(path: &str, line: &str, shipped: Option<&str>) -> Vec<String> {
    let mut faults = Vec::new();
    let code = [".rs", ".ts", ".svelte", ".py", ".mjs"].iter().any(|end| path.ends_with(end));
    if code && line.chars().count() > LINE_COLUMNS_MAX {
        faults.push(format!("more than {LINE_COLUMNS_MAX} columns"));
    }
    // Spelled in two halves so that this file does not find itself.
    for folder in [concat!("/wo", "rk/"), concat!("/ro", "ot/")] {
        if starts_path(line, folder) {
            faults.push(format!("names {folder}, a path of somebody's machine"));
        }
    }
    let Some(name) = shipped else { return faults };
    let low = line.to_lowercase();
    if name.starts_with("psyne") {
        let word = PRODUCT_WORDS.iter().find(|word| low.contains(**word));
        faults.extend(word.map(|word| format!("psyne never says \"{word}\"")));
    }
    if PURE_CRATES.contains(&name) && !low.trim_start().starts_with("//") {
        let word = IMPURE.iter().find(|word| line.contains(**word));
        faults.extend(word.map(|word| format!("{name} is pure: no {word}")));
    }
    faults
}

/// Whether `folder` stands where an absolute path begins, not inside a longer one.
fn starts_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "_.-}$".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_found_and_clean_lines_pass() {
        let long = "x".repeat(101);
        let cases = [
            ("crates/a/src/b.rs", long.as_str(), 1),
            ("crates/psyne/src/lib.rs", "// a viewer", 1),
            ("crates/streamr-core/src/lib.rs", "use std::fs;", 1),
            ("crates/streamr-core/src/lib.rs", "// never std::fs", 0),
            ("README.md", "see frame/work/tree", 0),
        ];
        for (path, line, expected) in cases {
            let found = line_faults(path, line, shipped_crate(path)).len();
            assert_eq!(found, expected, "{path}: {line}");
        }
    }
}
