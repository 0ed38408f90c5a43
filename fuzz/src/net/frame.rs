use bytes::{Bytes, BytesMut};
use psyne_net::frame::{Frame, Hello};

/// Longest message that is taken here.
const MESSAGE_BYTES_MAX: usize = 1_000;

/// A hello and the frames behind it are read, none longer than was agreed, and written as they were
/// read.
pub fn stream(data: &[u8]) {
    let mut from = BytesMut::from(data);
    if let Ok(Some(hello)) = Hello::decode(&mut from) {
        let mut again = BytesMut::new();
        hello.encode(&mut again);
        assert_eq!(Hello::decode(&mut again), Ok(Some(hello)));
    }
    while let Ok(Some(frame)) = Frame::decode(&mut from, MESSAGE_BYTES_MAX) {
        check(&frame);
        let mut again = BytesMut::new();
        frame.encode(&mut again);
        assert_eq!(Frame::decode(&mut again, MESSAGE_BYTES_MAX), Ok(Some(frame)));
    }
}

/// The same of a datagram.
pub fn datagram(data: &[u8]) {
    let Ok(frame) = Frame::decode_datagram(Bytes::copy_from_slice(data), MESSAGE_BYTES_MAX) else {
        return;
    };
    check(&frame);
    let mut again = BytesMut::new();
    frame.encode_datagram(&mut again);
    assert_eq!(Frame::decode_datagram(again.freeze(), MESSAGE_BYTES_MAX), Ok(frame));
}

fn check(frame: &Frame) {
    match frame {
        Frame::Message(message) => assert!(message.len() <= MESSAGE_BYTES_MAX),
        Frame::Close(reason) => assert!(reason.text().len() <= 123),
        Frame::Ping(_) | Frame::Pong(_) => {}
    }
}
