//! An open session as a channel.

use core::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::link::{Link, Opened, frame};
use crate::Error;
use crate::channel::{Kind, Message, Path, Reason, Wire};
use crate::frame::Frame;
use crate::pulse::{Pulse, TICK, every};
use crate::rtc::{Channel, Payload};
use crate::uri::Scheme;

/// How long the words of a close may come later than the end.
const WORDS: Duration = Duration::from_secs(2);

/// How a channel came to its end.
enum End {
    /// We closed it.
    Ours(Reason),
    /// They did, and all that they sent has come.
    Theirs(Reason),
    /// Nobody did.
    Lost(String),
    /// They broke a rule.
    Broken(&'static str),
}

impl Opened {
    /// Carries messages until either side closes the channel, or it is lost.
    pub(super) async fn carry(self, wire: Wire) {
        let Self { mut link, data, control } = self;
        wire.open(link.side.bytes_max(), path(&link));
        let end = {
            let talking = talk(&wire, &data, &control);
            tokio::pin!(talking);
            tokio::select! {
                end = &mut talking => end,
                () = measure(&wire) => return,
                why = link.drive() => match talking.await {
                    // What came before the session was over has been taken, the words, too.
                    End::Lost(_) => End::Lost(why),
                    end => end,
                },
            }
        };
        match end {
            End::Ours(reason) => {
                let goodbye = goodbye(&data, &control, reason.clone());
                let limit = wire.options().keepalive.dead_after;
                tokio::select! {
                    _ = timeout(limit, goodbye) => {}
                    _ = link.drive() => {}
                }
                finish(link, (data, control)).await;
                wire.closed_by_us(reason);
            }
            End::Theirs(reason) => {
                finish(link, (data, control)).await;
                wire.end(Error::Closed { by_peer: true, reason });
            }
            End::Lost(why) => wire.end(Error::Lost { why }),
            End::Broken(rule) => {
                let reason = Reason::new(Reason::PROTOCOL, rule);
                let _ = control.try_send(frame(&Frame::Close(reason)));
                finish(link, (data, control)).await;
                wire.end(Error::Protocol(rule));
            }
        }
    }
}

async fn talk(wire: &Wire, data: &Channel, control: &Channel) -> End {
    let (pulse, words) = (Pulse::new(), watch::Sender::new(None));
    tokio::select! {
        end = send(wire, data) => end,
        end = receive(wire, data, &pulse, words.subscribe()) => end,
        end = hear(wire, control, &pulse, &words) => end,
        why = pulse.watch(wire) => End::Lost(why),
        () = ask(wire, control, &pulse) => End::Lost("the session ended".to_owned()),
    }
}

async fn send(wire: &Wire, data: &Channel) -> End {
    loop {
        let message = match wire.next().await {
            Ok(message) => message,
            Err(reason) => return End::Ours(reason),
        };
        let payload = match message.as_text() {
            Some(text) => Payload::Text(text.to_owned()),
            None => Payload::Binary(message.into_data()),
        };
        if data.send(payload).await.is_err() {
            // They closed, or the session is over: whoever notices says which.
            return core::future::pending().await;
        }
    }
}

async fn receive(
    wire: &Wire,
    data: &Channel,
    pulse: &Pulse,
    mut words: watch::Receiver<Option<Reason>>,
) -> End {
    loop {
        // Not reading is the back pressure.
        pulse.room(wire).await;
        let received = data.recv().await;
        pulse.heard();
        let message = match received {
            Some(Payload::Text(text)) => Message::text(text),
            Some(Payload::Binary(bytes)) => {
                Message::received(Kind::Binary, bytes).expect("bytes are always a binary message")
            }
            None => break,
        };
        wire.put(message);
    }
    let said = timeout(WORDS, words.wait_for(Option::is_some)).await;
    match said.ok().and_then(Result::ok).and_then(|said| said.clone()) {
        Some(reason) => End::Theirs(reason),
        None => End::Lost("the peer closed it without a word".to_owned()),
    }
}

/// What is said about the channel.
async fn hear(
    wire: &Wire,
    control: &Channel,
    pulse: &Pulse,
    words: &watch::Sender<Option<Reason>>,
) -> End {
    while let Some(payload) = control.recv().await {
        pulse.heard();
        let Payload::Binary(bytes) = payload else {
            return End::Broken("text on the control channel");
        };
        match Frame::decode_datagram(bytes, 0) {
            // If there is no room for the answer, the peer asks too often.
            Ok(Frame::Ping(number)) => drop(control.try_send(frame(&Frame::Pong(number)))),
            Ok(Frame::Pong(number)) => pulse.answered(wire, number),
            Ok(Frame::Close(reason)) => drop(words.send_replace(Some(reason))),
            Ok(Frame::Message(_)) | Err(_) => {
                return End::Broken("no frame on the control channel");
            }
        }
    }
    // The session is over, and says why.
    core::future::pending().await
}

/// Says why, and waits until all that was sent has arrived.
async fn goodbye(data: &Channel, control: &Channel, reason: Reason) {
    if control.send(frame(&Frame::Close(reason))).await.is_ok() {
        data.close().await;
    }
}

/// Ends the session, and lets its last datagrams leave.
async fn finish(mut link: Link, channels: (Channel, Channel)) {
    link.side.session.close();
    let _ = timeout(WORDS, link.drive()).await;
    drop(channels);
    let Link { sockets, side, .. } = link;
    drop(side);
    let _ = timeout(WORDS, sockets).await;
}

fn path(link: &Link) -> Path {
    Path::direct(Scheme::Webrtc, "here", &link.side.peer)
}

/// Asks the peer whether it is there, as often as was wanted. An answer also says how far it is.
async fn ask(wire: &Wire, control: &Channel, pulse: &Pulse) {
    let mut clock = every(wire.options().keepalive.every);
    loop {
        clock.tick().await;
        // A question that finds no room is not the only one.
        let _ = control.try_send(frame(&Frame::Ping(pulse.number())));
    }
}

/// Tells rates.
async fn measure(wire: &Wire) {
    let mut clock = every(TICK);
    loop {
        let now = clock.tick().await;
        wire.gauge().tick(now);
    }
}
