//! The main job on real input: serve, publish the sample over RTMP, watch.

mod check;
mod container;
mod obs;
mod site;

use anyhow::Result;

use crate::{setup, sh};

pub(crate) use check::browser_cases;
pub(crate) use container::run as container;
pub(crate) use obs::run as obs;
use site::{Ports, Site};

/// How to run it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Watch with native viewers for a while instead of a browser, print a JSON summary, and fail
    /// unless all of it held.
    #[arg(long)]
    check: bool,
    /// How long --check watches.
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// Build without optimisation: sooner built, slower to run.
    #[arg(long)]
    dev: bool,
}

impl Args {
    /// What `cargo xtask test` runs: the binary that the tests have built already.
    pub(crate) const fn check() -> Self {
        Self { check: true, seconds: 30, dev: true }
    }
}

/// Sets up, builds, serves and publishes; then waits for Ctrl-C, or checks.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::demo()?;
    let streamr = site::build(args.dev)?;
    if args.check {
        return check::run(&streamr, args.seconds);
    }
    let mut site = Site::start(&streamr, &Ports::usual_or_free()?)?;
    site.publish()?;
    site.await_live()?;
    sh::say(&format!("open {}/watch/{} in a browser; Ctrl-C ends it", site.url(), site::STREAM));
    site.wait()
}
