//! nginx with the very configuration of docs/guide/caching.md between the server and its viewers.

mod support;

use std::net::SocketAddr;
use std::path::Path;

use support::http::{Answer, try_get};
use support::{Server, free_tcp, tools};

const GUIDE: &str = include_str!("../../../docs/guide/caching.md");

/// The guide's configuration, with ports and folders of this test, that says what came from where.
fn configuration(server: &Server, listen: SocketAddr) -> String {
    let (_, block) = GUIDE.split_once("```nginx\n").expect("the guide has a configuration");
    let (block, _) = block.split_once("```").expect("which ends");
    let folder = server.scratch().display().to_string();
    let swap = |text: String, from: &str, to: &str| {
        assert!(text.contains(from), "the guide no longer says {from:?}");
        text.replace(from, to)
    };
    let block = swap(block.to_owned(), "/var/cache/nginx/hls", &format!("{folder}/cache"));
    let block = swap(block, "server 127.0.0.1:8080", &format!("server {}", server.http));
    let block = swap(block, "listen 80;", &format!("listen {listen};"));
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path {folder}/{what};\n"))
        .concat();
    format!(
        "daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;\n\
         events {{}}\nhttp {{\naccess_log off;\n{temporary}\
         add_header X-Cache $upstream_cache_status;\n{block}}}\n"
    )
}

fn nginx(server: &Server) -> (tools::Tool, SocketAddr) {
    let listen = free_tcp();
    let file = server.scratch().join("nginx.conf");
    std::fs::write(&file, configuration(server, listen)).expect("our own folder");
    let (file, folder) = (file.display().to_string(), server.scratch().display().to_string());
    let nginx = if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
    let tool = tools::Tool::start(nginx, &["-p", &folder, "-c", &file]);
    server.eventually("nginx answers", || try_get(listen, "/healthz").filter(|a| a.status == 200));
    (tool, listen)
}

/// The same address by `count` viewers at once.
fn all_at_once(to: SocketAddr, path: &str, count: usize) -> Vec<Answer> {
    std::thread::scope(|scope| {
        let ask = || try_get(to, path).unwrap_or_else(|| panic!("{path} had no answer"));
        let viewers: Vec<_> = (0..count).map(|_| scope.spawn(ask)).collect();
        viewers.into_iter().map(|viewer| viewer.join().expect("it asks")).collect()
    })
}

fn came_from_cache(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| answer.header("x-cache") == "hit").count()
}

/// The address of the newest whole segment, and the number of the one after it.
fn newest(server: &Server) -> (String, u64) {
    let playlist = server.playlist();
    let mut uris = playlist.lines().filter(|line| line.ends_with(".m4s"));
    let uri = uris.next_back().expect("there is media");
    let number = tools::newest_segment(&playlist).expect("segments have numbers");
    (format!("/hls/main/source/{uri}"), number + 1)
}

#[test]
fn segments_are_asked_for_once_and_playlists_wait_behind_it() {
    let server = Server::start();
    let _publisher = tools::ffmpeg_publishes(&server.publish_url());
    server.await_media();
    let (_nginx, cache) = nginx(&server);

    let (segment, next) = newest(&server);
    let answers = all_at_once(cache, &segment, 8);
    assert!(answers.iter().all(|a| a.status == 200 && a.body == answers[0].body), "{segment}");
    assert!(answers[0].body.len() > 1000, "a segment of {} bytes", answers[0].body.len());
    assert_eq!(came_from_cache(&answers), 7, "the server was asked once");

    let path = format!("/hls/main/source/video0.m3u8?_HLS_msn={}&_HLS_part=0", next + 1);
    let waited = all_at_once(cache, &path, 8);
    let begins = format!("-{}.0.m4s", next + 1);
    for answer in &waited {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains(&begins), "what was asked for: {}", answer.text());
    }
    let later = all_at_once(cache, &path, 3);
    assert_eq!(came_from_cache(&later), 3, "an exact playlist stays as it is");

    assert_eq!(tools::ffmpeg_plays(&format!("http://{cache}/hls/main/index.m3u8"), 3), "");
    let page = try_get(cache, "/watch/main").expect("the pages pass");
    assert!(page.status == 200 && page.header("x-cache").is_empty(), "{}", page.head);
}
