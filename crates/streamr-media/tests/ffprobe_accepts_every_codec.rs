//! Files of real encoders go through the packager; real ffmpeg and ffprobe read what comes out.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use psyne::Time;
use streamr_media::hls::{Config, Packager, Reply, Request, Response};
use streamr_media::media::{Event, Frame, Kind, Track};
use streamr_media::mp4;

/// A folder for the files of one test; gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("streamr-hls-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _best_effort = std::fs::remove_dir_all(&self.0);
    }
}

fn load(file: &str) -> (Vec<Track>, Vec<Frame>, i64) {
    let path = format!("{}/tests/data/{file}", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let file = mp4::File::parse(bytes.into()).unwrap();
    let frames = file.frames().collect::<Result<_, _>>().unwrap();
    (file.tracks().cloned().collect(), frames, file.duration_us())
}

/// Packages the file `times` times in a row.
fn package(file: &str, times: i64) -> (Packager, Vec<Track>, Vec<Frame>) {
    let (tracks, frames, duration_us) = load(file);
    let mut packager = Packager::new(Config::default(), Time::ZERO, 7, 1_795_259_000_000_000);
    for track in &tracks {
        packager.handle_event(Time::ZERO, Event::Track(track.clone())).unwrap();
    }
    let mut sent = Vec::new();
    for at_us in (0..times).map(|n| n * duration_us) {
        for frame in &frames {
            let (dts_us, pts_us) = (frame.dts_us + at_us, frame.pts_us + at_us);
            let frame = Frame { dts_us, pts_us, ..frame.clone() };
            packager.handle_event(Time::ZERO, Event::Frame(frame.clone())).unwrap();
            sent.push(frame);
        }
    }
    packager.handle_end(Time::ZERO);
    assert_eq!(packager.stats().frames_dropped, 0, "{file}");
    (packager, tracks, sent)
}

fn get(packager: &mut Packager, path: &str) -> Reply {
    match packager.respond(&Request::parse(path, None).unwrap()) {
        Response::Ready(reply) if reply.status == 200 => reply,
        other => panic!("{path}: {other:?}"),
    }
}

/// Writes the multivariant playlist, the media playlists and all that they name.
fn save(packager: &mut Packager, folder: &Folder, tracks: &[Track]) {
    folder.write("index.m3u8", &get(packager, "index.m3u8").body);
    for track in tracks {
        let path = format!("source/{}.m3u8", track.id);
        let text = String::from_utf8(get(packager, &path).body.to_vec()).unwrap();
        folder.write(&path, text.as_bytes());
        let quoted = text.lines().filter_map(|line| line.split("URI=\"").nth(1));
        let quoted = quoted.filter_map(|rest| rest.split('"').next());
        for uri in quoted.chain(text.lines().filter(|line| line.ends_with(".m4s"))) {
            let path = format!("source/{uri}");
            if !uri.ends_with(".m3u8") {
                folder.write(&path, &get(packager, &path).body);
            }
        }
    }
}

fn tool(name: &str, folder: &Folder, args: &[&str]) -> String {
    let result = Command::new(name).args(args).current_dir(&folder.0).output();
    let Output { status, stdout, stderr } = result.unwrap_or_else(|error| {
        panic!("this test needs {name} ({error}): run `cargo xtask setup` or install ffmpeg")
    });
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success() && stderr.is_empty(), "{name} {args:?}: {status}\n{stderr}");
    String::from_utf8(stdout).unwrap()
}

/// `(codec_name, nb_read_packets)` of each stream of a playlist.
fn probe(folder: &Folder, playlist: &str) -> Vec<(String, usize)> {
    let entries = "stream=codec_name,nb_read_packets";
    let args = ["-v", "warning", "-count_packets", "-show_entries", entries];
    let out = tool("ffprobe", folder, &[&args[..], &["-of", "csv=p=0", "-i", playlist]].concat());
    let mut streams: Vec<_> = out
        .lines()
        .filter_map(|line| line.trim_end_matches(',').split_once(','))
        .map(|(codec, packets)| (codec.to_owned(), packets.parse().unwrap()))
        .collect();
    // A multivariant playlist shows each stream as part of its program, too.
    streams.sort();
    streams.dedup();
    streams
}

fn exists(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[test]
fn ffprobe_and_ffmpeg_accept_the_hls_of_every_codec_without_a_warning() {
    for (file, codecs) in [
        ("h264_aac.mp4", &["h264", "aac"][..]),
        ("hevc_opus.mp4", &["hevc", "opus"]),
        ("av1.mp4", &["av1"]),
        ("vp9.mp4", &["vp9"]),
    ] {
        let (mut packager, tracks, sent) = package(file, 4);
        let folder = Folder::new(file);
        save(&mut packager, &folder, &tracks);
        assert!(exists(&folder.0.join("source")) >= tracks.len() * 2, "{file}");
        for (track, codec) in tracks.iter().zip(codecs) {
            let playlist = format!("source/{}.m3u8", track.id);
            let frames = sent.iter().filter(|frame| frame.track == track.id).count();
            assert_eq!(probe(&folder, &playlist), [((*codec).to_owned(), frames)], "{file}");
            let kind = if track.id.kind == Kind::Video { "v" } else { "a" };
            let map = format!("0:{kind}");
            let args = ["-v", "warning", "-xerror", "-i", &playlist, "-map", &map];
            tool("ffmpeg", &folder, &[&args[..], &["-f", "null", "-"]].concat());
        }
        let streams = probe(&folder, "index.m3u8");
        assert_eq!(streams.len(), tracks.len(), "{file}: {streams:?}");
        tool("ffmpeg", &folder, &["-v", "warning", "-i", "index.m3u8", "-f", "null", "-"]);
    }
}

#[test]
fn ffmpeg_decodes_the_same_pictures_and_sound_as_from_the_file() {
    for (file, map) in [("h264_aac.mp4", "0:v"), ("hevc_opus.mp4", "0:v"), ("av1.mp4", "0:v")] {
        let (mut packager, tracks, _) = package(file, 1);
        let folder = Folder::new(&format!("same-{file}"));
        save(&mut packager, &folder, &tracks);
        let original = format!("{}/tests/data/{file}", env!("CARGO_MANIFEST_DIR"));
        let hashes = |input: &str| {
            let args = ["-v", "warning", "-i", input, "-map", map, "-f", "framehash", "-"];
            let out = tool("ffmpeg", &folder, &args);
            let rows = out.lines().filter(|line| !line.starts_with('#'));
            rows.filter_map(|line| line.rsplit(',').next().map(str::to_owned)).collect::<Vec<_>>()
        };
        let ours = hashes("source/video0.m3u8");
        assert!(!ours.is_empty());
        assert_eq!(ours, hashes(&original), "{file}");
    }
}
