use streamr_media::media::{Demux, Event};
use streamr_media::ts;

/// The first byte says into what pieces the stream is cut; any other cut gives the same events, and
/// frames never come before their track.
pub fn demux(data: &[u8]) {
    let Some((&step, stream)) = data.split_first() else { return };
    let whole = events(stream, usize::MAX);
    assert_eq!(events(stream, usize::from(step) * 4 + 1), whole);
    let mut known = Vec::new();
    for event in whole {
        match event {
            Event::Track(track) => known.push(track.id),
            Event::Frame(frame) => assert!(known.contains(&frame.track)),
            Event::Metadata(_) | Event::End => {}
        }
    }
}

/// Small limits, so that short inputs reach them.
fn events(stream: &[u8], step: usize) -> Vec<Event> {
    let config = ts::Config { pes_bytes_max: 1_500, streams_max: 2, garbage_bytes_max: 4_096 };
    let mut demuxer = ts::Demuxer::new(config);
    let mut events = Vec::new();
    for piece in stream.chunks(step) {
        let result = demuxer.push(piece);
        events.extend(std::iter::from_fn(|| demuxer.poll_event()));
        if result.is_err() {
            return events;
        }
    }
    demuxer.finish();
    events.extend(std::iter::from_fn(|| demuxer.poll_event()));
    events
}
