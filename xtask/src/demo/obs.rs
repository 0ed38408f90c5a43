//! The real OBS on a screen of its own: it streams with its own defaults to the server and key that
//! it is told, and what it sends is played, and ends, as the guides say.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::site::{self, Ports, STREAM, Site};
use crate::{setup, sh};

/// OBS, a screen without a screen, OpenGL without a graphics card: 80 MB on a machine that has what
/// the other tests need.
const PACKAGES: &[(&str, &str)] = &[
    ("obs-studio", "usr/bin/obs"),
    ("xvfb", "usr/bin/Xvfb"),
    ("libgl1-mesa-dri", "dri/swrast_dri.so"),
];

/// How long OBS streams until its own timer presses the button. Its keyframes are 8.3 s apart, so
/// this is at least five segments.
const STREAM_SECONDS: u32 = 45;
/// How much of it has to be there in H.264 and AAC.
const MEDIA_SECONDS: f64 = 20.0;
/// More than this between two frames of a track is a gap. OBS sends 30 pictures and 47 frames of
/// sound a second.
const GAP_SECONDS_MAX: f64 = 0.1;
/// Long enough offline to be seen.
const STALE_AFTER: &str = "--set=stream.stale_after_s=10";

/// Installs OBS, has it stream, and judges what came of it.
pub(crate) fn run() -> Result<()> {
    setup::packages(PACKAGES)?;
    let streamr = site::build(true)?;
    let mut site = Site::start_with(&streamr, &Ports::free()?, &[STALE_AFTER])?;
    let mut obs = Obs::start(&site)?;
    let seen = watched(&mut site, &mut obs);
    seen.with_context(|| format!("OBS said:\n{}", obs.said()))
}

fn watched(site: &mut Site, obs: &mut Obs) -> Result<()> {
    obs.await_state(site, "live")?;
    sh::say(&format!("OBS is live; it stops by itself after {STREAM_SECONDS} s"));
    // ffprobe 5.1 dies of a playlist without a segment.
    site.await_segment()?;
    let packets = probe(&format!("{}/hls/{STREAM}/index.m3u8", site.url()))?;
    for (codec, seconds) in judge(&packets)? {
        sh::say(&format!("  {seconds:.1} s of {codec} without a gap"));
    }
    for state in ["offline", "stale"] {
        obs.await_state(site, state)?;
        sh::say(&format!("  {state}"));
    }
    Ok(())
}

/// OBS and its screen; both end with it.
struct Obs {
    screen: Child,
    obs: Child,
    log: std::path::PathBuf,
}

impl Obs {
    fn start(site: &Site) -> Result<Self> {
        let home = site.data().join("obs");
        write_settings(&home, site)?;
        let mut screen = Command::new("Xvfb");
        screen.args(["-displayfd", "1", "-screen", "0", "1280x720x24", "-nolisten", "tcp"]);
        screen.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut screen = screen.spawn().context("Xvfb")?;
        let display = display(&mut screen);
        let log = home.join("log");
        let obs = display.and_then(|display| start(&home, &display, &log));
        match obs {
            Ok(obs) => Ok(Self { screen, obs, log }),
            Err(error) => {
                screen.kill()?;
                screen.wait()?;
                Err(error)
            }
        }
    }

