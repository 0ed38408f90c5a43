//! `streamr watch`: a viewer without a screen, which measures what a viewer would see.

mod hls;
mod http;
mod playlist;
mod playout;
mod report;
mod tags;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hyper::Uri;
use streamr_server::live::{Clock, unix_us};

use crate::net::Dialer;
use report::{Meter, Report};

/// Watch a stream without a screen and say how it was.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// http(s)://…/index.m3u8, http(s)://….flv or rtmp(s)://host/live/NAME.
    pub(crate) url: String,
    /// Stop after this many seconds; without it, at the end of the broadcast or at Ctrl-C.
    #[arg(long)]
    pub(crate) seconds: Option<f64>,
    /// How far behind the edge the simulated player stays, in milliseconds.
    #[arg(long, default_value_t = 600)]
    pub(crate) hold_back_ms: u32,
    /// PEM file with a certificate to trust besides the public ones.
    #[arg(long)]
    pub(crate) ca: Option<PathBuf>,
    /// Print the report as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How often the simulated player looks at the clock.
const TICK: Duration = Duration::from_millis(20);

/// Runs the command: prints the report. The exit code is that of `Ok` only if something was
/// played and watching did not break off.
///
/// # Errors
/// What went wrong, in words; the report is printed all the same.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let json = args.json;
    let report = watch(args).await?;
    if json {
        crate::term::print(&serde_json::to_string(&report)?);
    } else {
        crate::term::print(&report.to_string());
    }
    match &report.error {
        Some(error) => bail!("{error}"),
        None if report.startup_ms.is_none() => bail!("nothing could be played"),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Watches, and says how it was. A broadcast that cannot be found or followed is told in
/// `Report::error`.
///
/// # Errors
/// The address or the certificate file cannot be used.
async fn watch(args: Args) -> Result<Report> {
    let dialer = Dialer::new(args.ca.as_deref())?;
    let protocol = protocol(&args.url)?;
    let clock = Clock::start();
    let unix_offset_us = i64::try_from(unix_us()).unwrap_or(0);
    let hold_us = i64::from(args.hold_back_ms) * 1_000;
    let meter = Meter::new(&args.url, protocol.as_str(), hold_us, unix_offset_us);
    let shared = hls::Shared::new(clock, meter);
    let followed = {
        let following = async {
            match &protocol {
                Protocol::Hls(url) => hls::follow(&shared, &dialer, url).await,
                Protocol::Rtmp(url) => tags::follow_rtmp(&shared, &dialer, url).await,
                Protocol::HttpFlv(url) => tags::follow_flv(&shared, &dialer, url).await,
            }
        };
        tokio::select! {
            result = following => result,
            () = tick(&shared) => Ok(()),
            () = time_is_up(args.seconds) => Ok(()),
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    };
    let trouble = shared.take_trouble();
    let mut meter = shared.into_meter();
    meter.report.error = followed.err().map(|error| format!("{error:#}"));
    let mut report = meter.finish(i64::try_from(clock.now().as_micros()).unwrap_or(i64::MAX));
    if report.startup_ms.is_none() {
        report.error = report.error.or(trouble);
    }
    Ok(report)
}

#[derive(Debug)]
enum Protocol {
    Hls(Uri),
    HttpFlv(Uri),
    Rtmp(streamr_media::rtmp::Url),
}

impl Protocol {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Hls(_) => "hls",
            Self::HttpFlv(_) => "http-flv",
            Self::Rtmp(_) => "rtmp",
        }
    }
}

fn protocol(text: &str) -> Result<Protocol> {
    if text.starts_with("rtmp://") || text.starts_with("rtmps://") {
        return Ok(Protocol::Rtmp(text.parse()?));
    }
    let url: Uri = text.parse().with_context(|| format!("{text:?} is no address"))?;
    match (url.scheme_str(), url.path()) {
        (Some("http" | "https"), path) if path.ends_with(".flv") => Ok(Protocol::HttpFlv(url)),
        (Some("http" | "https"), path) if path.ends_with(".m3u8") => Ok(Protocol::Hls(url)),
        _ => bail!("{text:?} is neither http(s)://….m3u8, http(s)://….flv nor rtmp(s)://…"),
    }
}

async fn tick(shared: &hls::Shared) {
    let mut interval = tokio::time::interval(TICK);
    loop {
        interval.tick().await;
        shared.tick();
    }
}

async fn time_is_up(seconds: Option<f64>) {
    match seconds.map(Duration::try_from_secs_f64) {
        Some(Ok(time)) => tokio::time::sleep(time).await,
        _ => std::future::pending().await,
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.0} ms"));
        writeln!(f, "{} ({})", self.url, self.protocol)?;
        writeln!(f, "  watched    {:.1} s, {} frames", self.watched_s, self.frames)?;
        writeln!(f, "  startup    {}", ms(self.startup_ms))?;
        if let Some(latency) = self.latency_ms {
            writeln!(f, "  latency    p50 {:.0} ms, p95 {:.0} ms", latency.p50, latency.p95)?;
        }
        writeln!(f, "  stalls     {} ({:.0} ms)", self.stalls, self.stalled_ms)?;
        writeln!(f, "  A/V skew   {}", ms(self.av_skew_ms))?;
        writeln!(f, "  received   {} segments, {} parts", self.segments, self.parts)?;
        write!(f, "  bytes      {}", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_says_how_to_watch() {
        for (url, expected) in [
            ("http://h/hls/a/index.m3u8", Some("hls")),
            ("https://h/flv/a.flv?x=1", Some("http-flv")),
            ("rtmp://h/live/a", Some("rtmp")),
            ("http://h/a.mp4", None),
            ("ftp://h/a.flv", None),
            ("a", None),
        ] {
            assert_eq!(protocol(url).ok().map(|p| p.as_str()), expected, "{url}");
        }
    }
}
