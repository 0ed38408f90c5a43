//! HTTPS and RTMPS: the engine serves both, and what it does not serve goes on in the same session.

mod support;

use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use streamr_media::rtmp::{ClientEvent, Intent};
use support::rtmp::Connection;
use support::{Server, free_tcp, tools};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// The number of the segment that a playlist is growing.
fn growing(playlist: &str) -> Option<usize> {
    let first = playlist.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:"))?;
    Some(first.parse::<usize>().ok()? + playlist.matches("#EXTINF").count())
}

#[test]
fn blocked_reloads_are_answered_by_http_1_and_by_http_2() {
    let address = free_tcp();
    let listen = format!("http.tls_listen={address}");
    let server = Server::start_with(&[&listen, "tls.self_signed=true"]);
    let _publisher = tools::ffmpeg_publishes(&server.publish_url());
    server.await_media();
    let playlist = format!("https://localhost:{}/hls/main/source/video0.m3u8", address.port());
    for (option, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let get = |url: &str| {
            let output = tools::run("curl", &["-sfk", option, "-w", "%{http_version}", url]);
            assert!(output.status.success(), "{option} {url}: {:?}\n{}", output, server.log());
            String::from_utf8(output.stdout).expect("playlists are text")
        };
        let wanted = growing(&get(&playlist)).expect("a playlist");
        let answer = get(&format!("{playlist}?_HLS_msn={wanted}"));
        assert!(growing(&answer).expect("a playlist") > wanted, "{answer}");
        assert!(answer.ends_with(version), "{option}: {answer}");
    }
}

#[test]
fn a_handshake_that_never_comes_is_given_up() {
    let address = free_tcp();
    let listen = format!("http.tls_listen={address}");
    let settings = [&listen, "tls.self_signed=true", "http.header_timeout_ms=300"];
    let server = Server::start_with(&settings);
    let mut silent = TcpStream::connect(address).expect("it listens");
    silent.set_read_timeout(Some(support::PATIENCE)).expect("a valid time");
    assert_eq!(silent.read(&mut [0]).expect("it is closed"), 0);
    server.eventually("it is counted", || {
        server.get("/metrics").text().contains("streamr_tls_failed_total 1\n").then_some(())
    });
}

type Secure = Connection<StreamOwned<ClientConnection, TcpStream>>;

/// A player by TLS that trusts nothing but the server's certificate.
fn play_by_tls(to: SocketAddr, cert: &Path) -> Secure {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cert).expect("PEM")).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring knows them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let session = ClientConnection::new(Arc::new(config), name).expect("a session");
    let socket = TcpStream::connect(to).expect("it listens");
    socket.set_read_timeout(Some(support::PATIENCE)).expect("a valid time");
    Connection::over(StreamOwned::new(session, socket), to, "main", Intent::Play)
}

/// Far more than can be under way when a pause is asked for.
const UNDER_WAY: usize = 500;

/// Reads what comes until nothing does for a while, and says how much it was.
fn read_out(player: &mut Secure) -> usize {
    let socket = player.socket().get_ref().try_clone().expect("a socket");
    socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a valid time");
    let count = (0..UNDER_WAY).take_while(|_| player.try_event().is_some()).count();
    socket.set_read_timeout(Some(support::PATIENCE)).expect("a valid time");
    count
}

#[test]
fn rtmps_players_are_the_engines_and_can_pause() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    tools::certificate(folder.path(), "localhost");
    let file = |name: &str| folder.path().join(name);
    let address = free_tcp();
    let server = Server::start_with(&[
        &format!("rtmp.tls_listen={address}"),
        &format!("tls.cert_file={}", file("cert.pem").display()),
        &format!("tls.key_file={}", file("key.pem").display()),
        "stream.goodbye_grace_s=0",
    ]);
    let publisher = tools::ffmpeg_publishes(&server.publish_url());
    server.await_media();
    let url = format!("rtmps://localhost:{}/live/main", address.port());
    assert_eq!(tools::ffmpeg_plays(&url, 2), "");
    let mut player = play_by_tls(address, &file("cert.pem"));
    assert_eq!(player.event(), ClientEvent::Ready);
    assert!(matches!(player.event(), ClientEvent::Media(_)));
    server.eventually("the engine counts it", || {
        server.get("/metrics").text().contains("streamr_players_rtmp 1\n").then_some(())
    });
    player.pause(true).expect("it is connected");
    assert!(read_out(&mut player) < UNDER_WAY, "it does not pause");
    let mut witness = Connection::open(server.rtmp, "main", Intent::Play);
    (0..100).for_each(|_| _ = witness.event());
    assert_eq!(read_out(&mut player), 0, "nothing comes in a pause");
    player.pause(false).expect("it is connected");
    assert!(matches!(player.event(), ClientEvent::Media(_)));
    publisher.stop();
    let ended = |event| matches!(event, ClientEvent::Ended | ClientEvent::Closed(_));
    server.eventually("it is told of the end", || ended(player.event()).then_some(()));
}
