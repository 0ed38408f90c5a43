//! Brings what is counted elsewhere into the server's metrics.

use super::Live;
use crate::egress;

/// Remembers what the engine had counted the last time.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    before: egress::Metrics,
}

impl Sampler {
    /// Sets the gauges to what is, and adds to the counters what was done since the last time.
    pub(super) fn sample(&mut self, live: &Live) {
        let metrics = live.metrics();
        let on: Vec<_> = live.broadcasts().into_iter().filter(|one| !one.is_over()).collect();
        metrics.streams_live.set(on.len() as u64);
        metrics.viewers.set(on.iter().map(|one| one.viewers_now() as u64).sum());
        let shards = live.engine().metrics();
        let sum = |of: fn(&egress::Metrics) -> u64| shards.iter().map(of).sum::<u64>();
        metrics.media_connections.set(sum(|m| m.connections));
        metrics.players_rtmp.set(sum(|m| m.players_rtmp));
        metrics.players_flv.set(sum(|m| m.players_flv));
        metrics.playlists_waiting.set(sum(|m| m.waiters));
        for (counter, total, before) in [
            (&metrics.http_requests_total, sum(|m| m.requests), &mut self.before.requests),
            (&metrics.egress_bytes_total, sum(|m| m.sent_bytes), &mut self.before.sent_bytes),
            (&metrics.egress_skips_total, sum(|m| m.skips), &mut self.before.skips),
            (&metrics.egress_stalled_total, sum(|m| m.stalled), &mut self.before.stalled),
            (&metrics.http_refused_total, sum(|m| m.refused), &mut self.before.refused),
            (&metrics.http_malformed_total, sum(|m| m.malformed), &mut self.before.malformed),
            (&metrics.tls_failed_total, sum(|m| m.unshaken), &mut self.before.unshaken),
        ] {
            counter.add(total.wrapping_sub(std::mem::replace(before, total)));
        }
    }
}
