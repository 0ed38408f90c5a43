//! `streamr stream`: works on the database itself, so that it needs no running server and no
//! token: whoever can write the file may. A running server sees each change at the next request
//! or publisher; to cut off a broadcast that is on, use the API.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use clap::Subcommand;
use streamr_core::id::StreamName;
use streamr_core::key::StreamKey;
use streamr_core::lifecycle::State;
use streamr_server::store::Stream;
use streamr_server::time::rfc3339;
use streamr_server::{App, Error, admin, serve};

use crate::config::Source;
use crate::term;

/// Flags of `streamr stream`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    source: Source,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a stream; prints its key, once.
    Add {
        /// What it is called in addresses: a-z, 0-9, - and _.
        name: StreamName,
        /// What it is called on pages.
        #[arg(long, default_value = "")]
        title: String,
    },
    /// List all streams.
    List,
    /// Replace a stream's key; prints the new one, once.
    RotateKey {
        /// Which stream.
        name: StreamName,
    },
    /// End a stream for good. Its name stays taken.
    Archive {
        /// Which stream.
        name: StreamName,
    },
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let config = args.source.load()?;
    let store = Arc::new(serve::open_store(&config).await?);
    let app = App::new(config, store);
    match args.what {
        What::Add { name, title } => {
            let (stream, key) = admin::add_stream(&app, name, title).await?;
            show_key(&app, &stream.name, &key, args.json);
        }
        What::List => list(&app.store.streams().await?, args.json)?,
        What::RotateKey { name } => {
            let key = admin::rotate_key(&*app.store, &name).await?;
            show_key(&app, &name, &key, args.json);
        }
        What::Archive { name } => archive(&app, &name, args.json).await?,
    }
    app.store.close().await;
    Ok(ExitCode::SUCCESS)
}

fn show_key(app: &App, name: &StreamName, key: &StreamKey, json: bool) {
    let url = admin::publish_url(&app.config, "localhost", key);
    if json {
        let key = key.reveal();
        let value = serde_json::json!({ "name": name, "key": key, "publish_url": url });
        term::print(&value.to_string());
    } else {
        term::print(&format!(
            "{name}\n  key      {} (shown only now)\n  publish  {url}",
            key.reveal()
        ));
    }
}

fn list(streams: &[Stream], json: bool) -> Result<()> {
    if json {
        let one = |s: &Stream| {
            let created_at = rfc3339(s.created_unix_ms);
            serde_json::json!({
                "name": s.name, "title": s.title, "state": s.state, "created_at": created_at
            })
        };
        let all: Vec<_> = streams.iter().map(one).collect();
        term::print(&serde_json::to_string_pretty(&serde_json::json!({ "streams": all }))?);
    } else if streams.is_empty() {
        term::print("There are no streams yet: streamr stream add NAME makes one.");
    } else {
        for stream in streams {
            term::print(&format!("{:<24} {:<9} {}", stream.name, stream.state, stream.title));
        }
    }
    Ok(())
}

async fn archive(app: &App, name: &StreamName, json: bool) -> Result<()> {
    let stream = app.store.stream(name).await?.ok_or(Error::NoStream(name.to_string()))?;
    app.store.set_state(name, State::Archived).await?;
    if json {
        term::print(&serde_json::json!({ "name": name, "state": State::Archived }).to_string());
    } else if stream.state == State::Live {
        term::print(&format!("{name} is archived; who publishes now may go on until leaving."));
    } else {
        term::print(&format!("{name} is archived."));
    }
    Ok(())
}
