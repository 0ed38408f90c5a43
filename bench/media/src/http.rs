//! Requests over connections that stay open, each asking again as soon as it was answered.

use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, crypto};

use crate::fetch::{self, Responses};
use crate::load::{Http, Meter, Report, Step, Window};

const READ_BYTES: usize = 256 << 10;
const WAIT: Duration = Duration::from_millis(20);

struct Asker {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    responses: Responses,
    unsent: Vec<u8>,
}

impl Asker {
    fn connect(spec: &Http, tls: Option<&Arc<ClientConfig>>) -> Result<Self> {
        let socket = std::net::TcpStream::connect(spec.addr)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let tls = match tls {
            Some(config) => {
                let name = ServerName::try_from("localhost")?;
                Some(Box::new(ClientConnection::new(Arc::clone(config), name)?))
            }
            None => None,
        };
        let socket = TcpStream::from_std(socket);
        Ok(Self { socket, tls, responses: Responses::default(), unsent: Vec::new() })
    }

    fn ask(&mut self, request: &[u8]) -> Result<()> {
        match &mut self.tls {
            Some(tls) => tls.writer().write_all(request)?,
            None => self.unsent.extend_from_slice(request),
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                tls.write_tls(&mut self.unsent)?;
            }
        }
        while !self.unsent.is_empty() {
            match self.socket.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("the server hung up on a request"),
            }
        }
        Ok(())
    }

    fn read(&mut self, buffers: &mut Buffers, request: &[u8]) -> Result<()> {
        loop {
            let count = match self.socket.read(&mut buffers.wire) {
                Ok(0) => bail!("the server closed a connection that should stay open"),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return self.flush(),
                Err(error) => return Err(error).context("the server hung up on an answer"),
            };
            if self.take(count, buffers)? {
                self.ask(request)?;
            }
            if count < buffers.wire.len() {
                return self.flush();
            }
        }
    }

    /// Counts what was read; whether the response is complete.
    fn take(&mut self, count: usize, buffers: &mut Buffers) -> Result<bool> {
        let Some(tls) = &mut self.tls else { return self.responses.push(&buffers.wire[..count]) };
        let mut wire = &buffers.wire[..count];
        let mut complete = false;
        while !wire.is_empty() {
            tls.read_tls(&mut wire)?;
            tls.process_new_packets()?;
            loop {
                match tls.reader().read(&mut buffers.plain) {
                    Ok(0) => bail!("the server closed a TLS connection"),
                    Ok(count) => complete |= self.responses.push(&buffers.plain[..count])?,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(complete)
    }
}

struct Buffers {
    wire: Vec<u8>,
    plain: Vec<u8>,
}

/// TLS 1.3 with one cipher, so that both servers do the same work.
fn tls(trust: &Path) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trust)?)?;
    let mut provider = crypto::ring::default_provider();
    provider.cipher_suites = vec![crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256];
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Asks until the window closes.
pub(crate) fn run(spec: &Http, window: &Window) -> Result<Report> {
    let tls = spec.trust.as_deref().map(tls).transpose()?;
    let request = fetch::request(&spec.path);
    let mut poll = Poll::new()?;
    let mut askers = Vec::with_capacity(spec.connections);
    for index in 0..spec.connections {
        let mut asker = Asker::connect(spec, tls.as_ref())?;
        poll.registry().register(&mut asker.socket, Token(index), Interest::READABLE)?;
        asker.ask(&request)?;
        askers.push(asker);
    }
    let mut events = Events::with_capacity(1_024);
    let mut buffers = Buffers { wire: vec![0; READ_BYTES], plain: vec![0; READ_BYTES] };
    let mut meter = Meter::new(window);
    let total = |askers: &[Asker]| {
        askers.iter().fold((0, 0), |sum: (u64, u64), asker| {
            (sum.0 + asker.responses.count, sum.1 + asker.responses.bytes)
        })
    };
    let mut opened = (0, 0);
    loop {
        poll.poll(&mut events, Some(WAIT))?;
        for event in &events {
            askers[event.token().0].read(&mut buffers, &request)?;
        }
        match meter.step()? {
            Step::Go => {}
            Step::Open => opened = total(&askers),
            Step::Close => {
                let now = total(&askers);
                let mut report = meter.report();
                report.units = (now.0 - opened.0) as f64;
                report.bytes = (now.1 - opened.1) as f64;
                let idle = askers.iter().filter(|asker| asker.responses.count == 0).count();
                report.check(idle == 0, || format!("{idle} connections had no answer"));
                ensure!(report.units > 0.0, "nothing was delivered");
                return Ok(report);
            }
        }
    }
}
