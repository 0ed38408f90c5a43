//! What is wrong with this machine, and what to do about it.

use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use serde::Serialize;
use tokio::process::Command;
use tokio::time::timeout;

use crate::http::tls::Certs;
use crate::store::Store;
use crate::time::{rfc3339, unix_ms};
use crate::{Config, serve};

/// Below this the clock was never set: this code was written later (2026-01-01).
const EARLIEST_UNIX_MS: u64 = 1_767_225_600_000;
/// Below this a database grows into a full disk within days.
const DISK_FREE_BYTES_MIN: u64 = 256 << 20;
/// Below this a few busy streams do not fit: each keeps its last segments in memory.
const MEMORY_FREE_BYTES_MIN: u64 = 256 << 20;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Good,
    /// It runs, but less well or not for long.
    Warning,
    /// It does not run.
    Bad,
}

/// What one look found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: "clock", "port RTMP" …
    pub subject: String,
    /// How bad it is.
    pub level: Level,
    /// What was found, and what to do about it unless it is good.
    pub message: String,
}

impl Finding {
    fn good(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self { subject: subject.into(), level: Level::Good, message: message.into() }
    }

    fn warning(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self { subject: subject.into(), level: Level::Warning, message: message.into() }
    }

    fn bad(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self { subject: subject.into(), level: Level::Bad, message: message.into() }
    }
}

/// Looks at everything that `streamr serve` with this configuration needs. Makes data.dir and the
/// database if they are absent, as serving would.
pub async fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = vec![clock(unix_ms())];
    findings.extend(ports(config));
    findings.push(store(config).await);
    findings.extend(disk(&config.data.dir));
    findings.push(files(config));
    findings.extend(memory());
    findings.push(ffmpeg(config).await);
    findings.push(tls(config));
    findings
}

fn clock(now_unix_ms: u64) -> Finding {
    let now = rfc3339(now_unix_ms);
    if now_unix_ms < EARLIEST_UNIX_MS {
        let what = "certificates and times in playlists will be wrong";
        return Finding::bad(
            "clock",
            format!("it says {now}, {what}: set it, or start an NTP client"),
        );
    }
    Finding::good("clock", now)
}

fn ports(config: &Config) -> Vec<Finding> {
    let listeners = match config.listeners() {
        Ok(listeners) => listeners,
        Err(error) => return vec![Finding::bad("ports", error.to_string())],
    };
    let look = |listen: crate::config::Listen| {
        let subject = format!("port {}", listen.part.as_str());
        let bound = if listen.part.is_udp() {
            UdpSocket::bind(listen.address).map(drop)
        } else {
            TcpListener::bind(listen.address).map(drop)
        };
        match bound {
            Ok(()) => Finding::good(subject, format!("{} is free", listen.address)),
            Err(reason) => Finding::bad(subject, listen.fault(reason).to_string()),
        }
    };
    listeners.into_iter().map(look).collect()
}

async fn store(config: &Config) -> Finding {
    let looked = async {
        let store = serve::open_store(config).await?;
        store.check().await?;
        let streams = store.streams().await?.len();
        store.close().await;
        Ok::<_, crate::Error>(streams)
    };
    match looked.await {
        Ok(streams) => Finding::good("database", format!("writable, {streams} streams")),
        Err(error) => Finding::bad("database", error.to_string()),
    }
}

fn disk(dir: &Path) -> Option<Finding> {
    let found = rustix::fs::statvfs(dir).ok()?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let text = format!("{} MB free for {}", free >> 20, dir.display());
    Some(if free < DISK_FREE_BYTES_MIN {
        Finding::warning("disk", format!("only {text}: free some space, or move data.dir"))
    } else {
        Finding::good("disk", text)
    })
}

/// Whether the hard limit on open files fits the connections that are allowed.
fn files(config: &Config) -> Finding {
    let (http, rtmp) = (config.http.connections_max, config.rtmp.connections_max);
    let wanted = u64::from(http) + u64::from(rtmp) + 256;
    match getrlimit(Resource::Nofile).maximum {
        Some(limit) if limit < wanted => Finding::warning(
            "open files",
            format!(
                "the limit is {limit}, but http.connections_max and rtmp.connections_max need \
                 {wanted}: raise it (`ulimit -Hn`, LimitNOFILE= in systemd), or lower them"
            ),
        ),
        limit => {
            let limit = limit.map_or("no limit".to_owned(), |limit| limit.to_string());
            Finding::good("open files", format!("{limit}, {wanted} needed"))
        }
    }
}

