use streamr_media::flv;
use streamr_media::media::{Demux, Event};

/// The first byte cuts the rest into pieces; frames never come before their track, and muxing what
/// came out gives tags that demux again.
pub fn demux(data: &[u8]) {
    let Some((step, file)) = data.split_first() else { return };
    let mut demuxer = flv::Demuxer::new(flv::Config::default());
    let (mut muxer, mut tags) = (flv::Muxer::exact(), Vec::new());
    let mut known = Vec::new();
    for piece in file.chunks(usize::from(*step) * 16 + 1) {
        let result = demuxer.push(piece);
        while let Some(event) = demuxer.poll_event() {
            match &event {
                Event::Track(track) => known.push(track.id),
                Event::Frame(frame) => assert!(known.contains(&frame.track)),
                _ => {}
            }
            muxer.push(&event, &mut tags);
        }
        if result.is_err() {
            break;
        }
    }
    let mut again = flv::Demuxer::new(flv::Config::default());
    for tag in tags {
        again.push_tag(&tag).expect("what we mux can be demuxed");
    }
    assert_eq!(again.dropped().before_config, 0);
}
