//! The subcommands; each is a file.

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::{config, doctor, publish, serve, stream, term, watch};

/// Live streaming from one binary: RTMP and SRT in, low-latency HLS out.
#[derive(Debug, Parser)]
#[command(name = "streamr", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve(serve::Args),
    /// Publish a file over RTMP in real time.
    Publish(publish::Args),
    /// Watch a stream without a screen and say how it was.
    Watch(watch::Args),
    /// Say what is wrong with this machine and what to do.
    Doctor(doctor::Args),
    /// Make and change streams and their keys.
    Stream(stream::Args),
    /// Show the configuration in force, or the commented example.
    Config(config::Args),
    /// Print completions for a shell: `source <(streamr completions bash)`.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Reads the command line and does what it says.
///
/// # Errors
/// One chain of sentences for the person at the terminal.
pub(crate) fn run() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Serve(args) => block_on(serve::run(args)),
        Command::Publish(args) => block_on(publish::run(args)),
        Command::Watch(args) => block_on(watch::run(args)),
        Command::Doctor(args) => block_on(doctor::run(args)),
        Command::Stream(args) => block_on(stream::run(args)),
        Command::Config(args) => config::run(&args),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "streamr", &mut text);
            term::print(&String::from_utf8_lossy(&text));
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn block_on(work: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
