//! A chat with files, between any two of: this program, itself elsewhere, the page in
//! examples/js/chat.
//!
//!     chat host demo                                          # a hub, and who waits for a call
//!     chat call webrtc://native@demo?via=ws://127.0.0.1:7400  # another terminal; or the page
//!     chat wait webrtc://bob@demo?via=ws://127.0.0.1:7400     # who waits at a hub that runs
//!
//! A line is said to the other side; `/send FILE` sends a file, which is kept there as
//! `received-NAME` in the folder of who gets it. Any address will do: `tcp://`, `wss://` …

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use psyne::net::signal::hub;
use psyne::net::signal::server::{Config, Server};
use psyne::net::{Channel, Error, Options, connect, listen};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines, Stdin, stdin};

/// A file goes in pieces, so that a line may come between and no message is too long for a browser.
const PIECE_BYTES: usize = 60_000;
/// What somebody may make us keep.
const FILE_BYTES_MAX: u64 = 1 << 30;

type Input = Lines<BufReader<Stdin>>;

#[tokio::main]
async fn main() -> Result<()> {
    match examples::words()[..] {
        ["host", group] => host(group, "127.0.0.1:7400").await,
        ["host", group, address] => host(group, address).await,
        ["wait", uri] => wait(uri).await,
        ["call", uri] => call(uri).await,
        _ => examples::help(include_str!("chat.rs")),
    }
}

/// Runs a hub for this machine, and waits for a call there.
async fn host(group: &str, address: &str) -> Result<()> {
    let listen: SocketAddr = address.parse().context("write ADDRESS:PORT")?;
    ensure!(listen.ip().is_loopback(), "a hub for everybody is `psyne signal`: it knows tokens");
    let (server, driver) =
        Server::listen(Config { listen, tls: None, hub: hub::Config::default() })?;
    tokio::spawn(driver);
    wait(&format!("webrtc://native@{group}?via=ws://{}", server.local_addr())).await
}

/// Waits for calls, one after the other.
async fn wait(uri: &str) -> Result<()> {
    let (mut listener, driver) = listen(uri, &Options::default()).await?;
    tokio::spawn(driver);
    println!("waiting at {}", listener.uri());
    let mut input = BufReader::new(stdin()).lines();
    loop {
        let (channel, driver) = listener.accept().await?;
        tokio::spawn(driver);
        if !talk(channel, &mut input).await? {
            return Ok(());
        }
    }
}

async fn call(uri: &str) -> Result<()> {
    let (channel, driver) = connect(uri, &Options::default())?;
    tokio::spawn(driver);
    channel.ready().await?;
    talk(channel, &mut BufReader::new(stdin()).lines()).await.map(|_| ())
}

/// Whether there will be more to say when the other side has gone.
async fn talk(channel: Channel, input: &mut Input) -> Result<bool> {
    println!("connected");
    let (sender, mut receiver) = channel.split();
    let mut sender = sender;
    let mut file = None;
    loop {
        tokio::select! {
            line = input.next_line() => match line?.as_deref() {
                None | Some("/quit") => {
                    sender.close(psyne::net::Reason::normal());
                    // What was said last arrives before the end.
                    while receiver.recv().await.is_ok() {}
                    return Ok(false);
                }
                Some(line) => match line.strip_prefix("/send ") {
                    Some(path) => match tokio::fs::read(path).await {
                        Ok(bytes) => send_file(&mut sender, path, &bytes).await?,
                        Err(error) => println!("{path} can't be read: {error}"),
                    },
                    None => sender.send(json!({"say": line}).to_string()).await?,
                },
            },
            message = receiver.recv() => match message {
                Ok(message) => match message.as_text() {
                    Some(text) => hear(text, &mut file)?,
                    None => keep(&mut file, message.data())?,
                },
                Err(Error::Closed { reason, .. }) => {
                    println!("closed: {} {}", reason.code(), reason.text());
                    return Ok(true);
                }
                Err(error) => {
                    println!("lost: {error}");
                    return Ok(true);
                }
            },
        }
    }
}

async fn send_file(
    sender: &mut psyne::net::channel::Sender,
    path: &str,
    bytes: &[u8],
) -> Result<()> {
    let name = Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or("file");
    sender.send(json!({"file": name, "bytes": bytes.len()}).to_string()).await?;
    for piece in bytes.chunks(PIECE_BYTES) {
        sender.send(piece.to_vec()).await?;
    }
    println!("sent {name}: {} bytes", bytes.len());
    Ok(())
}

/// A file that is on its way.
struct Incoming {
    name: String,
    file: std::fs::File,
    missing: u64,
}

/// Something was said, or a file announced.
fn hear(text: &str, file: &mut Option<Incoming>) -> Result<()> {
    let said: Value = serde_json::from_str(text).unwrap_or_default();
    if let Some(words) = said["say"].as_str() {
        println!("they say: {words}");
    } else if let (Some(name), Some(bytes)) = (said["file"].as_str(), said["bytes"].as_u64()) {
        ensure!(bytes <= FILE_BYTES_MAX, "they want to send {bytes} bytes, which is too much");
        // A name, and no way to anywhere else.
        let plain = |c: char| c.is_alphanumeric() || "._- ".contains(c);
        ensure!(!name.starts_with('.') && name.chars().all(plain), "{name:?} is no name of a file");
        let name = format!("received-{name}");
        let create = std::fs::File::create_new(&name);
        let opened = create.with_context(|| format!("{name} can't be made"))?;
        let incoming = Incoming { name, file: opened, missing: bytes };
        finish_if_whole(file.insert(incoming));
    } else {
        bail!("they say what this program does not know: {text:.80}");
    }
    Ok(())
}

/// A piece of the file came.
fn keep(file: &mut Option<Incoming>, bytes: &[u8]) -> Result<()> {
    let incoming = file.as_mut().context("they send pieces of no file")?;
    let left = incoming.missing.checked_sub(bytes.len() as u64);
    incoming.missing = left.context("they send more than they said")?;
    incoming.file.write_all(bytes)?;
    finish_if_whole(incoming);
    Ok(())
}

fn finish_if_whole(incoming: &Incoming) {
    if incoming.missing == 0 {
        println!("kept {}", incoming.name);
    }
}
