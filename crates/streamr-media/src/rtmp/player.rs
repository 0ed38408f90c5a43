//! What is left of a connection once its socket belongs to the fan-out.

use super::chunk::kind;
use super::command::Command;
use super::link::{Link, user};
use super::{Output, chunk};
use crate::Error;

/// A player says nothing longer than a command.
const LIMITS: chunk::Limits = chunk::Limits {
    message_bytes_max: 16 << 10,
    partial_bytes_max: 32 << 10,
    chunk_streams_max: 16,
};

/// What a player does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PlayerEvent {
    /// It pauses: send no media until it resumes.
    Paused,
    /// It goes on: start again at a key frame.
    Resumed,
    /// It left the stream. Close the socket.
    Left,
}

/// Reads what a player still says and answers it, in about 300 bytes of memory, while somebody else
/// writes media to its socket. Its answers may stand between any two messages of the media.
#[derive(Debug)]
pub struct PlayerControl {
    link: Link,
    stream: u32,
    paused: bool,
    left: bool,
    /// What has been reported of `paused` and `left`.
    reported: (bool, bool),
}

impl PlayerControl {
    pub(super) fn new(mut link: Link, stream: u32, left: bool) -> Self {
        link.reader.limit(LIMITS);
        Self { link, stream, paused: false, left, reported: (false, false) }
    }

    /// Takes bytes from the player: acknowledgements, pings, `pause`, `seek`, `deleteStream`.
    ///
    /// # Errors
    /// The bytes are malformed or over a limit. Close the socket.
    pub fn handle_input(&mut self, mut input: &[u8]) -> Result<(), Error> {
        while let Some(message) = self.link.next(&mut input)? {
            if let kind::COMMAND_AMF0 | kind::COMMAND_AMF3 = message.header.kind {
                self.command(&Command::read(&message, LIMITS.message_bytes_max)?);
            }
        }
        Ok(())
    }

    fn command(&mut self, command: &Command) {
        match command.name.as_str() {
            "pause" | "pauseRaw" => {
                self.paused = command.number(0) != 0.0;
                send_pause_notify(&mut self.link, self.stream, self.paused);
            }
            "seek" => send_seek_failed(&mut self.link, self.stream),
            "deleteStream" if command.number(0) == f64::from(self.stream) => self.left = true,
            "closeStream" => self.left = true,
            _ => {}
        }
    }

    /// Tells the player that the publication is over.
    pub fn end(&mut self) {
        send_end(&mut self.link, self.stream);
    }

    /// The last acknowledgement: how many of our bytes have reached the player, modulo 2^32.
    #[must_use]
    pub const fn acknowledged_bytes(&self) -> u32 {
        self.link.peer_acknowledged
    }

    /// What to send or know next. There are no timeouts: the writer sees a dead socket first.
    pub fn poll_output(&mut self) -> Output<PlayerEvent> {
        if let Some(bytes) = self.link.take_output() {
            return Output::Transmit(bytes);
        }
        if self.left && !self.reported.1 {
            self.reported.1 = true;
            return Output::Event(PlayerEvent::Left);
        }
        if self.paused != self.reported.0 {
            self.reported.0 = self.paused;
            let event = if self.paused { PlayerEvent::Paused } else { PlayerEvent::Resumed };
            return Output::Event(event);
        }
        Output::Wait(None)
    }
}

pub(super) fn send_pause_notify(link: &mut Link, stream: u32, paused: bool) {
    let code = if paused { "NetStream.Pause.Notify" } else { "NetStream.Unpause.Notify" };
    link.send_status(stream, "status", code, "");
}

pub(super) fn send_seek_failed(link: &mut Link, stream: u32) {
    link.send_status(stream, "error", "NetStream.Seek.Failed", "A live stream cannot seek.");
}

pub(super) fn send_end(link: &mut Link, stream: u32) {
    link.send_status(stream, "status", "NetStream.Play.UnpublishNotify", "The stream has ended.");
    link.send_user_control(user::STREAM_EOF, &[stream]);
}
