//! The pages in the binary, and the same door by TLS. curl is the independent client.

mod support;

use std::path::Path;

use rustix::process::Signal;
use support::{Server, free_tcp, tools};

#[test]
fn pages_are_there_and_may_be_kept_as_long_as_they_are_the_same() {
    let server = Server::start();
    let home = server.get("/");
    assert_eq!(home.status, 200);
    assert!(home.header("content-type").starts_with("text/html"), "{}", home.head);
    assert!(home.header("content-security-policy").contains("default-src 'self'"));
    assert_eq!(home.header("x-content-type-options"), "nosniff");
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/dist");
    if !dist.join("index.html").exists() {
        assert!(home.text().contains("cargo xtask web"), "it says what to do: {}", home.text());
        return;
    }
    assert_eq!(home.header("cache-control"), "no-cache");
    let tag = home.header("etag").to_owned();
    let again = support::http::request(server.http, "GET", "/", &[("If-None-Match", &tag)], "");
    assert_eq!(again.expect("an answer").status, 304);
    let assets = std::fs::read_dir(dist.join("assets")).expect("the build has assets");
    let name = assets.flatten().next().expect("one at least").file_name();
    let asset = server.get(&format!("/assets/{}", name.to_string_lossy()));
    assert_eq!(asset.status, 200);
    assert!(asset.header("cache-control").contains("immutable"), "{}", asset.head);
    assert_eq!(server.get("/watch/main").status, 200);
    let url = format!("http://{}/watch/main", server.http);
    let plain = tools::run("curl", &["-s", &url]).stdout;
    for coding in ["br", "gzip"] {
        let accept = format!("Accept-Encoding: {coding}");
        let sent = tools::run("curl", &["-s", "-i", "--compressed", "-H", &accept, &url]).stdout;
        let sent = String::from_utf8_lossy(&sent).into_owned();
        let (head, body) = sent.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.contains(&format!("content-encoding: {coding}")), "{head}");
        assert!(head.contains("vary: accept-encoding"), "{head}");
        assert_eq!(body.as_bytes(), plain, "{coding}");
    }
    assert_eq!(server.get("/no/such/page").status, 404);
}

#[test]
fn a_watch_page_brings_along_what_playback_begins_with() {
    let server = Server::start();
    if server.get("/").text().contains("cargo xtask web") {
        return; // no pages were built
    }
    assert!(!server.get("/watch/main").header("etag").is_empty(), "nothing is on: a plain page");
    let _publisher = tools::ffmpeg_publishes(&server.publish_url());
    server.await_media();
    let page = server.eventually("the page brings something along", || {
        let page = server.get("/watch/main");
        page.text().contains(r#"id="opening""#).then_some(page)
    });
    assert_eq!(page.header("cache-control"), "no-cache");
    assert!(page.header("etag").is_empty(), "it is another one each time: {}", page.head);
    let text = page.text();
    let (_, rest) = text.split_once(r#"id="opening">"#).expect("looked at above");
    let (json, _) = rest.split_once("</script>").expect("it ends");
    let texts: serde_json::Value = serde_json::from_str(json).expect("JSON");
    for (path, known) in [("index.m3u8", "STREAM-INF"), ("source/video0.m3u8", "EXT-X-PART:")] {
        let playlist = texts[format!("/hls/main/{path}")].as_str().expect(path);
        assert!(playlist.starts_with("#EXTM3U") && playlist.contains(known), "{playlist}");
    }
    let links: Vec<&str> = text.split(r#"as="fetch" crossorigin href=""#).skip(1).collect();
    assert!(links.len() >= 4, "heads and parts of pictures and sound: {text}");
    for link in links {
        let path = link.split('"').next().unwrap_or_default();
        assert_eq!(server.get(path).status, 200, "{path}");
    }
}

/// curl's view of an address: the protocol's version, the status, and who issued the certificate.
fn curl(url: &str, extra: &[&str]) -> String {
    let what = ["-sv", "-o", "/dev/null", "-w", "HTTP/%{http_version} %{http_code}"];
    let output = tools::run("curl", &[&what[..], extra, &[url]].concat());
    let (said, log) = (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(output.status.success(), "curl {url}: {log}");
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn https_speaks_http_2_and_1_with_a_self_signed_certificate() {
    let address = free_tcp();
    let listen = format!("http.tls_listen={address}");
    let server = Server::start_with(&[&listen, "tls.self_signed=true"]);
    let url = format!("https://localhost:{}/healthz", address.port());
    assert_eq!(curl(&url, &["-k"]), "HTTP/2 200");
    assert_eq!(curl(&url, &["-k", "--http1.1"]), "HTTP/1.1 200");
    let trusted = tools::run("curl", &["-s", &url]);
    assert_eq!(trusted.status.code(), Some(60), "nobody trusts it");
    server.eventually("the failure is counted", || {
        server.get("/metrics").text().contains("streamr_tls_failed_total 1\n").then_some(())
    });
}

#[test]
fn a_renewed_certificate_is_taken_up_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    tools::certificate(folder.path(), "first");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (cert, address) = (file("cert.pem"), free_tcp());
    let server = Server::start_with(&[
        &format!("http.tls_listen={address}"),
        &format!("tls.cert_file={cert}"),
        &format!("tls.key_file={}", file("key.pem")),
    ]);
    let url = format!("https://localhost:{}/healthz", address.port());
    assert_eq!(curl(&url, &["--cacert", &cert]), "HTTP/2 200");
    tools::certificate(folder.path(), "second");
    server.signal(Signal::HUP);
    server.eventually("the new certificate is taken up", || {
        let output = tools::run("curl", &["-s", "--cacert", &cert, &url]);
        output.status.success().then_some(())
    });
    std::fs::copy(&cert, file("good.pem")).expect("our own folder");
    std::fs::write(&cert, "no certificate at all").expect("our own folder");
    server.signal(Signal::HUP);
    server.eventually("it says that the old one stays", || {
        server.log().contains("the old TLS certificate stays in use").then_some(())
    });
    assert_eq!(curl(&url, &["--cacert", &file("good.pem")]), "HTTP/2 200");
}
