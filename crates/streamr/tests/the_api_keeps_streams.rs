//! Everything that a creator does to streams by the API, and who may.

mod support;

use support::{Server, http};

#[test]
fn a_stream_is_made_renamed_rekeyed_and_archived() {
    let server = Server::start();
    let made = server.admin("POST", "/api/v1/streams", r#"{"name":"tv","title":"My TV"}"#).json();
    assert_eq!((&made["state"], &made["title"]), (&"ready".into(), &"My TV".into()));
    let (key, url) = (made["key"].as_str().unwrap(), made["publish_url"].as_str().unwrap());
    assert_eq!(url, format!("rtmp://127.0.0.1:{}/live/{key}", server.rtmp.port()));
    let shown = server.get("/api/v1/streams/tv").text();
    assert!(!shown.contains(key), "the key is shown twice");
    let renamed = server.admin("PATCH", "/api/v1/streams/tv", r#"{"title":"Ours"}"#);
    assert_eq!((renamed.status, &renamed.json()["title"]), (200, &"Ours".into()));
    let rekeyed = server.admin("POST", "/api/v1/streams/tv/key", "").json();
    assert_ne!(rekeyed["key"].as_str().unwrap(), key);
    let archived = server.admin("DELETE", "/api/v1/streams/tv", "");
    let state = archived.json()["state"].clone();
    assert_eq!((archived.status, state), (200, "archived".into()), "it says what it is now");
    let again = server.admin("POST", "/api/v1/streams", r#"{"name":"tv"}"#);
    assert_eq!((again.status, again.code().as_str()), (409, "name_taken"));
    assert!(!server.get("/api/v1/streams").text().contains("\"tv\""), "it is listed still");
}

#[test]
fn only_the_token_changes_anything_and_guessers_wait() {
    let server = Server::start_with(&["admin.wrong_tokens_max=3"]);
    let body = r#"{"name":"x"}"#;
    let post = |headers: &[(&str, &str)]| {
        let answer = http::request(server.http, "POST", "/api/v1/streams", headers, body);
        answer.expect("an answer")
    };
    for _ in 0..5 {
        let none = post(&[]);
        assert_eq!((none.status, none.header("www-authenticate")), (401, "bearer"));
    }
    for _ in 0..3 {
        assert_eq!(post(&[("Authorization", "Bearer adm_wrong")]).status, 401);
    }
    let token = format!("Bearer {}", server.token);
    let blocked = post(&[("Authorization", token.as_str())]);
    assert_eq!((blocked.status, blocked.header("retry-after")), (429, "60"));
    assert!(server.get("/metrics").text().contains("streamr_admin_refused_total 3\n"));
    assert!(!server.log().contains(&server.token), "the token is in the log");
}

#[test]
fn streams_max_is_kept() {
    let server = Server::start_with(&["data.streams_max=2"]);
    let add =
        |name: &str| server.admin("POST", "/api/v1/streams", &format!(r#"{{"name":"{name}"}}"#));
    assert_eq!(add("two").status, 201);
    let full = add("three");
    assert_eq!((full.status, full.code().as_str()), (507, "limit"));
    assert!(full.text().contains("data.streams_max"), "{}", full.text());
}

#[test]
fn any_site_may_read_and_none_may_change() {
    let server = Server::start();
    let origin = [("Origin", "https://elsewhere.example")];
    let ask = |method: &str, path: &str| {
        http::request(server.http, method, path, &origin, "").expect("an answer")
    };
    for path in ["/api/v1/streams", "/api/v1/streams/main", "/hls/main/index.m3u8"] {
        let answer = ask("GET", path);
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{path}");
    }
    let preflight = ask("OPTIONS", "/hls/main/index.m3u8");
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), "*");
    for (method, path) in [("OPTIONS", "/api/v1/streams"), ("POST", "/api/v1/streams")] {
        let answer = ask(method, path);
        assert!(answer.status >= 400, "{method} {path}: {}", answer.status);
        assert_eq!(answer.header("access-control-allow-origin"), "", "{method} {path}");
    }
}

#[test]
fn a_test_is_taken_live_and_ended_by_the_api() {
    let server = Server::start_with(&["stream.test_first=true"]);
    let publisher = support::tools::ffmpeg_publishes(&server.publish_url());
    server.await_media();
    assert_eq!(server.state(), "testing");
    assert!(!server.get("/api/v1/streams").text().contains("\"main\""), "a test is listed");
    let live = server.admin("PATCH", "/api/v1/streams/main", r#"{"state":"live"}"#);
    assert_eq!((live.status, &live.json()["state"]), (200, &"live".into()));
    let ended = server.admin("PATCH", "/api/v1/streams/main", r#"{"state":"offline"}"#);
    assert_eq!((ended.status, &ended.json()["state"]), (200, &"offline".into()));
    let (status, _) = publisher.ended();
    assert!(!status.success(), "the publisher goes on after the end");
}
