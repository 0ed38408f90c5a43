//! `psyne turn`: a relay for peers whom nothing else connects, and credentials for it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use psyne::net::signal::server::Tls;
use psyne::net::turn::{Config, Prefix, Reach, Server, ServerConfig, Users, issue};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::term;

const AFTER: &str = "\
Examples:
  openssl rand -hex 32 > secret                 what this server and makers of credentials share
  psyne turn -l 198.51.100.7:3478 --secret-file secret
  psyne turn -l 0.0.0.0:3478 --relay 10.0.0.5 --external 198.51.100.7 --secret-file secret
                                                behind a translation, as many clouds have
  psyne turn credential --secret-file secret --user ann      name and password for an hour
  psyne signal --turn turn:198.51.100.7:3478 --turn-secret-file secret    a hub that hands them out

It answers STUN, too. Open UDP 49152-65535 (--ports) in the firewall, besides the port itself.";

/// Bytes that a secret has at least.
const SECRET_BYTES_MIN: usize = 16;

/// Flags of `psyne turn`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    make: Option<Make>,
    /// Where clients reach it by UDP and TCP. May be given again.
    #[arg(long, short, default_value = "127.0.0.1:3478", value_name = "ADDRESS:PORT")]
    listen: Vec<SocketAddr>,
    /// What short-lived credentials are made with: a file of 16 bytes or more. A second is an older
    /// one, whose credentials still live.
    #[arg(long, value_name = "FILE")]
    secret_file: Vec<PathBuf>,
    /// Lasting users: a file with a line name:password for each.
    #[arg(long, value_name = "FILE")]
    users_file: Option<PathBuf>,
    /// The address of this machine that is lent; one for IPv4, one for IPv6. Without it, those of
    /// --listen.
    #[arg(long, value_name = "ADDRESS")]
    relay: Vec<IpAddr>,
    /// What peers must call it, where a translation lies before it.
    #[arg(long, value_name = "ADDRESS")]
    external: Vec<IpAddr>,
    /// Ports that are lent.
    #[arg(long, default_value = "49152-65535", value_name = "FIRST-LAST", value_parser = ports)]
    ports: RangeInclusive<u16>,
    /// Where clients reach it by TLS, most often on port 5349 or 443.
    #[arg(long, value_name = "ADDRESS:PORT", requires = "tls_cert", requires = "tls_key")]
    tls_listen: Option<SocketAddr>,
    /// A certificate in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_listen")]
    tls_cert: Option<PathBuf>,
    /// Its key in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_listen")]
    tls_key: Option<PathBuf>,
    /// Let clients reach these private addresses: 10.0.0.0/8. May be given again.
    #[arg(long, value_name = "RANGE", value_parser = prefix)]
    allow_peer: Vec<Prefix>,
    /// Let clients not reach these public addresses. May be given again.
    #[arg(long, value_name = "RANGE", value_parser = prefix)]
    deny_peer: Vec<Prefix>,
    /// What clients sign with, besides name and password.
    #[arg(long, default_value = "psyne", value_parser = realm)]
    realm: String,
    /// Allocations at a time.
    #[arg(long, default_value_t = 4_096, value_name = "COUNT")]
    allocations_max: usize,
    /// Allocations of one user at a time.
    #[arg(long, default_value_t = 16, value_name = "COUNT")]
    user_allocations_max: usize,
    /// Mbit a second that one allocation carries, both ways together.
    #[arg(long, default_value_t = 100, value_name = "MBIT",
          value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    mbit_max: u64,
    /// Say nothing to strangers that is longer than what they said. Browsers get no answer so.
    #[arg(long)]
    strict: bool,
    /// Where to serve /metrics and /health.
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
    /// Print lines of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Make {
    /// Print a name and a password that end by themselves.
    Credential(Credential),
}

#[derive(Debug, clap::Args)]
struct Credential {
    /// What the server was given as --secret-file.
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,
    /// On whose account: quotas count by it.
    #[arg(long, default_value = "guest")]
    user: String,
    /// For how many minutes.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Print a line of JSON.
    #[arg(long)]
    json: bool,
}

fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let wrong = || "write FIRST-LAST, such as 49152-65535".to_owned();
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => Err(wrong()),
    }
}

fn prefix(text: &str) -> Result<Prefix, String> {
    text.parse().map_err(|_| "write an address or a range such as 10.0.0.0/8".to_owned())
}

