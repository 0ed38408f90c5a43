//! The subcommands; each is a file.

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::{bench, ls, show, signal, term, top, turn};

/// Examples and exit codes, below the help.
const AFTER: &str = "\
Examples:
  psyne ls                       what channels there are, who is at them, how full they are
  psyne top market/              those with market/ in their name, live
  psyne top --json -n 60 | jq    a minute of rates, a line a second
  psyne show ipc://ticks         all that is known of one
  psyne signal                   a hub over which WebRTC peers find each other
  psyne turn --help              a relay for peers whom nothing else connects
  psyne bench                    what this machine allows, and how near the channels come
  source <(psyne completions bash)

Exit codes: 0 done, 1 it could not be done (the sentence says why), 2 the command line is wrong.
Colours are used on terminals, unless NO_COLOR is set.";

/// Channels of this machine, who is at them and what they do; and what connects it to others.
#[derive(Debug, Parser)]
#[command(name = "psyne", version, propagate_version = true, after_help = AFTER)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List every channel between processes of this user (of all, for root).
    Ls(ls::Args),
    /// Show rates, depth, lag, waits and losses, live.
    Top(top::Args),
    /// Show all that is known of one channel.
    Show(show::Args),
    /// Measure the floor of this machine, and channels against it.
    Bench(bench::Args),
    /// Run a signaling hub, over which peers find each other.
    Signal(Box<signal::Args>),
    /// Run a TURN server, which relays for peers whom nothing else connects.
    Turn(Box<turn::Args>),
    /// Print completions for a shell: `source <(psyne completions bash)`.
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
    let done = match Cli::parse().command {
        Command::Ls(args) => ls::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Show(args) => show::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Signal(args) => signal::run(&args),
        Command::Turn(args) => turn::run(&args),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "psyne", &mut text);
            term::print(&String::from_utf8_lossy(&text)).map(|()| ExitCode::SUCCESS)
        }
    };
    match done {
        // Who pipes into `head` has read enough.
        Err(error) if is_closed(&error) => Ok(ExitCode::SUCCESS),
        done => done,
    }
}

fn is_closed(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
