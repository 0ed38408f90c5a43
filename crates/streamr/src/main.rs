//! The `streamr` command.

mod cli;
mod config;
mod doctor;
mod net;
mod progress;
mod publish;
mod serve;
mod stream;
mod term;
mod watch;

fn main() -> std::process::ExitCode {
    match cli::run() {
        Ok(code) => code,
        Err(error) => {
            term::complain(&format!("{error:#}"));
            std::process::ExitCode::FAILURE
        }
    }
}
