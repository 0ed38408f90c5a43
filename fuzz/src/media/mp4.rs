use bytes::Bytes;
use streamr_media::mp4;
use streamr_media::mp4::fragment::Init;

/// Whole files, progressive or fragmented. Tables may name the same bytes again and again, but no
/// frame is much longer than the file.
pub fn file(data: &[u8]) {
    let Ok(file) = mp4::File::parse(Bytes::copy_from_slice(data)) else { return };
    assert!(file.tracks().next().is_some());
    for frame in file.frames().take(1_000).flatten() {
        // One-byte lengths become four bytes each.
        assert!(frame.data.len() <= 4 * data.len());
    }
}

/// Initialisation and media segments in one buffer.
pub fn fragment(data: &[u8]) {
    let segment = Bytes::copy_from_slice(data);
    let Ok(init) = Init::parse(&segment) else { return };
    for sample in init.samples(&segment).into_iter().flatten() {
        assert!((1..=data.len()).contains(&sample.data.len()));
    }
}
