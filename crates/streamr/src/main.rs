//! The `streamr` command.

mod cli;
mod config;
mod doctor;
mod serve;
mod stream;
mod term;

fn main() -> std::process::ExitCode {
    match cli::run() {
        Ok(code) => code,
        Err(error) => {
            term::complain(&format!("{error:#}"));
            std::process::ExitCode::FAILURE
        }
    }
}
