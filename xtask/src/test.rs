//! Every test there is, as CI runs them.

use anyhow::Result;

use crate::proofs::{self, Sanitizer};
use crate::{demo, setup, sh, tidy, web};

/// How long a browser plays without a stall.
const WATCH_SECONDS: u32 = 60;

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these stages; all of them if none is named.
    #[arg(value_enum)]
    stages: Vec<Stage>,
    /// Of the browser's cases only those with this in their name.
    #[arg(long = "case", value_name = "WORD")]
    cases: Vec<String>,
    /// Also what CI leaves out: long simulations and soak tests, Miri, sanitizers, OBS, container.
    #[arg(long)]
    long: bool,
}

/// The stages, in the order in which they run: quick ones first.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Stage {
    /// The rules of the house, formatting, lints.
    Tidy,
    /// Units of the pages.
    Web,
    /// Every Rust test and the examples in the documentation.
    Rust,
    /// Every interleaving of the channels' protocols, by loom.
    Model,
    /// The main job with native viewers.
    Demo,
    /// The main job in a real Chromium.
    Browser,
    /// The channels' tests in Miri, on nightly: only with --long, or if named.
    Miri,
    /// The channels' tests with AddressSanitizer, likewise.
    Address,
    /// The channels' tests with ThreadSanitizer, likewise.
    Thread,
    /// The real OBS on a screen of its own, likewise.
    Obs,
    /// The container file's last stage in a bare Debian, as root, likewise.
    Container,
}

/// Those that CI leaves out.
const LONG: [Stage; 5] = [Stage::Miri, Stage::Address, Stage::Thread, Stage::Obs, Stage::Container];

/// Sets up what is missing and runs the stages.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::everything()?;
    let all = [Stage::Tidy, Stage::Web, Stage::Rust, Stage::Model, Stage::Demo, Stage::Browser];
    let all = all.iter().chain(&LONG);
    let unnamed = |stage: &Stage| args.stages.is_empty() && (args.long || !LONG.contains(stage));
    for stage in all.filter(|stage| unnamed(stage) || args.stages.contains(stage)) {
        match stage {
            Stage::Tidy => tidy::run()?,
            Stage::Web => pages()?,
            Stage::Rust => rust(args.long)?,
            Stage::Model => proofs::loom()?,
            Stage::Demo => demo::run(&demo::Args::check())?,
            Stage::Browser => demo::browser_cases(WATCH_SECONDS, &args.cases)?,
            Stage::Miri => proofs::miri()?,
            Stage::Address => proofs::sanitize(Sanitizer::Address)?,
            Stage::Thread => proofs::sanitize(Sanitizer::Thread)?,
            Stage::Obs => demo::obs()?,
            Stage::Container => demo::container()?,
        }
    }
    sh::say("every test that was asked for passed");
    if !setup::is_root()? {
        sh::say("not shown: processes of other users at a shared path (only root can start them)");
    }
    Ok(())
}

fn pages() -> Result<()> {
    web::npm(&["run", "check"])?;
    web::npm(&["test"])
}

fn rust(long: bool) -> Result<()> {
    let mut nextest = vec!["nextest", "run", "--workspace", "--locked", "--no-fail-fast"];
    if long {
        nextest.extend(["--run-ignored", "all"]);
    }
    sh::run(sh::cargo(&nextest))?;
    let bench = ["--manifest-path", "bench/Cargo.toml", "--target-dir", "target"];
    sh::run(sh::cargo(&[&["nextest", "run", "--workspace", "--locked"], &bench[..]].concat()))?;
    sh::run(sh::cargo(&["test", "--doc", "--workspace", "--locked", "--quiet"]))
}