fn realm(text: &str) -> Result<String, String> {
    let good = (1..=64).contains(&text.len()) && !text.contains(|at: char| at.is_control());
    if good { Ok(text.to_owned()) } else { Err("a realm has 1 to 64 bytes".to_owned()) }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.make {
        Some(Make::Credential(credential)) => print_credential(credential)?,
        None => serve(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print_credential(args: &Credential) -> Result<()> {
    let secret = secret(&args.secret_file)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is wrong")?;
    let until = now.as_secs().saturating_add(args.minutes.saturating_mul(60));
    let credential = issue(&secret, &args.user, until);
    let (username, password) = (credential.username, credential.password);
    let line = match args.json {
        true => json!({"username": username, "password": password}).to_string(),
        false => format!("{username} {password}"),
    };
    term::print(&(line + "\n"))
}

#[tokio::main(flavor = "current_thread")]
async fn serve(args: &Args) -> Result<()> {
    let (server, mut driver) = Server::listen(config(args)?)?;
    announce(args, &server)?;
    let mut ended = signal(SignalKind::terminate())?;
    tokio::select! {
        () = &mut driver => bail!("the server ended by itself, which is a fault of ours"),
        _ = tokio::signal::ctrl_c() => {}
        _ = ended.recv() => {}
    }
    let metrics = server.metrics().server;
    if args.json {
        let line = json!({"stopped": true, "allocations": metrics.allocations_made,
                          "to_peers_bytes": metrics.to_peers_bytes,
                          "to_clients_bytes": metrics.to_clients_bytes});
        term::print(&format!("{line}\n"))?;
    }
    Ok(())
}

fn config(args: &Args) -> Result<Config> {
    let users = users(args)?;
    let mut server = ServerConfig::new(args.realm.clone(), users, 0);
    server.reach = Reach { allowed: args.allow_peer.clone(), denied: args.deny_peer.clone() };
    server.allocations_max = args.allocations_max;
    server.user_allocations_max = args.user_allocations_max;
    server.allocation_bytes_per_s = args.mbit_max * 125_000;
    server.strict = args.strict;
    let mut config = Config::new(args.listen.clone(), relay(args)?, server);
    config.external.clone_from(&args.external);
    config.ports = args.ports.clone();
    config.report = args.metrics;
    let files = args.tls_cert.clone().zip(args.tls_key.clone());
    let tls = files.map(|(certificate, key)| Tls { certificate, key });
    config.tls = args.tls_listen.zip(tls);
    Ok(config)
}

/// Those given, or the first of each kind that it listens at.
fn relay(args: &Args) -> Result<Vec<IpAddr>> {
    if !args.relay.is_empty() {
        return Ok(args.relay.clone());
    }
    let mut relay: Vec<IpAddr> = Vec::new();
    for ip in args.listen.iter().map(SocketAddr::ip).filter(|ip| !ip.is_unspecified()) {
        if relay.iter().all(|other| other.is_ipv4() != ip.is_ipv4()) {
            relay.push(ip);
        }
    }
    if relay.is_empty() {
        bail!("which address is lent is not said: give --relay ADDRESS, one of this machine's");
    }
    Ok(relay)
}

fn users(args: &Args) -> Result<Users> {
    let secrets = args.secret_file.iter().map(|file| secret(file)).collect::<Result<_>>()?;
    let passwords = args.users_file.as_deref().map(passwords).transpose()?.unwrap_or_default();
    let users = Users { passwords, secrets };
    if users.passwords.is_empty() && users.secrets.is_empty() {
        bail!(
            "nobody could use it: give --secret-file FILE for credentials that end (make one: \
             openssl rand -hex 32 > FILE), or --users-file FILE"
        );
    }
    Ok(users)
}

fn passwords(file: &Path) -> Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(file);
    let text = text.with_context(|| format!("{} can't be read", file.display()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let pair = |(at, line): (usize, &str)| {
        let pair = line
            .split_once(':')
            .filter(|(name, password)| (1..=500).contains(&name.len()) && !password.is_empty());
        let (name, password) = pair.with_context(|| {
            format!("line {} of {} is not name:password", at + 1, file.display())
        })?;
        Ok((name.to_owned(), password.to_owned()))
    };
    lines.map(pair).collect()
}

/// A secret as its file says it, without the blanks around it.
fn secret(file: &Path) -> Result<Vec<u8>> {
    let bytes = std::fs::read(file).with_context(|| format!("{} can't be read", file.display()))?;
    let secret = bytes.trim_ascii();
    if secret.len() < SECRET_BYTES_MIN {
        let (file, min) = (file.display(), SECRET_BYTES_MIN);
        bail!("{file} has fewer than {min} bytes; make one: openssl rand -hex 32 > {file}");
    }
    Ok(secret.to_vec())
}

fn announce(args: &Args, server: &Server) -> Result<()> {
    let addrs = server.local_addrs();
    if args.json {
        let line = json!({"listening": addrs, "tls": server.tls_addr(),
                          "metrics": server.report_addr()});
        return term::print(&format!("{line}\n"));
    }
    let mut urls: Vec<_> = addrs.iter().map(|addr| format!("turn:{addr}")).collect();
    urls.extend(server.tls_addr().map(|addr| format!("turns:{addr}")));
    term::print(&format!("Peers are relayed at {}. Ctrl-C stops it.\n", urls.join(" ")))
}
