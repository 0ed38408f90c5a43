//! The viewer's own reading of a playlist: only what it takes to follow the live edge.

/// A media playlist (RFC 8216bis section 4.4), reduced to what a follower needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Media {
    /// Address of the initialization section that holds for the last segment.
    pub(super) map: Option<String>,
    /// Segments and parts in order.
    pub(super) pieces: Vec<Piece>,
    /// The server answers `_HLS_msn` by waiting.
    pub(super) can_block: bool,
    /// Segments further than this from the end may be left out of a delta update; 0: never.
    pub(super) skip_until_s: f64,
    /// How far behind the end of the playlist a player should stay.
    pub(super) hold_back_s: f64,
    /// Number of the first segment that is not in the playlist yet: the one now growing.
    pub(super) next_msn: u64,
    /// Parts that the growing segment has.
    pub(super) next_part: u64,
    /// The broadcast is over.
    pub(super) ended: bool,
    /// Segments that a delta update left out.
    pub(super) skipped: u64,
}

/// A stretch of media with an address: a whole segment, or a part of the growing one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Piece {
    /// The segment it is, or is a part of.
    pub(super) msn: u64,
    /// Which part of it; `None` for the segment as a whole.
    pub(super) part: Option<u64>,
    /// How long it plays.
    pub(super) duration_s: f64,
    /// Address, relative to the playlist.
    pub(super) uri: String,
    /// The initialization section it needs.
    pub(super) map: Option<String>,
    /// A decoder can start here.
    pub(super) independent: bool,
    /// Its timestamps start anew.
    pub(super) discontinuity: bool,
}

/// What a multivariant playlist offers: the first variant and its sound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Multivariant {
    /// Media playlist of the first variant.
    pub(super) main: Option<String>,
    /// Media playlist of the audio rendition it names.
    pub(super) audio: Option<String>,
    /// Codecs of the first variant as the playlist says them.
    pub(super) codecs: Option<String>,
    /// How many variants there are.
    pub(super) variants: usize,
}

/// Reads a multivariant playlist; `None` if the text is not one.
pub(super) fn parse_multivariant(text: &str) -> Option<Multivariant> {
    let mut found = Multivariant::default();
    let mut audio_group = None;
    let mut groups = Vec::new();
    let mut lines = text.lines();
    (lines.next()?.trim() == "#EXTM3U").then_some(())?;
    let mut expect_uri = false;
    for line in lines {
        if let Some(list) = line.strip_prefix("#EXT-X-MEDIA:") {
            if attribute(list, "TYPE") == Some("AUDIO")
                && let (Some(group), Some(uri)) =
                    (attribute(list, "GROUP-ID"), attribute(list, "URI"))
            {
                groups.push((group.to_owned(), uri.to_owned()));
            }
        } else if let Some(list) = line.strip_prefix("#EXT-X-STREAM-INF:") {
            found.variants += 1;
            expect_uri = true;
            if found.variants == 1 {
                audio_group = attribute(list, "AUDIO").map(str::to_owned);
                found.codecs = attribute(list, "CODECS").map(str::to_owned);
            }
        } else if expect_uri && !line.starts_with('#') && !line.trim().is_empty() {
            found.main.get_or_insert_with(|| line.trim().to_owned());
            expect_uri = false;
        }
    }
    if let Some(group) = audio_group {
        found.audio = groups.into_iter().find(|(id, _)| *id == group).map(|(_, uri)| uri);
    }
    found.main.is_some().then_some(found)
}

/// Reads a media playlist; `None` if the text is not one.
pub(super) fn parse_media(text: &str) -> Option<Media> {
    let mut reader = Reader::default();
    let mut lines = text.lines();
    (lines.next()?.trim() == "#EXTM3U").then_some(())?;
    for line in lines {
        reader.line(line.trim());
    }
    let mut media = reader.media;
    media.next_msn = reader.msn;
    media.next_part = reader.part;
    Some(media)
}

#[derive(Default)]
struct Reader {
    media: Media,
    msn: u64,
    part: u64,
    duration_s: f64,
    discontinuity: bool,
}

impl Reader {
    fn line(&mut self, line: &str) {
        let (tag, value) = line.split_once(':').unwrap_or((line, ""));
        match tag {
            "#EXT-X-MEDIA-SEQUENCE" => self.msn = value.parse().unwrap_or(0),
            "#EXT-X-SERVER-CONTROL" => self.server_control(value),
            "#EXT-X-SKIP" => {
                let skipped = number(value, "SKIPPED-SEGMENTS") as u64;
                self.media.skipped = skipped;
                self.msn = self.msn.saturating_add(skipped);
            }
            "#EXT-X-MAP" => self.media.map = attribute(value, "URI").map(str::to_owned),
            "#EXT-X-DISCONTINUITY" => self.discontinuity = true,
            "#EXT-X-ENDLIST" => self.media.ended = true,
            "#EXT-X-PART" => self.part(value),
            "#EXTINF" => {
                self.duration_s =
                    value.split(',').next().and_then(|s| s.parse().ok()).unwrap_or(0.0);
            }
            _ if !line.is_empty() && !line.starts_with('#') => self.segment(line),
            _ => {}
        }
    }

