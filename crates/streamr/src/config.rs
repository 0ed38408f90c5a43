//! `streamr config`, and the flags of every subcommand that needs a configuration.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use streamr_server::Config;
use streamr_server::config::{EXAMPLE, Layer, environment, flags};

use crate::term;

/// Where the configuration comes from: file, then environment (`STREAMR_*`), then flags.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Source {
    /// The configuration file; `streamr config example` writes one.
    #[arg(long, short, global = true, env = "STREAMR_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Any key of the configuration; can be given more than once.
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Same as --set data.dir=DIR.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
    /// Same as --set http.listen=ADDRESS.
    #[arg(long, global = true, value_name = "ADDRESS")]
    http_listen: Option<String>,
    /// Same as --set rtmp.listen=ADDRESS.
    #[arg(long, global = true, value_name = "ADDRESS")]
    rtmp_listen: Option<String>,
    /// Same as --set tls.self_signed=true.
    #[arg(long, global = true)]
    tls_self_signed: bool,
    /// Same as --set log.format=FORMAT.
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl Source {
    /// The configuration in force.
    pub(crate) fn load(&self) -> Result<Config> {
        let mut layers = Vec::new();
        if let Some(path) = &self.config {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the configuration file {name}"))?;
            layers.push(Layer::file(name, &text)?);
        }
        let variables: Vec<_> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let variables = variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        layers.push(environment(variables, &["STREAMR_CONFIG"])?);
        layers.push(flags(self.flags()?)?);
        Ok(Config::from_layers(&layers)?)
    }

    fn flags(&self) -> Result<Vec<(&str, &str)>> {
        let named = [
            ("data.dir", self.data_dir.as_deref()),
            ("http.listen", self.http_listen.as_deref()),
            ("rtmp.listen", self.rtmp_listen.as_deref()),
            ("tls.self_signed", self.tls_self_signed.then_some("true")),
            ("log.format", self.log_format.as_deref()),
        ];
        let mut all: Vec<_> =
            named.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        for setting in &self.set {
            match setting.split_once('=') {
                Some((key, value)) => all.push((key.trim(), value.trim())),
                None => bail!("--set {setting}: write --set key=value, e.g. --set hls.part_ms=100"),
            }
        }
        Ok(all)
    }
}

/// Flags of `streamr config`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The configuration in force, the admin token hidden.
    Print(Source),
    /// The commented example: every key with its default.
    Example,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.what {
        What::Print(source) => term::print(&source.load()?.to_toml()),
        What::Example => term::print(EXAMPLE),
    }
    Ok(ExitCode::SUCCESS)
}
