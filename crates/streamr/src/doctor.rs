//! `streamr doctor`.

use std::process::ExitCode;

use anyhow::Result;
use streamr_server::doctor::{Level, examine};

use crate::config::Source;
use crate::term::{self, Ink, ink};

/// Flags of `streamr doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

/// Exits with 1 if the server could not run.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let findings = examine(&args.source.load()?).await;
    let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Good);
    if args.json {
        term::print(&serde_json::to_string_pretty(&findings)?);
    } else {
        for finding in &findings {
            let mark = match finding.level {
                Level::Good => ink(Ink::Good, "  ok "),
                Level::Warning => ink(Ink::Warning, "warn "),
                Level::Bad => ink(Ink::Bad, " BAD "),
            };
            term::print(&format!("{mark} {:<12} {}", finding.subject, finding.message));
        }
    }
    Ok(if worst == Level::Bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
