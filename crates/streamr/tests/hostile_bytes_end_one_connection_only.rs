//! Garbage on every port: its own connection ends, and nobody else notices.

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};

use support::{PATIENCE, Server, tools};

/// Bytes that look random and are the same in every run (SplitMix64).
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// Inputs that end an RTMP connection: not one of them is RTMP for long.
fn for_rtmp() -> Vec<Vec<u8>> {
    let handshaken = [vec![3], vec![0; 1536], vec![0; 1536]].concat();
    vec![
        noise(1, 64 << 10),
        vec![0; 1 << 20],
        vec![0xff; 1 << 20],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        [handshaken.clone(), noise(2, 256 << 10)].concat(),
        // A message of 16 MB on each of many chunk streams.
        [handshaken.clone(), [3, 0, 0, 0, 255, 255, 255, 9, 0, 0, 0, 0].repeat(5_000)].concat(),
        // AMF objects in objects without end.
        [
            handshaken,
            vec![3, 0, 0, 0, 0, 255, 255, 20, 0, 0, 0, 0],
            [3, 0, 1, b'a'].repeat(32 << 10),
        ]
        .concat(),
    ]
}

/// Inputs that HTTP refuses.
fn for_http() -> Vec<Vec<u8>> {
    let header = [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; 4 << 20]].concat();
    let post = "POST /api/v1/streams HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    vec![
        noise(3, 64 << 10),
        vec![0; 1 << 20],
        header,
        format!("{post}Content-Length: 99999999999999999999\r\n\r\n").into_bytes(),
        format!("{post}Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n").into_bytes(),
        b"GET /hls/%00/../../etc/passwd HTTP/1.1\r\nConnection: close\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnot a frame at all, is it?".to_vec(),
    ]
}

/// Sends it all, and waits for the server to end the connection.
fn ends(to: SocketAddr, input: &[u8]) {
    let mut socket = TcpStream::connect(to).expect("it takes connections");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    // The server may end it at any byte.
    let _ = socket.write_all(input);
    let mut answer = Vec::new();
    if let Err(error) = socket.read_to_end(&mut answer) {
        let open = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
        assert!(!open.contains(&error.kind()), "still open after {:?}…", &input[..16]);
    }
}

#[test]
fn publishers_and_viewers_go_on_while_hostile_bytes_come_in() {
    let mut server = Server::start();
    let mut publisher = tools::ffmpeg_publishes(&server.publish_url());
    server.await_media();
    let url = server.play_url();
    let plays = ["-nostdin", "-v", "error", "-xerror", "-i", &url, "-f", "null", "-"];
    let mut viewer = tools::Tool::start("ffmpeg", &plays);
    let refused = server.log().matches("RTMP connection ended").count();
    for input in for_rtmp() {
        ends(server.rtmp, &input);
    }
    for input in for_http() {
        ends(server.http, &input);
    }
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    for n in 0..300 {
        // UDP may lose them: there are many.
        let _ = udp.send_to(&noise(n, 1 + 5 * n as usize), server.srt);
    }
    server.eventually("each hostile RTMP connection has its line in the log", || {
        let lines = server.log().matches("RTMP connection ended").count();
        (lines >= refused + for_rtmp().len()).then_some(())
    });
    let before = tools::newest_segment(&server.playlist());
    server.eventually("the broadcast goes on", || {
        (tools::newest_segment(&server.playlist()) > before).then_some(())
    });
    assert!(publisher.is_alive() && viewer.is_alive() && server.is_alive());
    viewer.stop();
    let (_, complaints) = viewer.ended();
    assert_eq!(complaints, "", "the viewer saw something");
    assert!(!server.log().contains("panicked"), "{}", server.log());
}
