//! Players of RTMP: handed to the egress engine, or fed here if their bytes go through TLS.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use streamr_media::Error;
use streamr_media::fanout::{Framing, Reader};
use streamr_media::rtmp::{Output, Parts, PlayerControl, PlayerEvent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::rtmp::Ended;
use super::{Context, Socket};
use crate::live::Broadcast;

/// A connection that wants to play, and may.
pub(super) struct Player<S> {
    pub(super) socket: S,
    pub(super) parts: Parts,
    pub(super) broadcast: Arc<Broadcast>,
}

/// What is said of a player that left.
const LEFT: Error = Error::Malformed { format: "RTMP", reason: "the player left" };

/// Gives a player to the engine.
pub(super) fn hand_over(context: &Context, player: Player<TcpStream>) -> std::io::Result<()> {
    let Player { socket, parts, broadcast } = player;
    let stream = broadcast.players().clone();
    context.live.engine().play_rtmp(socket.into_std()?, stream, parts);
    Ok(())
}

/// How often a player over TLS is written to: as often as the engine does.
const WRITE_EVERY: Duration = Duration::from_millis(40);

/// Feeds a player until it leaves or the broadcast ends.
pub(super) async fn feed<S: Socket>(
    context: &Context,
    player: Player<S>,
    mut ended: Ended,
) -> Ended {
    let Player { mut socket, parts, broadcast } = player;
    let _viewer = broadcast.viewers().connect();
    let mut window = broadcast.players().window();
    let mut reader = Reader::new(Framing::Rtmp, parts.output);
    let mut control = parts.control;
    let mut heard = [0; 1_024];
    let mut interval = tokio::time::interval(WRITE_EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let over = broadcast.is_over();
        broadcast.players().follow(&mut window);
        while let Some(bytes) = reader.peek(&window) {
            let write = socket.write(bytes);
            match tokio::time::timeout(context.config.write_timeout, write).await {
                Ok(Ok(0) | Err(_)) => return ended.because("the player is gone"),
                Ok(Ok(count)) => {
                    ended.bytes += count as u64;
                    reader.advance(count);
                }
                Err(_) => return ended.because("write_timeout: the player takes nothing"),
            }
            broadcast.players().follow(&mut window);
        }
        let flushed = tokio::time::timeout(context.config.write_timeout, socket.flush()).await;
        if !matches!(flushed, Ok(Ok(()))) {
            return ended.because("the player is gone");
        }
        if over {
            return ended.because("the broadcast is over");
        }
        tokio::select! {
            _ = interval.tick() => {}
            read = socket.read(&mut heard) => {
                let Ok(count @ 1..) = read else { return ended.because("the player left") };
                let input = heard.get(..count).unwrap_or_default();
                let said = control.handle_input(input).and_then(|()| answers(&mut control));
                match said {
                    // Here the reader is between two messages.
                    Ok(answer) => if socket.write_all(&answer).await.is_err() {
                        return ended.because("the player is gone");
                    },
                    Err(error) => return ended.because(error.to_string()),
                }
            }
            () = context.shutdown.begun() => return ended.because("the server is shutting down"),
        }
    }
}

/// What a player is to be told now.
fn answers(control: &mut PlayerControl) -> Result<Bytes, Error> {
    let mut answer = BytesMut::new();
    loop {
        match control.poll_output() {
            Output::Transmit(bytes) => answer.extend_from_slice(&bytes),
            Output::Event(PlayerEvent::Left) => return Err(LEFT),
            Output::Event(PlayerEvent::Paused | PlayerEvent::Resumed) => {}
            Output::Wait(_) => return Ok(answer.freeze()),
        }
    }
}