fn memory() -> Option<Finding> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let free = available_bytes(&info)?;
    let text = format!("{} MB available", free >> 20);
    Some(if free < MEMORY_FREE_BYTES_MIN {
        Finding::warning("memory", format!("only {text}: stop other programs, or add some"))
    } else {
        Finding::good("memory", text)
    })
}

fn available_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes << 10)
}

async fn ffmpeg(config: &Config) -> Finding {
    let program = config.ladder.ffmpeg.display();
    let asked = Command::new(&config.ladder.ffmpeg)
        .arg("-version")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let missing = |what: &str| {
        let text = format!(
            "{program} {what}: install it (`apt install ffmpeg`) or set ladder.ffmpeg; without it \
             there are no renditions and no thumbnails, everything else works"
        );
        if config.ladder.renditions.is_empty() {
            Finding::warning("ffmpeg", text)
        } else {
            Finding::bad("ffmpeg", text)
        }
    };
    match timeout(Duration::from_secs(10), asked).await {
        Ok(Ok(output)) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            let version = text.split_whitespace().nth(2).unwrap_or("of unknown version");
            Finding::good("ffmpeg", format!("{program} {version}"))
        }
        Ok(Ok(_)) => missing("does not work"),
        Ok(Err(error)) => missing(&format!("does not start ({error})")),
        Err(_) => missing("does not answer"),
    }
}

fn tls(config: &Config) -> Finding {
    match Certs::load(&config.tls) {
        Err(error) => Finding::bad("TLS", error.to_string()),
        Ok(None) => Finding::good("TLS", "not used"),
        Ok(Some(_)) if config.tls.cert_file.as_os_str().is_empty() => Finding::warning(
            "TLS",
            "the certificate is self-signed and no browser trusts it: set tls.cert_file and \
             tls.key_file before anybody watches",
        ),
        Ok(Some(certs)) => expiry(certs.expires_unix_ms(), unix_ms()),
    }
}

fn expiry(expires_unix_ms: Option<u64>, now_unix_ms: u64) -> Finding {
    let Some(expires) = expires_unix_ms else {
        return Finding::warning("TLS", "the certificate does not say until when it is valid");
    };
    let text = rfc3339(expires);
    let days = expires.saturating_sub(now_unix_ms) / 86_400_000;
    match days {
        _ if expires <= now_unix_ms => {
            Finding::bad("TLS", format!("the certificate expired at {text}: renew it"))
        }
        0..14 => Finding::warning("TLS", format!("the certificate expires at {text}: renew it")),
        _ => Finding::good("TLS", format!("the certificate is valid until {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_and_certificates() {
        assert_eq!(clock(0).level, Level::Bad);
        assert_eq!(clock(EARLIEST_UNIX_MS).level, Level::Good);
        let day = 86_400_000;
        for (expires, level) in [
            (None, Level::Warning),
            (Some(10 * day), Level::Bad),
            (Some(11 * day), Level::Warning),
            (Some(100 * day), Level::Good),
        ] {
            assert_eq!(expiry(expires, 10 * day).level, level);
        }
        let info = "MemTotal: 9 kB\nMemAvailable:   2048 kB\n";
        assert_eq!(available_bytes(info), Some(2 << 20));
        assert_eq!(available_bytes("MemAvailable: much"), None);
    }

    #[tokio::test]
    async fn a_taken_port_and_a_missing_ffmpeg_are_found() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config = Config::default();
        config.http.listen = taken.local_addr().unwrap().to_string();
        config.ladder.ffmpeg = "/nowhere/ffmpeg".into();
        let port = &ports(&config)[0];
        assert_eq!((port.level, port.subject.as_str()), (Level::Bad, "port HTTP"));
        assert!(port.message.contains("http.listen"), "{}", port.message);
        assert_eq!(ffmpeg(&config).await.level, Level::Warning);
        config.ladder.renditions.push("480p".to_owned());
        assert_eq!(ffmpeg(&config).await.level, Level::Bad);
    }
}
