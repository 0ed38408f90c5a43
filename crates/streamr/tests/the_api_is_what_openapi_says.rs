//! docs/openapi.yaml describes the routes that there are, and the answers that come.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use streamr_server::http::ROUTES;
use support::{Server, http};

const SPEC: &str = include_str!("../../../docs/openapi.yaml");

/// Names directly below a path of keys. The file is plain: two spaces a level, a key a line.
fn below(path: &[&str]) -> BTreeSet<String> {
    let mut lines = SPEC.lines().peekable();
    for (depth, key) in path.iter().enumerate() {
        let line = format!("{}{key}:", "  ".repeat(depth));
        assert!(lines.any(|found| found == line), "{path:?} is not in the file");
    }
    let indent = 2 * path.len();
    let inside = lines.take_while(|line| line.len() - line.trim_start().len() >= indent);
    let names = inside.filter_map(|line| {
        let (blank, text) = line.split_at_checked(indent)?;
        let (name, _) = text.split_once(':')?;
        let whole = blank.trim().is_empty() && !text.starts_with([' ', '-']);
        whole.then(|| name.trim_matches('\'').to_owned())
    });
    names.collect()
}

fn keys(value: &Value) -> BTreeSet<String> {
    let object = value.as_object().unwrap_or_else(|| panic!("{value} is no object"));
    object.keys().cloned().collect()
}

#[test]
fn the_routes_are_described_and_no_others() {
    let methods = ["get", "post", "put", "patch", "delete", "head", "options"];
    let described: BTreeMap<String, BTreeSet<String>> = below(&["paths"])
        .into_iter()
        .map(|path| {
            let found = below(&["paths", &path]);
            (path, found.into_iter().filter(|key| methods.contains(&key.as_str())).collect())
        })
        .collect();
    let routes: BTreeMap<String, BTreeSet<String>> = ROUTES
        .iter()
        .map(|(path, known)| {
            ((*path).to_owned(), known.iter().map(|&method| method.to_owned()).collect())
        })
        .collect();
    assert_eq!(described, routes);
}

#[test]
fn answers_have_the_fields_and_statuses_that_are_described() {
    let server = Server::start();
    let fields = below(&["components", "schemas", "Stream", "properties"]);
    let listed = server.get("/api/v1/streams").json();
    assert_eq!(keys(&listed), below(&["components", "schemas", "Streams", "properties"]));
    assert_eq!(keys(&listed["streams"][0]), fields);
    assert_eq!(keys(&server.stream()), fields);
    let made = server.admin("POST", "/api/v1/streams", r#"{"name":"two","title":"Two"}"#);
    let mut keyed = fields.clone();
    keyed.extend(["key".to_owned(), "publish_url".to_owned()]);
    assert_eq!((made.status, keys(&made.json())), (201, keyed));
    let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(100_000));
    for (method, path, body, status, code) in [
        ("POST", "/api/v1/streams", r#"{"name":"two"}"#, 409, "name_taken"),
        ("POST", "/api/v1/streams", r#"{"name":"Not A Name"}"#, 400, "bad_name"),
        ("POST", "/api/v1/streams", r#"{"nmae":"x"}"#, 400, "bad_request"),
        ("POST", "/api/v1/streams", "{", 400, "bad_request"),
        ("POST", "/api/v1/streams", &long, 413, "bad_body"),
        ("PATCH", "/api/v1/streams/two", r#"{"state":"live"}"#, 409, "bad_state"),
        ("PATCH", "/api/v1/streams/none", r#"{"title":"x"}"#, 404, "no_stream"),
        ("POST", "/api/v1/streams/none/key", "", 404, "no_stream"),
        ("DELETE", "/api/v1/streams/none", "", 404, "no_stream"),
        ("PUT", "/api/v1/streams", "", 405, "method_not_allowed"),
        ("GET", "/api/v1/nothing", "", 404, "not_found"),
        ("GET", "/api/v1/streams/two/thumbnail.jpg", "", 404, "not_found"),
    ] {
        let answer = server.admin(method, path, body);
        let got = (answer.status, answer.code());
        assert_eq!(got, (status, code.to_owned()), "{method} {path}: {}", answer.text());
        let route = ROUTES.iter().any(|(_, known)| known.contains(&&*method.to_lowercase()));
        if let (true, Some(path)) = (route && status != 405, described(path)) {
            let path = ["paths", &path, &method.to_lowercase(), "responses"];
            assert!(below(&path).contains(&status.to_string()), "{path:?} lacks {status}");
        }
    }
}

/// The described path that a real one is an instance of.
fn described(path: &str) -> Option<String> {
    let parts: Vec<_> = path.split('/').collect();
    let fits = |(known, _): &&(&str, &[&str])| {
        let known: Vec<_> = known.split('/').collect();
        let same = |(a, b): (&&str, &&str)| a == b || a.starts_with('{');
        known.len() == parts.len() && known.iter().zip(&parts).all(same)
    };
    ROUTES.iter().find(fits).map(|(known, _)| (*known).to_owned())
}

#[test]
fn health_readiness_and_metrics_answer_in_text() {
    let server = Server::start();
    assert_eq!(server.get("/healthz").text(), "ok\n");
    assert_eq!(server.get("/readyz").text(), "ready\n");
    let metrics = server.get("/metrics");
    assert!(metrics.header("content-type").starts_with("text/plain; version=0.0.4"));
    assert!(metrics.text().contains("\nstreamr_http_requests_total "), "{}", metrics.text());
    let head = http::request(server.http, "HEAD", "/healthz", &[], "").expect("an answer");
    assert_eq!((head.status, head.body.len(), head.header("content-length")), (200, 0, "3"));
}
