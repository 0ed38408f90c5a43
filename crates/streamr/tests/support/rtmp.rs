//! Our own RTMP client over a blocking socket, for what no ordinary tool does.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use psyne::Time;
use streamr_media::flv::Tag;
use streamr_media::rtmp::{Client, ClientEvent, Config, Intent, Output, Target};

use super::PATIENCE;

/// A connection that publishes or plays one stream.
pub(crate) struct Connection<S = TcpStream> {
    client: Client,
    socket: S,
    started: Instant,
}

impl Connection {
    /// Connects and begins the handshake.
    pub(crate) fn open(to: SocketAddr, name: &str, intent: Intent) -> Self {
        let socket = TcpStream::connect(to).expect("the RTMP port");
        socket.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
        Self::over(socket, to, name, intent)
    }

    /// A publisher that the server has accepted.
    pub(crate) fn publish(to: SocketAddr, key: &str) -> Self {
        let mut connection = Self::open(to, key, Intent::Publish);
        let event = connection.event();
        assert_eq!(event, ClientEvent::Ready, "the server does not take the publisher");
        connection
    }
}

impl<S: Read + Write> Connection<S> {
    /// Begins the handshake on a byte stream to the server.
    pub(crate) fn over(socket: S, to: SocketAddr, name: &str, intent: Intent) -> Self {
        let target = Target {
            app: "live".to_owned(),
            tc_url: format!("rtmp://{to}/live"),
            name: name.to_owned(),
            intent,
        };
        let client = Client::new(Config::default(), target, Time::ZERO, 7);
        Self { client, socket, started: Instant::now() }
    }

    /// The next thing that the server does.
    pub(crate) fn event(&mut self) -> ClientEvent {
        self.try_event().expect("the server answers")
    }

    /// The next thing that the server does; nothing if the socket's patience ends before.
    pub(crate) fn try_event(&mut self) -> Option<ClientEvent> {
        let mut buffer = [0; 4096];
        loop {
            match self.client.poll_output() {
                Output::Event(event) => return Some(event),
                Output::Transmit(bytes) => self.socket.write_all(&bytes).expect("it reads"),
                Output::Wait(_) => {
                    let count = match self.socket.read(&mut buffer) {
                        Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                        read => read.expect("the server answers"),
                    };
                    assert!(count > 0, "the server closed without a word");
                    let now = Time::from_micros(self.started.elapsed().as_micros() as u64);
                    self.client.handle_input(now, &buffer[..count]).expect("it speaks RTMP");
                }
            }
        }
    }

    /// Publishes a tag.
    ///
    /// # Errors
    /// The server closed the connection.
    pub(crate) fn send(&mut self, tag: &Tag) -> std::io::Result<()> {
        self.client.send(tag);
        while let Output::Transmit(bytes) = self.client.poll_output() {
            self.socket.write_all(&bytes)?;
        }
        Ok(())
    }

    /// Asks for a pause, or to go on.
    ///
    /// # Errors
    /// The server closed the connection.
    pub(crate) fn pause(&mut self, paused: bool) -> std::io::Result<()> {
        self.client.pause(paused);
        while let Output::Transmit(bytes) = self.client.poll_output() {
            self.socket.write_all(&bytes)?;
        }
        Ok(())
    }

    /// The socket, for those who stop being polite.
    pub(crate) const fn socket(&self) -> &S {
        &self.socket
    }
}
