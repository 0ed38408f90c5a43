//! Installs what is missing. Nothing is skipped: what cannot be installed is an error.

use anyhow::{Context, Result, bail};

use crate::{sh, web};

/// A program and the Debian package that brings it.
struct Tool {
    program: &'static str,
    package: &'static str,
}

const fn tool(program: &'static str, package: &'static str) -> Tool {
    Tool { program, package }
}

/// What building needs: a C compiler for SQLite and ring.
const BUILD: &[Tool] = &[tool("cc", "build-essential"), tool("git", "git")];
/// What the demo needs on top.
const DEMO: &[Tool] = &[tool("ffmpeg", "ffmpeg"), tool("node", "nodejs"), tool("npm", "npm")];
/// What the tests need on top.
const TEST: &[Tool] = &[
    tool("chromium", "chromium"),
    tool("nginx", "nginx"),
    tool("curl", "curl"),
    tool("openssl", "openssl"),
    // A peer in bench/ makes its bindings while it is built.
    tool("clang", "clang"),
    tool("gst-launch-1.0", "gstreamer1.0-tools"),
    // Asks for a packet filter, which ffmpeg cannot.
    tool("srt-live-transmit", "srt-tools"),
    tool("systemd-analyze", "systemd"),
    tool("turnserver", "coturn"),
    // The laboratory of NATs.
    tool("unshare", "util-linux"),
    tool("ip", "iproute2"),
    tool("nft", "nftables"),
];
/// Packages without a program of their own, with a file that shows that they are there.
const TEST_FILES: &[(&str, &str)] = &[
    ("libnginx-mod-rtmp", "usr/lib/nginx/modules/ngx_rtmp_module.so"),
    ("gstreamer1.0-plugins-base", "gstreamer-1.0/libgstvideotestsrc.so"),
    ("gstreamer1.0-plugins-good", "gstreamer-1.0/libgstflv.so"),
    ("gstreamer1.0-plugins-bad", "gstreamer-1.0/libgstrtmp2.so"),
    ("gstreamer1.0-plugins-ugly", "gstreamer-1.0/libgstx264.so"),
    ("gstreamer1.0-libav", "gstreamer-1.0/libgstlibav.so"),
    ("python3-numpy", "usr/lib/python3/dist-packages/numpy/__init__.py"),
];

/// The Node that is fetched where Debian's is too old.
const NODE: &str = "22.23.3";
/// Major and minor of the oldest that will do, as in web/package.json.
const NODE_MIN: (u32, u32) = (20, 19);

/// What `demo` needs: compiler, ffmpeg, node, the pages.
pub(crate) fn demo() -> Result<()> {
    demo_packages()?;
    web::build_if_stale()
}

/// The programs of the demo alone.
pub(crate) fn demo_packages() -> Result<()> {
    install(&missing(&[BUILD, DEMO]))?;
    node()
}

/// What `test` needs: all of that, a browser, peers, nextest, npm packages.
pub(crate) fn everything() -> Result<()> {
    install(&missing(&[BUILD, DEMO, TEST]))?;
    packages(TEST_FILES)?;
    node()?;
    nextest()?;
    web::build_if_stale()
}

/// Installs those Debian packages whose file, from the root or below the libraries, is not there.
pub(crate) fn packages(wanted: &[(&'static str, &str)]) -> Result<()> {
    let absent = wanted.iter().filter(|(_, file)| !exists(file)).map(|(name, _)| *name);
    install(&absent.collect::<Vec<_>>())
}

fn missing(lists: &[&[Tool]]) -> Vec<&'static str> {
    lists
        .iter()
        .flat_map(|list| list.iter())
        .filter(|t| !sh::has(t.program))
        .map(|t| t.package)
        .collect()
}

fn exists(file: &str) -> bool {
    let libs = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    ["/", libs.as_str()].iter().any(|dir| std::path::Path::new(dir).join(file).exists())
}

fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    if !sh::has("apt-get") {
        bail!("install these yourself, this is not Debian: {}", packages.join(" "));
    }
    sh::say(&format!("installing {}", packages.join(" ")));
    apt(&["update", "-qq"])?;
    let mut args = vec!["install", "-y", "-qq", "--no-install-recommends"];
    args.extend(packages);
    apt(&args).with_context(|| format!("these are needed: {}", packages.join(" ")))
}

fn apt(args: &[&str]) -> Result<()> {
    let mut words: Vec<&str> = if is_root()? { vec![] } else { vec!["sudo"] };
    words.extend(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    words.extend(args);
    sh::run(sh::cmd(words[0], &words[1..]))
}

/// Whether everything on this machine may be done.
pub(crate) fn is_root() -> Result<bool> {
    Ok(sh::output(sh::cmd("id", &["-u"]))?.trim() == "0")
}

/// A Node that builds the pages, where Debian's is too old for them: from the npm registry, beside
/// the build's other output.
fn node() -> Result<()> {
    let found = sh::output(sh::cmd("node", &["--version"]))?;
    if new_enough(&found) || web::own_node().is_some() {
        return Ok(());
    }
    sh::say(&format!("Node {} is too old for the pages: fetching one beside it", found.trim()));
    let prefix = sh::root().join(web::OWN_NODE);
    std::fs::create_dir_all(&prefix)?;
    let package = format!("node@{NODE}");
    let mut npm = sh::cmd("npm", &["install", "--no-audit", "--no-fund", &package, "--prefix"]);
    npm.arg(&prefix);
    sh::run(npm)
}

/// Whether `node --version` says at least what web/package.json asks for under `engines`.
fn new_enough(version: &str) -> bool {
    let mut parts = version.trim().trim_start_matches('v').split('.');
    let mut next = || parts.next().and_then(|part| part.parse::<u32>().ok()).unwrap_or(0);
    (next(), next()) >= NODE_MIN
}

fn nextest() -> Result<()> {
    if sh::has("cargo-nextest") {
        return Ok(());
    }
    sh::run(sh::cargo(&["install", "--locked", "cargo-nextest"]))
}

#[cfg(test)]
mod tests {
    use super::new_enough;

    #[test]
    fn the_age_of_node_is_told() {
        for (version, want) in [
            ("v18.20.4\n", false),
            ("v20.18.3", false),
            ("v20.19.0", true),
            ("v22.0.0", true),
            ("what", false),
        ] {
            assert_eq!(new_enough(version), want, "{version}");
        }
    }
}
