use super::*;

fn config(text: &str) -> Result<Config, String> {
    let layer = Layer::file("a.toml", text).map_err(|error| error.to_string())?;
    Config::from_layers(&[layer]).map_err(|error| error.to_string())
}

#[test]
fn the_example_file_is_the_default_and_names_every_key() {
    assert_eq!(config(EXAMPLE).unwrap(), Config::default());
    let example: toml::Table = EXAMPLE.parse().unwrap();
    let default = toml::Table::try_from(Config::default()).unwrap();
    assert_eq!(example, default);
    for line in EXAMPLE.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn later_layers_win() {
    let file = Layer::file("a.toml", "[http]\nlisten = \":1\"\n[hls]\nsegments = 5").unwrap();
    let env = [("STREAMR_HTTP_LISTEN", ":2"), ("HOME", "/"), ("STREAMR_CONFIG", "x")];
    let env = environment(env, &["STREAMR_CONFIG"]).unwrap();
    let flag = flags([("http.listen", ":3"), ("ladder.renditions", "720p, 480p")]).unwrap();
    let config = Config::from_layers(&[file.clone(), env.clone(), flag]).unwrap();
    assert_eq!((config.http.listen.as_str(), config.hls.segments), (":3", 5));
    assert_eq!(config.ladder.renditions, ["720p", "480p"]);
    let flag = flags([("ladder.renditions", "[\"720p\", \"480p\"]")]).unwrap();
    let config = Config::from_layers(&[file.clone(), env.clone(), flag]).unwrap();
    assert_eq!(config.ladder.renditions, ["720p", "480p"], "as the file has it");
    assert_eq!(Config::from_layers(&[file, env]).unwrap().http.listen, ":2");
}

#[test]
fn what_cannot_be_meant_is_refused_with_a_hint() {
    for (text, words) in [
        ("[http]\nlisen = \":1\"", "a.toml: there is no key http.lisen; did you mean http.listen?"),
        ("[htp]\nlisten = \":1\"", "no key htp"),
        ("[zebra]\ngrass = 1", "`streamr config example` lists all keys"),
        ("http = 1", "http must be a section of keys, not integer"),
        ("[http]\nlisten = 1", "http.listen must be text in quotes, not integer"),
        ("[http]\nlisten = \"nowhere\"", "http.listen is \"nowhere\", but must be an address"),
        ("[hls]\npart_ms = -1", "part_ms"),
        ("[hls]\npart_ms = 5", "hls.part_ms is 5, but must be from 20 to 5000"),
        ("[hls]\nsegment_ms = 100", "hls.segment_ms is 100"),
        ("[log]\nformat = \"xml\"", "xml"),
        ("[http", "a.toml is not TOML"),
        ("[http]\nlisten = \":1935\"", "http.listen and rtmp.listen are the same address"),
        ("[http]\ntls_listen = \":8443\"", "http.tls_listen needs a certificate"),
        ("[tls]\ncert_file = \"x\"", "go together"),
        ("[webrtc]\nice_servers = [\"example.org\"]", "webrtc.ice_servers has \"example.org\""),
        ("[webrtc]\nlisten = \":8890\"", "srt.listen and webrtc.listen are the same address"),
        ("[http]\nproxies = [\"proxy.lan\"]", "invalid IP address"),
    ] {
        let error = config(text).unwrap_err();
        assert!(error.contains(words), "{text:?} gave {error:?}");
    }
    let error = environment([("STREAMR_HTTP_LISTN", "")], &[]).unwrap_err().to_string();
    assert!(error.contains("did you mean STREAMR_HTTP_LISTEN?"), "{error}");
    let error = flags([("hls.segments", "many")]).unwrap_err().to_string();
    assert!(error.contains("must be a whole number, not \"many\""), "{error}");
}

#[test]
fn the_token_is_never_shown() {
    let config = config("[admin]\ntoken = \"secret-secret\"").unwrap();
    assert!(!config.to_toml().contains("secret-secret"));
    assert!(!format!("{config:?}").contains("secret-secret"));
}