    fn server_control(&mut self, value: &str) {
        self.media.can_block = attribute(value, "CAN-BLOCK-RELOAD") == Some("YES");
        self.media.skip_until_s = number(value, "CAN-SKIP-UNTIL");
        let parts = number(value, "PART-HOLD-BACK");
        self.media.hold_back_s = if parts > 0.0 { parts } else { number(value, "HOLD-BACK") };
    }

    fn part(&mut self, value: &str) {
        let Some(uri) = attribute(value, "URI") else { return };
        self.media.pieces.push(Piece {
            msn: self.msn,
            part: Some(self.part),
            duration_s: number(value, "DURATION"),
            uri: uri.to_owned(),
            map: self.media.map.clone(),
            independent: attribute(value, "INDEPENDENT") == Some("YES"),
            discontinuity: self.discontinuity && self.part == 0,
        });
        self.part += 1;
    }

    fn segment(&mut self, uri: &str) {
        self.media.pieces.push(Piece {
            msn: self.msn,
            part: None,
            duration_s: self.duration_s,
            uri: uri.to_owned(),
            map: self.media.map.clone(),
            independent: true,
            discontinuity: self.discontinuity,
        });
        self.discontinuity = false;
        self.msn += 1;
        self.part = 0;
    }
}

/// The value of `name` in an attribute list (RFC 8216 section 4.2), without its quotes.
fn attribute<'a>(list: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = list;
    loop {
        let (key, after) = rest.split_once('=')?;
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => {
                let (value, tail) = quoted.split_once('"')?;
                (value, tail.strip_prefix(',').unwrap_or(tail))
            }
            None => after.split_once(',').unwrap_or((after, "")),
        };
        if key.trim() == name {
            return Some(value);
        }
        rest = next;
    }
}

fn number(list: &str, name: &str) -> f64 {
    attribute(list, name).and_then(|value| value.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE: &str = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n\
        #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12,PART-HOLD-BACK=0.6\n\
        #EXT-X-PART-INF:PART-TARGET=0.2\n#EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-MAP:URI=\"i.mp4\"\n\
        #EXTINF:2.000,\n7.m4s\n#EXT-X-DISCONTINUITY\n\
        #EXT-X-PART:DURATION=0.2,INDEPENDENT=YES,URI=\"8.0.m4s\"\n\
        #EXT-X-PART:DURATION=0.2,URI=\"8.1.m4s\"\n\
        #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"8.2.m4s\"\n";

    #[test]
    fn a_live_playlist_says_where_its_edge_is() {
        let media = parse_media(LIVE).expect("a playlist");
        assert_eq!((media.next_msn, media.next_part), (8, 2));
        assert!(media.can_block && !media.ended);
        assert_eq!(media.hold_back_s, 0.6);
        let numbers: Vec<_> = media.pieces.iter().map(|p| (p.msn, p.part)).collect();
        assert_eq!(numbers, [(7, None), (8, Some(0)), (8, Some(1))]);
        assert!(media.pieces[1].independent && media.pieces[1].discontinuity);
    }

    #[test]
    fn a_delta_update_keeps_the_numbers_right() {
        let text = LIVE.replace("#EXTINF", "#EXT-X-SKIP:SKIPPED-SEGMENTS=5\n#EXTINF");
        let media = parse_media(&text).expect("a playlist");
        assert_eq!((media.next_msn, media.skipped), (13, 5));
    }

    #[test]
    fn a_multivariant_playlist_leads_to_picture_and_sound() {
        let text = "#EXTM3U\n\
            #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"x, y\",URI=\"s/audio0.m3u8\"\n\
            #EXT-X-STREAM-INF:BANDWIDTH=1,CODECS=\"avc1.64001f,mp4a.40.2\",AUDIO=\"a\"\n\
            s/video0.m3u8\n";
        let found = parse_multivariant(text).expect("a playlist");
        assert_eq!(found.main.as_deref(), Some("s/video0.m3u8"));
        assert_eq!(found.audio.as_deref(), Some("s/audio0.m3u8"));
        assert_eq!(found.codecs.as_deref(), Some("avc1.64001f,mp4a.40.2"));
    }

    #[test]
    fn foreign_text_is_no_playlist() {
        for text in ["", "<html>", "#EXTM3U8\n", "\u{0}"] {
            assert_eq!(parse_media(text), None, "{text:?}");
        }
        assert_eq!(attribute("A=\"unclosed", "A"), None);
    }
}
