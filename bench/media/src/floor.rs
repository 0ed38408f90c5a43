//! What the kernel alone needs to send the same bytes to as many sockets: nothing that answers
//! blocked reloads one by one can be faster on this machine.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::load::{Report, unix_us};
use crate::wait::Sockets;

const PAUSE: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_secs(10);

/// The plain program: accepts all, then sends to one after the other.
pub(crate) fn send(
    addr: SocketAddr,
    waiters: usize,
    rounds: usize,
    bytes: usize,
) -> Result<Report> {
    let listener = TcpListener::bind(addr)?;
    let mut sockets = Vec::with_capacity(waiters);
    for _ in 0..waiters {
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        sockets.push(socket);
    }
    let mut report = Report::default();
    for _ in 0..rounds {
        std::thread::sleep(PAUSE);
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n{:bytes$}", "");
        report.waits_ms.push(unix_us() as f64);
        for socket in &mut sockets {
            socket.write_all(answer.as_bytes())?;
        }
    }
    std::thread::sleep(PAUSE);
    Ok(report)
}

/// Its waiters: when each response arrived, as Unix times in microseconds, round after round.
pub(crate) fn receive(addr: SocketAddr, waiters: usize, rounds: usize) -> Result<Report> {
    let mut sockets = Sockets::connect(addr, waiters)?;
    let mut report = Report::default();
    for round in 0..rounds {
        let times = sockets.collect(TIMEOUT).with_context(|| format!("round {round}"))?;
        ensure!(times.len() == waiters, "only {} of {waiters} were reached", times.len());
        report.waits_ms.extend(times.iter().map(|time| *time as f64));
    }
    Ok(report)
}