    fn await_state(&mut self, site: &Site, wanted: &str) -> Result<()> {
        site::await_that(&format!("the stream becomes {wanted}"), || {
            if let Some(status) = self.obs.try_wait()? {
                bail!("OBS ended by itself: {status}");
            }
            Ok(site.stream()?["state"] == wanted)
        })
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Obs {
    fn drop(&mut self) {
        for child in [&mut self.obs, &mut self.screen] {
            // It may have ended already, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The number that Xvfb has taken, as X clients write it.
fn display(screen: &mut Child) -> Result<String> {
    let out = screen.stdout.take().context("Xvfb's output is a pipe")?;
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line).context("Xvfb")?;
    ensure!(!line.trim().is_empty(), "Xvfb has no display to give");
    Ok(format!(":{}", line.trim()))
}

fn start(home: &Path, display: &str, log: &Path) -> Result<Child> {
    let log = File::create(log)?;
    let mut command = sh::cmd("obs", &["--startstreaming"]);
    command.env("HOME", home).env("XDG_CONFIG_HOME", home).env("XDG_RUNTIME_DIR", home);
    command.env("DISPLAY", display).env("QT_QPA_PLATFORM", "xcb");
    command.env("LIBGL_ALWAYS_SOFTWARE", "1").env_remove("WAYLAND_DISPLAY");
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().context("obs")
}

/// What a user does at the first start: declines the wizard, says server and key, adds a film to
/// the scene, and sets *Tools → Output Timer*. Everything else is as OBS has it.
fn write_settings(home: &Path, site: &Site) -> Result<()> {
    let dir = home.join("obs-studio");
    let profile = dir.join("basic/profiles/Untitled");
    let scenes = dir.join("basic/scenes");
    fs::create_dir_all(&profile)?;
    fs::create_dir_all(&scenes)?;
    // Qt wants the folder for what is temporary to be nobody else's.
    fs::set_permissions(home, Permissions::from_mode(0o700))?;
    let names = "Profile=Untitled\nProfileDir=Untitled\n\
                 SceneCollection=Untitled\nSceneCollectionFile=Untitled\n";
    fs::write(dir.join("global.ini"), format!("[General]\nFirstRun=true\n[Basic]\n{names}"))?;
    fs::write(profile.join("basic.ini"), "[General]\nName=Untitled\n")?;
    let (server, key) = site.rtmp_server_and_key();
    let settings = json!({"server": server, "key": key});
    let service = json!({"type": "rtmp_custom", "settings": settings});
    fs::write(profile.join("service.json"), service.to_string())?;
    fs::write(scenes.join("Untitled.json"), scene().to_string())?;
    Ok(())
}

fn scene() -> Value {
    let film = sh::root().join("assets/clapper.mp4");
    let scale = json!({"x": 1.0, "y": 1.0});
    let items = json!([{"id": 1, "name": "Film", "visible": true, "scale": scale}]);
    let timer = json!({"autoStartStreamTimer": true, "streamTimerSeconds": STREAM_SECONDS});
    json!({
        "name": "Untitled",
        "current_scene": "Scene",
        "current_program_scene": "Scene",
        "scene_order": [{"name": "Scene"}],
        "modules": {"output-timer": timer},
        "sources": [
            {"id": "scene", "name": "Scene", "settings": {"id_counter": 1, "items": items}},
            {"id": "ffmpeg_source", "name": "Film", "mixers": 255,
             "settings": {"local_file": film, "looping": true}},
        ],
    })
}

/// Reads the stream as any HLS player does, and lists its tracks and when each of their packets is
/// shown.
fn probe(url: &str) -> Result<Value> {
    let interval = format!("%+{}", MEDIA_SECONDS + 1.0);
    let mut command = sh::cmd("ffprobe", &["-v", "error", "-of", "json", "-read_intervals"]);
    let entries = "stream=index,codec_name:packet=stream_index,dts_time";
    command.args([interval.as_str(), "-show_entries", entries, url]);
    Ok(serde_json::from_str(&sh::output(command)?)?)
}

/// The tracks' codecs and how many seconds there are of each.
fn judge(probed: &Value) -> Result<Vec<(String, f64)>> {
    let list = |name: &str| probed[name].as_array().cloned().unwrap_or_default();
    let mut times: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for packet in list("packets") {
        let seconds = packet["dts_time"].as_str().and_then(|text| text.parse().ok());
        let of = packet["stream_index"].as_u64().context("a packet of no track")?;
        times.entry(of).or_default().push(seconds.context("a packet without a time")?);
    }
    let mut tracks = Vec::new();
    for track in list("streams") {
        let codec = track["codec_name"].as_str().unwrap_or_default().to_owned();
        let index = track["index"].as_u64().unwrap_or_default();
        let times = times.remove(&index).unwrap_or_default();
        let gap = times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
        let seconds = times.last().zip(times.first()).map_or(0.0, |(last, first)| last - first);
        ensure!(seconds >= MEDIA_SECONDS, "only {seconds:.1} s of {codec}");
        ensure!(gap <= GAP_SECONDS_MAX, "a gap of {gap:.3} s in {codec}");
        tracks.push((codec, seconds));
    }
    let codecs: Vec<&str> = tracks.iter().map(|(codec, _)| codec.as_str()).collect();
    ensure!(codecs.len() == 2, "one picture and one sound track are wanted: {codecs:?}");
    for wanted in ["h264", "aac"] {
        ensure!(codecs.contains(&wanted), "{wanted} is not among {codecs:?}");
    }
    Ok(tracks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probed(codecs: [&str; 2], seconds: f64, hole_at: f64) -> Value {
        let streams = [0, 1].map(|index| json!({"index": index, "codec_name": codecs[index]}));
        let mut packets = Vec::new();
        for n in 0..(seconds * 50.0) as u32 {
            let time = f64::from(n) / 50.0;
            let time = if time > hole_at { time + 0.2 } else { time };
            packets.extend(
                [0, 1]
                    .map(|track| json!({"stream_index": track, "dts_time": format!("{time:.6}")})),
            );
        }
        json!({"streams": streams, "packets": packets})
    }

    #[test]
    fn each_fault_is_found() {
        assert!(judge(&probed(["h264", "aac"], 21.0, 99.0)).is_ok());
        for (codecs, seconds, hole_at, fault) in [
            (["h264", "aac"], 19.0, 99.0, "only"),
            (["h264", "aac"], 21.0, 5.0, "gap"),
            (["h264", "opus"], 21.0, 99.0, "aac is not"),
        ] {
            let error = judge(&probed(codecs, seconds, hole_at)).unwrap_err();
            assert!(error.to_string().contains(fault), "{error}");
        }
        assert!(judge(&json!({})).is_err());
    }
}
