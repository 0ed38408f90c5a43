//! A publisher's task: frames become media events of a publication.

use std::time::Duration;

use psyne::Time;
use psyne::media::{Event, Frame, Kind};
use streamr_media::media;
use streamr_media::rtp::{self, Source};

use super::peer::Peer;
use crate::live::Publication;

/// Between two requests for a keyframe: a path of half a second can answer in that time.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// How a publisher's session ended.
enum Ended {
    /// It said that it is done.
    Goodbye,
    /// Why, otherwise.
    Because(String),
}

/// Publishes until either side ends it. A keyframe is asked for when none came for `period`:
/// segments end there.
pub(super) async fn run(peer: Peer, publication: Publication, period: Duration) {
    let stream = publication.broadcast().name().clone();
    publication.broadcast().keyframes().set_possible(true);
    let source = Source::new(peer.session.has(Kind::Video));
    let mut publisher = Publisher { peer, publication, source, period, asked: None };
    let ended = publisher.publish().await;
    let Publisher { peer, publication, source, .. } = publisher;
    publication.broadcast().keyframes().set_possible(false);
    let reason = match ended {
        Ended::Goodbye => {
            publication.goodbye();
            "the publisher is done".to_owned()
        }
        Ended::Because(reason) => {
            drop(publication);
            reason
        }
    };
    peer.close().await;
    tracing::info!(%stream, reason, left_out = source.left_out(), "WHIP session ended");
}

struct Publisher {
    peer: Peer,
    publication: Publication,
    source: Source,
    period: Duration,
    asked: Option<Time>,
}

impl Publisher {
    async fn publish(&mut self) -> Ended {
        loop {
            if let Some(ended) = self.drain() {
                return ended;
            }
            let broadcast = self.publication.broadcast().clone();
            tokio::select! {
                alive = self.peer.input() => match alive {
                    true => {}
                    false if self.peer.is_shutting_down() => {
                        return Ended::because("the server is shutting down");
                    }
                    false => return Ended::Goodbye,
                },
                () = broadcast.keyframes().wanted() => self.ask(),
                () = self.publication.dismissed() => return Ended::because("dismissed"),
            }
        }
    }

    /// Handles what the session says; why it is over, if it is.
    fn drain(&mut self) -> Option<Ended> {
        let mut events = Vec::new();
        while let Some(event) = self.peer.poll_event() {
            match event {
                Event::Frame(frame) => {
                    if let Err(error) = self.source.push(&arrived(frame), &mut events) {
                        return Some(Ended::because(self.fail(error)));
                    }
                }
                Event::Closed(psyne::media::Closed::Remote) => return Some(Ended::Goodbye),
                Event::Closed(why) => return Some(Ended::because(format!("{why:?}"))),
                _ => {}
            }
        }
        if !events.is_empty()
            && let Err(error) = self.publication.handle_events(events)
        {
            return Some(Ended::because(error.to_string()));
        }
        let since = self.source.since_keyframe_us().unwrap_or(0);
        if self.source.wants_keyframe() || since >= self.period.as_micros() as i64 {
            self.ask();
        }
        None
    }

    fn fail(&self, error: streamr_media::Error) -> String {
        match self.publication.fail::<()>(error) {
            Ok(()) => String::new(),
            Err(error) => format!("{error}: switch B-frames off in the encoder"),
        }
    }

    fn ask(&mut self) {
        let now = self.peer.now();
        if self.asked.is_none_or(|asked| now.since(asked) >= ASK_EVERY) {
            self.asked = Some(now);
            self.peer.session.request_keyframe(now);
        }
    }
}

impl Ended {
    fn because(reason: impl Into<String>) -> Self {
        Self::Because(reason.into())
    }
}

fn arrived(frame: Frame) -> rtp::Arrived {
    let report =
        |report: psyne::media::Report| rtp::Report { unix_us: report.unix_us, ticks: report.ticks };
    rtp::Arrived {
        kind: match frame.kind {
            Kind::Video => media::Kind::Video,
            Kind::Audio => media::Kind::Audio,
        },
        ticks: frame.ticks,
        arrived_us: i64::try_from(frame.arrived.as_micros()).unwrap_or(i64::MAX),
        report: frame.report.map(report),
        contiguous: frame.contiguous,
        data: frame.data,
    }
}
