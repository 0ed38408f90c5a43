//! Every test there is, as CI runs them.

use anyhow::Result;

use crate::{demo, setup, sh, tidy, web};

/// How long a browser plays without a stall.
const WATCH_SECONDS: u32 = 60;

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also the long simulations and soak tests that CI leaves out.
    #[arg(long)]
    long: bool,
}

/// Sets up what is missing, then: rules, Rust tests, doc tests, pages, the demo, a real browser.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::everything()?;
    tidy::run()?;
    let mut nextest = vec!["nextest", "run", "--workspace", "--locked", "--no-fail-fast"];
    if args.long {
        nextest.extend(["--run-ignored", "all"]);
    }
    sh::run(sh::cargo(&nextest))?;
    sh::run(sh::cargo(&["test", "--doc", "--workspace", "--locked", "--quiet"]))?;
    web::npm(&["run", "check"])?;
    web::npm(&["test"])?;
    demo::run(&demo::Args::check())?;
    demo::browser_cases(WATCH_SECONDS)?;
    sh::say("every test passed");
    Ok(())
}
