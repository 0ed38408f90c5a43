//! Judges the main job: native viewers for `demo --check`, a real browser for `test`.

use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::site::{self, Ports, STREAM, Site};
use crate::{sh, web};

/// Viewers of each kind: HLS, RTMP, HTTP-FLV.
const VIEWERS_EACH: usize = 2;
/// The most that the ends of sound and picture may be apart at a segment's end, in milliseconds:
/// one frame of each (33 ms and 21 ms).
const HLS_SKEW_MS_MAX: f64 = 60.0;
/// The same at the end of a group of pictures in RTMP and FLV, where sound is interleaved by
/// decoding time: two reordered frames more.
const FLV_SKEW_MS_MAX: f64 = HLS_SKEW_MS_MAX + 67.0;

/// Watches for `seconds` with every kind of native viewer, prints the summary, and judges it.
pub(super) fn run(streamr: &Path, seconds: u32) -> Result<()> {
    let mut site = Site::start(streamr, &Ports::free()?)?;
    site.publish()?;
    site.await_live()?;
    sh::say(&format!("watching for {seconds} s"));
    let hls = format!("{}/hls/{STREAM}/index.m3u8", site.url());
    let flv = format!("{}/flv/{STREAM}.flv", site.url());
    let rtmp = site.rtmp_url();
    let viewers: Vec<Child> = [&hls, &rtmp, &flv]
        .into_iter()
        .flat_map(|url| [url; VIEWERS_EACH])
        .map(|url| viewer(&site, url, seconds))
        .collect::<Result<_>>()?;
    let reports: Vec<Value> = viewers.into_iter().map(report).collect::<Result<_>>()?;
    let streams = site.streams()?["streams"].as_array().map_or(0, Vec::len);
    let (summary, faults) = judge(streams, &reports);
    print(&summary)?;
    if !faults.is_empty() {
        bail!("{}", faults.join("; "));
    }
    Ok(())
}

/// Runs the browser cases against a site of their own; all, or those with one of `words` in their
/// names.
pub(crate) fn browser_cases(watch_seconds: u32, words: &[String]) -> Result<()> {
    let streamr = site::build(true)?;
    let mut site = Site::start(&streamr, &Ports::free()?)?;
    site.publish()?;
    site.await_live()?;
    let mut npm = web::npm_command(&["run", "browser", "--"]);
    npm.args(words);
    npm.env("SERVER_URL", site.url()).env("STREAM", STREAM);
    npm.env("WATCH_SECONDS", watch_seconds.to_string()).env("ROUNDS", "3");
    npm.env("BINARY", &streamr).env("PEER", site::peer()?).env("CHAT", site::chat()?);
    npm.env("SAMPLE", sh::root().join("assets/clapper.mp4"));
    npm.envs(site.commands());
    sh::run(npm)
}

fn viewer(site: &Site, url: &str, seconds: u32) -> Result<Child> {
    let mut command = site.streamr(&["watch", url, "--json", "--seconds", &seconds.to_string()]);
    command.stdout(Stdio::piped()).spawn().context("streamr watch")
}

fn report(viewer: Child) -> Result<Value> {
    let out = viewer.wait_with_output()?;
    serde_json::from_slice(&out.stdout).context("streamr watch --json printed no JSON")
}

/// The summary, and a sentence for each thing that did not hold.
fn judge(streams: usize, reports: &[Value]) -> (Value, Vec<String>) {
    let mut faults = Vec::new();
    for report in reports {
        let who = report["url"].as_str().unwrap_or("a viewer");
        let mut must = |holds: bool, otherwise: &str| {
            if !holds {
                faults.push(format!("{who}: {otherwise}"));
            }
        };
        must(report["error"].is_null(), "broke off");
        must(report["startup_ms"].is_number(), "never started");
        must(report["stalls"] == 0, "stalled");
        must(report["frames"].as_u64() > Some(0), "saw no frame");
        must(report["latency_ms"]["p95"].is_number(), "saw no stamped frame");
        let skew = report["av_skew_ms"].as_f64();
        let max = if report["protocol"] == "hls" { HLS_SKEW_MS_MAX } else { FLV_SKEW_MS_MAX };
        must(skew.is_some_and(|ms| ms <= max), "sound and picture are out of step");
    }
    if streams != 1 {
        faults.push(format!("the API lists {streams} streams instead of 1"));
    }
    let summary = json!({
        "streams": streams,
        "viewers": reports.len(),
        "segments": worst(reports, |r| r["segments"].as_f64().map(|n| -n)).map(|n| -n),
        "startup_ms": worst(reports, |r| r["startup_ms"].as_f64()),
        "latency_p50_ms": worst(reports, |r| r["latency_ms"]["p50"].as_f64()),
        "latency_p95_ms": worst(reports, |r| r["latency_ms"]["p95"].as_f64()),
        "stalls": reports.iter().filter_map(|r| r["stalls"].as_u64()).sum::<u64>(),
        "av_skew_ms": worst(reports, |r| r["av_skew_ms"].as_f64()),
        "held": faults.is_empty(),
        "by_viewer": reports,
    });
    (summary, faults)
}

/// The largest value of all viewers: a summary that averages hides the one who suffered.
fn worst(reports: &[Value], of: impl Fn(&Value) -> Option<f64>) -> Option<f64> {
    reports.iter().filter_map(of).reduce(f64::max)
}

fn print(summary: &Value) -> Result<()> {
    use std::io::Write;
    let text = serde_json::to_string_pretty(summary)?;
    writeln!(std::io::stdout().lock(), "{text}").context("stdout")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Value {
        json!({"url": "u", "protocol": "hls", "error": null, "startup_ms": 5.0, "stalls": 0,
               "frames": 9, "segments": 3,
               "latency_ms": {"p50": 1.0, "p95": 2.0}, "av_skew_ms": 20.0})
    }

    #[test]
    fn each_fault_is_found() {
        assert_eq!(judge(1, &[good(), good()]).1, Vec::<String>::new());
        let faults: [(&str, Value); 6] = [
            ("error", json!("gone")),
            ("startup_ms", Value::Null),
            ("stalls", json!(1)),
            ("frames", json!(0)),
            ("latency_ms", Value::Null),
            ("av_skew_ms", json!(61.0)),
        ];
        for (field, value) in faults {
            let mut bad = good();
            bad[field] = value;
            assert_eq!(judge(1, &[good(), bad]).1.len(), 1, "{field}");
        }
        assert_eq!(judge(0, &[good()]).1.len(), 1);
    }
}
