//! Two processes: ours, and what the kernel offers.

use std::hint::{black_box, spin_loop};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use psyne::channel::{Config, Message, Wait, spsc};

use crate::kill;
use psyne_cli::measure::{ROUND_TRIPS, latency, pin};

type Frame = [u8; 64];

/// Another process of this program, with a job. Its input ends with this value, and so does it.
pub(crate) struct Other(pub(crate) Child);

impl Other {
    /// Starts it.
    pub(crate) fn start(job: &[&str]) -> Result<Self> {
        Self::with(job, Stdio::inherit())
    }

    /// The same, with its output to be read.
    pub(crate) fn heard(job: &[&str]) -> Result<Self> {
        Self::with(job, Stdio::piped())
    }

    fn with(job: &[&str], output: Stdio) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let child = command.args(job).stdin(Stdio::piped()).stdout(output).spawn()?;
        Ok(Self(child))
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// What the child does.
pub(crate) fn other_side(job: &[&str]) -> Result<()> {
    pin(1);
    match *job {
        ["56", address] => echo::<[u64; 7]>(address),
        ["64", address] => echo::<[u64; 8]>(address),
        ["pipe"] => {
            let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
            rustix::io::ioctl_fionbio(&input, true)?;
            reflect(&mut input, &mut output)
        }
        ["tcp", port] => {
            let mut stream = TcpStream::connect(("127.0.0.1", port.parse()?))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            reflect(&mut stream.try_clone()?, &mut stream)
        }
        ["unix", path] => {
            let mut stream = UnixStream::connect(path)?;
            stream.set_nonblocking(true)?;
            reflect(&mut stream.try_clone()?, &mut stream)
        }
        ["victim", ref job @ ..] => kill::victim(job),
        _ => bail!("no such job"),
    }
}

fn config() -> Config {
    let mut config = Config::default();
    (config.slots, config.wait) = (56, Wait::Spin);
    config
}

fn echo<M: Message>(address: &str) -> Result<()> {
    let mut there = spsc::Receiver::<M>::open(&format!("{address}/there"), &config())?;
    let mut back = spsc::Sender::<M>::open(&format!("{address}/back"), &config())?;
    while let Ok(message) = there.recv() {
        if back.send(message).is_err() {
            break;
        }
    }
    Ok(())
}

/// One-way nanoseconds of a message of ours.
pub(crate) fn ours<M: Message>(message: M) -> Result<f64> {
    let address = format!("ipc://bench/{}", std::process::id());
    let mut back = spsc::Receiver::<M>::open(&format!("{address}/back"), &config())?;
    let _other = Other::start(&["other", &size_of::<M>().to_string(), &address])?;
    let mut there = spsc::Sender::<M>::open(&format!("{address}/there"), &config())?;
    pin(0);
    let mut trip = || -> Result<()> {
        there.send(black_box(message))?;
        black_box(back.recv()?);
        Ok(())
    };
    trip()?;
    let mut failure = None;
    let value = latency(ROUND_TRIPS, || failure = trip().err().or(failure.take()));
    failure.map_or(Ok(value), Err)
}

/// Sends what comes back until it ends, by looking all the time.
fn reflect(input: &mut impl Read, output: &mut impl Write) -> Result<()> {
    let mut frame = [0; 64];
    while fill(input, &mut frame)? {
        output.write_all(&frame)?;
        output.flush()?;
    }
    Ok(())
}

fn fill(input: &mut impl Read, frame: &mut Frame) -> Result<bool> {
    let mut filled = 0;
    while filled < frame.len() {
        match input.read(&mut frame[filled..]) {
            Ok(0) => return Ok(false),
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => spin_loop(),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

fn through(output: &mut impl Write, input: &mut impl Read) -> Result<f64> {
    let mut frame: Frame = [7; 64];
    let mut trip = || -> Result<()> {
        output.write_all(black_box(&frame))?;
        ensure!(fill(input, &mut frame)?, "the other process ended");
        Ok(())
    };
    trip()?;
    let mut failure = None;
    let value = latency(ROUND_TRIPS, || failure = trip().err().or(failure.take()));
    failure.map_or(Ok(value), Err)
}

/// One-way nanoseconds of 64 bytes through two pipes.
pub(crate) fn pipe() -> Result<f64> {
    pin(0);
    let mut other = Other::heard(&["other", "pipe"])?;
    let mut input = other.0.stdout.take().context("a pipe")?;
    rustix::io::ioctl_fionbio(&input, true)?;
    through(other.0.stdin.as_mut().context("a pipe")?, &mut input)
}

/// The same through a Unix socket.
pub(crate) fn unix() -> Result<f64> {
    pin(0);
    let path = std::env::temp_dir().join(format!("bench-channel-{}", std::process::id()));
    let listener = std::os::unix::net::UnixListener::bind(&path)?;
    let _other = Other::start(&["other", "unix", path.to_str().context("a plain path")?])?;
    let (mut stream, _) = listener.accept()?;
    std::fs::remove_file(&path)?;
    stream.set_nonblocking(true)?;
    let mut output = stream.try_clone()?;
    let value = through(&mut output, &mut stream);
    stream.shutdown(std::net::Shutdown::Both)?;
    value
}

/// The same through TCP on the loopback.
pub(crate) fn tcp() -> Result<f64> {
    pin(0);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port().to_string();
    let _other = Other::start(&["other", "tcp", &port])?;
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let mut output = stream.try_clone()?;
    let value = through(&mut output, &mut stream);
    stream.shutdown(std::net::Shutdown::Both)?;
    value
}
