//! Imports go strictly down: the table in ARCHITECTURE.md against `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{File, Finding};
use crate::sh;

const MAP: &str = "ARCHITECTURE.md";

/// Each edge between our crates must be in the table, and each crate must have a row.
pub(super) fn check(files: &[File]) -> Result<Vec<Finding>> {
    let map = files.iter().find(|file| file.path == MAP).and_then(File::text);
    let allowed = table(map.context("ARCHITECTURE.md is missing")?);
    let metadata = sh::output(sh::cargo(&["metadata", "--format-version=1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let ours: BTreeSet<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let mut findings = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(may) = allowed.get(name) else {
            findings.push(Finding::new(MAP, format!("the table of layers has no row for {name}")));
            continue;
        };
        let edges = package["dependencies"].as_array().into_iter().flatten();
        for target in edges.filter_map(|edge| edge["name"].as_str()) {
            if ours.contains(target) && !may.imports.contains(target) {
                let message = format!("{name} imports {target}: not in the table of layers");
                findings.push(Finding::new(format!("crates/{name}/Cargo.toml"), message));
            }
        }
    }
    Ok(findings)
}

/// The crates that the table calls pure.
pub(super) fn pure(files: &[File]) -> Vec<String> {
    let map = files.iter().find(|file| file.path == MAP).and_then(File::text).unwrap_or_default();
    table(map).into_iter().filter(|(_, row)| row.kind == "pure").map(|(name, _)| name).collect()
}

/// What the table says of a crate.
struct Row {
    imports: BTreeSet<String>,
    kind: String,
}

/// Rows `| crate | a, b | kind |` between the tidy:layers marks.
fn table(map: &str) -> BTreeMap<String, Row> {
    let rows = map.split("<!-- tidy:layers -->").nth(1).unwrap_or_default();
    let rows = rows.split("<!-- /tidy:layers -->").next().unwrap_or_default();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let (name, imports, kind) = (cells.get(1)?, cells.get(2)?, cells.get(3)?);
        let imports = imports.split(',').map(|word| word.trim().to_owned()).collect();
        Some(((*name).to_owned(), Row { imports, kind: (*kind).to_owned() }))
    };
    rows.lines().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read() {
        let map =
            "x\n<!-- tidy:layers -->\n| a | b, c | pure |\n| d | | pure |\n<!-- /tidy:layers -->";
        let table = table(map);
        assert!(table["a"].imports.contains("c"));
        assert!(!table["d"].imports.contains("a"));
        assert_eq!(table["d"].kind, "pure");
    }
}
