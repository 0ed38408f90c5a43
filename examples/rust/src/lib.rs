//! What the examples have in common: their command line.

use anyhow::{Result, bail};

/// The words after the program's name.
pub fn words() -> Vec<&'static str> {
    std::env::args().skip(1).map(|word| &*word.leak()).collect()
}

/// Says what the comment at the head of `source` says.
///
/// # Errors
/// That text, unless `--help` was asked for.
pub fn help(source: &str) -> Result<()> {
    let head = source.lines().map_while(|line| line.strip_prefix("//!"));
    let head: Vec<&str> = head.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    let text = head.join("\n");
    if words() != ["--help"] {
        bail!("{text}");
    }
    println!("{text}");
    Ok(())
}
