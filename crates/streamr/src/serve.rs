//! `streamr serve`.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use streamr_server::config::{Log, LogFormat};
use streamr_server::serve::{Hello, Server, signals};
use tracing_subscriber::EnvFilter;

use crate::config::Source;
use crate::term::{self, Ink, ink};

/// Flags of `streamr serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let config = args.source.load()?;
    start_log(&config.log)?;
    raise_file_limit();
    let server = Server::bind(config).await?;
    welcome(server.hello());
    let shutdown = server.app().shutdown.clone();
    tokio::select! {
        () = server.run() => Ok(ExitCode::SUCCESS),
        // A second signal: whoever sent it does not want to wait for segments.
        forced = signals(shutdown) => forced.map(|()| ExitCode::from(130)).map_err(Into::into),
    }
}

fn welcome(hello: &Hello) {
    let mut lines = vec![
        format!("watch    {}", ink(Ink::Strong, &hello.page_url)),
        format!("publish  {}", ink(Ink::Strong, &hello.ingest_url)),
    ];
    if let Some((name, key)) = &hello.first_stream {
        lines.push(format!("key      {}", ink(Ink::Strong, key)));
        lines
            .push(format!("         This key of the stream \"{name}\" is shown only now. In OBS:"));
        lines.push(
            "         Settings, Stream, Service \"Custom\", the address above, this key.".into(),
        );
    }
    if let Some(token) = &hello.admin_token {
        lines.push(format!("admin    {}", ink(Ink::Strong, token)));
        lines.push("         This token of the API is shown only now.".into());
    }
    term::print(&lines.join("\n"));
}

fn start_log(log: &Log) -> Result<()> {
    let filter = EnvFilter::try_new(&log.filter)
        .with_context(|| format!("log.filter is \"{}\": write for instance info", log.filter))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            lines.with_target(false).with_ansi(colours).init();
        }
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}

/// Each connection is an open file; the soft limit of most systems is 1,024 for the sake of
/// programs that use `select`, which this one does not.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!("the limit on open files stays {:?}: {error}", limit.current);
    }
}
