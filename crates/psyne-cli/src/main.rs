//! The `psyne` command.

mod bench;
mod channels;
mod cli;
mod ls;
mod show;
mod signal;
mod table;
mod term;
mod top;
mod turn;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(code) => code,
        Err(error) => {
            term::complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
