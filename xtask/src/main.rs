//! The project's own commands. `cargo xtask help` lists them.

mod bench;
mod demo;
mod header;
mod proofs;
mod sample;
mod setup;
mod sh;
mod test;
mod tidy;
mod wasm;
mod web;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Everything the project does to itself, on a fresh Debian with only Rust and git.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what is missing: Debian packages, npm packages, cargo tools.
    Setup,
    /// Serve, publish the sample over RTMP, and print the page to open.
    Demo(demo::Args),
    /// Run every test there is, as CI does.
    Test(test::Args),
    /// Measure side by side with peers, or render what was measured.
    Bench(bench::Args),
    /// Build the web pages that the binary embeds.
    Web,
    /// Check the rules of the house that a machine can check.
    Tidy,
    /// Write the C header (crates/psyne-c/include/psyne.h) again.
    Header,
    /// Make the clapperboard sample clip again (assets/clapper.mp4).
    Sample,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            sh::say(&format!("failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Setup => setup::everything(),
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Web => setup::demo_packages().and_then(|()| web::build()),
        Command::Tidy => tidy::run(),
        Command::Header => header::write(),
        Command::Sample => sample::make(),
    }
}
