//! `psyne signal`: a hub over which peers find each other, and tokens for it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use psyne::net::signal::server::{Config, Server, Tls};
use psyne::net::signal::{Limits, Name, Secret, Ticket, hub};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::term;

/// How long members may take to hear that the hub stops.
const FAREWELL: Duration = Duration::from_secs(3);

const AFTER: &str = "\
Examples:
  psyne signal                                           for this machine alone, open to all of it
  openssl rand -hex 32 > secret                          what hub and maker of tokens share
  psyne signal -l 0.0.0.0:7400 --secret-file secret      for the network, by token
  psyne signal token --secret-file secret --group demo   a token for an hour
  curl http://127.0.0.1:7400/metrics                     what it does

Behind a proxy, raise --connections-per-address: there everybody comes from one.";

/// Flags of `psyne signal`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    make: Option<Make>,
    /// Where to listen. Beyond this machine it wants --secret-file, or --open.
    #[arg(long, short, default_value = "127.0.0.1:7400", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// What tokens are sealed with: a file of 16 bytes or more.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Let everybody in, without a token.
    #[arg(long, conflicts_with = "secret_file")]
    open: bool,
    /// A certificate in PEM, for wss://.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its key in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// A STUN server to tell members of: stun:HOST:PORT. May be given again.
    #[arg(long, value_name = "URL")]
    stun: Vec<String>,
    /// A TURN server to tell members of: turn:HOST:PORT?transport=udp. May be given again.
    #[arg(long, value_name = "URL", requires = "turn_secret_file")]
    turn: Vec<String>,
    /// What the TURN servers share with this hub (coturn: static-auth-secret).
    #[arg(long, value_name = "FILE", requires = "turn")]
    turn_secret_file: Option<PathBuf>,
    /// Minutes for which TURN credentials hold.
    #[arg(long, default_value_t = 60, value_name = "MINUTES")]
    turn_minutes: u64,
    /// Members of one group.
    #[arg(long, default_value_t = 64, value_name = "COUNT",
          value_parser = clap::value_parser!(u16).range(2..=1_000))]
    members_max: u16,
    /// Connections of one address.
    #[arg(long, default_value_t = Limits::default().connections_per_source_max,
          value_name = "COUNT")]
    connections_per_address: usize,
    /// Print lines of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Make {
    /// Print a token that lets somebody join a group for a while.
    Token(Token),
}

#[derive(Debug, clap::Args)]
struct Token {
    /// What the hub was given as --secret-file.
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,
    /// Which group.
    #[arg(long)]
    group: Name,
    /// On whose account: quotas count by it.
    #[arg(long, default_value = "guest")]
    user: Name,
    /// By which name only; without it by any.
    #[arg(long)]
    peer: Option<Name>,
    /// For how many minutes.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.make {
        Some(Make::Token(token)) => print_token(token)?,
        None => serve(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print_token(token: &Token) -> Result<()> {
    let secret = secret(&token.secret_file)?;
    let now_s =
        SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is wrong")?.as_secs();
    let expires_unix_s = now_s.saturating_add(token.minutes.saturating_mul(60));
    let Token { user, group, peer, .. } = token;
    let (user, group, peer) = (user.clone(), group.clone(), peer.clone());
    let ticket = Ticket { user, group, peer, expires_unix_s };
    term::print(&(ticket.seal(&secret) + "\n"))
}

#[tokio::main(flavor = "current_thread")]
async fn serve(args: &Args) -> Result<()> {
    let (server, driver) = Server::listen(config(args)?)?;
    announce(args, server.local_addr())?;
    let mut ended = signal(SignalKind::terminate())?;
    let mut driver = driver;
    tokio::select! {
        () = &mut driver => bail!("the hub ended by itself, which is a fault of ours"),
        _ = tokio::signal::ctrl_c() => {}
        _ = ended.recv() => {}
    }
    let metrics = server.metrics();
    server.close();
    // Who does not listen is cut off.
    let _ = tokio::time::timeout(FAREWELL, driver).await;
    if args.json {
        let hub::Metrics { joins, relayed, refused, .. } = metrics;
        let line = json!({"stopped": true, "joins": joins, "relayed": relayed, "refused": refused});
        term::print(&format!("{line}\n"))?;
    }
    Ok(())
}

fn config(args: &Args) -> Result<Config> {
    let secret = args.secret_file.as_deref().map(secret).transpose()?;
    if secret.is_none() && !args.open && !args.listen.ip().is_loopback() {
        bail!(
            "{} can be reached from elsewhere: give --secret-file FILE, whose tokens let people \
             in, or --open to let in everybody",
            args.listen
        );
    }
    let turn = match &args.turn_secret_file {
        None => None,
        Some(file) => {
            let lifetime_s = args.turn_minutes.saturating_mul(60);
            Some(hub::Turn { urls: args.turn.clone(), secret: self::secret(file)?, lifetime_s })
        }
    };
    let default = Limits::default();
    let members_max = usize::from(args.members_max);
    let limits = Limits {
        members_max,
        connections_per_source_max: args.connections_per_address,
        // A welcome names all members, and a newcomer's offers come from each of them.
        queue_bytes_max: default.queue_bytes_max.max(members_max * (4 << 10)),
        ..default
    };
    let tls = args.tls_cert.clone().zip(args.tls_key.clone());
    let tls = tls.map(|(certificate, key)| Tls { certificate, key });
    let stun_urls = args.stun.clone();
    let hub = hub::Config { secret, stun_urls, turn, limits, ..hub::Config::default() };
    Ok(Config { listen: args.listen, tls, hub })
}

/// A secret as its file says it, without the blanks around it.
fn secret(file: &Path) -> Result<Secret> {
    let bytes = std::fs::read(file).with_context(|| format!("{} can't be read", file.display()))?;
    let too_short = || {
        let (file, min) = (file.display(), Secret::BYTES_MIN);
        format!("{file} has fewer than {min} bytes; make one: openssl rand -hex 32 > {file}")
    };
    Secret::new(bytes.trim_ascii()).with_context(too_short)
}

fn announce(args: &Args, addr: SocketAddr) -> Result<()> {
    let scheme = if args.tls_cert.is_some() { "wss" } else { "ws" };
    let url = format!("{scheme}://{addr}");
    if args.json {
        let line = json!({"listening": url, "open": args.secret_file.is_none()});
        return term::print(&format!("{line}\n"));
    }
    let who = match args.secret_file {
        Some(_) => "by token",
        None => "open to everybody who reaches it",
    };
    term::print(&format!("Peers meet at {url}, {who}. Ctrl-C stops it.\n"))
}
