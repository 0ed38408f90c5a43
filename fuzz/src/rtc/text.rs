use psyne_rtc::{Dcep, Remote, sdp};

/// A description that is read is written so that it reads the same.
pub fn sdp(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let limits = sdp::Limits { bytes_max: 8_192, media_max: 8, candidates_max: 16 };
    let Ok(description) = sdp::Description::parse(text, &limits) else { return };
    let candidates: usize = description.media.iter().map(|media| media.candidates.len()).sum();
    assert!(description.media.len() <= 8 && candidates <= 16);
    let written = description.to_text();
    let unbound = sdp::Limits { bytes_max: usize::MAX, ..limits };
    let again = sdp::Description::parse(&written, &unbound).expect("what we write can be read");
    assert_eq!(again.to_text(), written);
}

/// A candidate is read, or not, and never looks up what is no `.local` name.
pub fn candidate(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(Some(remote)) = Remote::parse(text)
        && let psyne_rtc::Host::Name(name) = remote.host
    {
        assert!(name.ends_with(".local") && name.matches('.').count() == 1 && name.len() <= 69);
    }
}

/// A DCEP message that is read is written so that it reads the same.
pub fn dcep(data: &[u8]) {
    if let Ok(dcep) = Dcep::parse(data) {
        assert_eq!(Dcep::parse(&dcep.to_bytes()), Ok(dcep));
    }
}
