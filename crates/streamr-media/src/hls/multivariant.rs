//! Writes the multivariant playlist.

use core::fmt::Write;

use bytes::Bytes;

/// What the multivariant playlist says about one rendition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RenditionInfo {
    /// `source`, `480p` …: the folder of its playlists.
    pub name: String,
    /// Its picture tracks, the one to show first.
    pub video: Vec<VideoInfo>,
    /// Its sound tracks, the one to play first.
    pub audio: Vec<AudioInfo>,
}

/// A picture track.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VideoInfo {
    /// `video0`.
    pub track: String,
    /// RFC 6381.
    pub codec: String,
    /// Pixels.
    pub width: u16,
    /// Pixels.
    pub height: u16,
    /// Frames in 1,000 seconds, if known.
    pub frames_per_kilosecond: Option<u32>,
    /// Of the busiest segment.
    pub peak_bits_per_second: u64,
    /// Since the start.
    pub average_bits_per_second: u64,
}

/// A sound track.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AudioInfo {
    /// `audio0`.
    pub track: String,
    /// RFC 6381.
    pub codec: String,
    /// Number of channels.
    pub channels: u8,
    /// Of the busiest segment.
    pub peak_bits_per_second: u64,
    /// Since the start.
    pub average_bits_per_second: u64,
}

/// Joins renditions into one multivariant playlist (draft §4.4.6), in the given order; players
/// start with the first. A rendition without sound uses that of the first one that has some.
#[must_use]
pub fn multivariant(renditions: &[RenditionInfo]) -> Bytes {
    let mut out = String::from("#EXTM3U\n#EXT-X-VERSION:9\n");
    for rendition in renditions {
        for (index, audio) in rendition.audio.iter().enumerate() {
            media(&mut out, &rendition.name, index, audio);
        }
    }
    let spare = renditions.iter().find(|r| !r.audio.is_empty());
    for rendition in renditions {
        let sound = if rendition.audio.is_empty() { spare } else { Some(rendition) };
        for video in &rendition.video {
            variant(&mut out, &rendition.name, video, sound);
        }
        if rendition.video.is_empty() {
            audio_only(&mut out, rendition);
        }
    }
    Bytes::from(out)
}

fn media(out: &mut String, rendition: &str, index: usize, audio: &AudioInfo) {
    let AudioInfo { track, channels, .. } = audio;
    let first = if index == 0 { "YES" } else { "NO" };
    let _infallible = writeln!(
        out,
        "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"{rendition}\",NAME=\"{track}\",DEFAULT={first},\
         AUTOSELECT=YES,CHANNELS=\"{channels}\",URI=\"{rendition}/{track}.m3u8\""
    );
}

fn variant(out: &mut String, name: &str, video: &VideoInfo, sound: Option<&RenditionInfo>) {
    let loudest = |rate: fn(&AudioInfo) -> u64| {
        sound.and_then(|s| s.audio.iter().map(rate).max()).unwrap_or(0)
    };
    let peak = video.peak_bits_per_second + loudest(|a| a.peak_bits_per_second);
    let average = video.average_bits_per_second + loudest(|a| a.average_bits_per_second);
    let mut codecs = vec![video.codec.as_str()];
    for audio in sound.iter().flat_map(|s| &s.audio) {
        if !codecs.contains(&audio.codec.as_str()) {
            codecs.push(&audio.codec);
        }
    }
    let (width, height, codecs) = (video.width, video.height, codecs.join(","));
    let _infallible = write!(
        out,
        "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},CODECS=\"{codecs}\",\
         RESOLUTION={width}x{height}",
        peak.max(1),
        average.max(1)
    );
    if let Some(rate) = video.frames_per_kilosecond {
        let _infallible = write!(out, ",FRAME-RATE={}.{:03}", rate / 1_000, rate % 1_000);
    }
    if let Some(sound) = sound {
        let _infallible = write!(out, ",AUDIO=\"{}\"", sound.name);
    }
    let _infallible = writeln!(out, "\n{name}/{}.m3u8", video.track);
}

fn audio_only(out: &mut String, rendition: &RenditionInfo) {
    let name = &rendition.name;
    let Some(audio) = rendition.audio.first() else { return };
    let _infallible = writeln!(
        out,
        "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},CODECS=\"{}\",AUDIO=\"{name}\"\n\
         {name}/{}.m3u8",
        audio.peak_bits_per_second.max(1),
        audio.average_bits_per_second.max(1),
        audio.codec,
        audio.track
    );
}
