import { expect, until, watch, watchSeconds, withPage } from "../harness.mjs";

/** Watches the playhead from inside the page, independently of the player's own stall count. */
const observe = (page, seconds) =>
  page.evaluate(async (ms) => {
    const player = document.querySelector("streamr-player");
    const { video } = player;
    const started = performance.now();
    const from = video.currentTime;
    let [last, lastAt, longestMs] = [from, started, 0];
    while (performance.now() - started < ms) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      const now = performance.now();
      if (video.currentTime === last) continue;
      longestMs = Math.max(longestMs, now - lastAt);
      [last, lastAt] = [video.currentTime, now];
    }
    longestMs = Math.max(longestMs, performance.now() - lastAt);
    return { played_s: last - from, wall_s: (performance.now() - started) / 1000, longestMs };
  }, seconds * 1000);

/** A playhead that stood still longer than this has stalled, whatever events say. */
const STALL_MS = 500;

export default () =>
  withPage(async (page) => {
    await watch(page);
    const seen = await observe(page, watchSeconds);
    const m = await until(page, "metrics", () => true);
    expect(m.stalls === 0, `the player counted ${m.stalls} stalls, ${m.stalled_ms} ms`);
    expect(seen.longestMs < STALL_MS, `the playhead stood still for ${seen.longestMs} ms`);
    expect(seen.played_s > seen.wall_s * 0.98, `${seen.played_s} s played in ${seen.wall_s} s`);
    expect(m.frames_total > seen.played_s, `only ${m.frames_total} frames were decoded`);
    return {
      played_s: Math.round(seen.played_s * 10) / 10,
      longest_standstill_ms: Math.round(seen.longestMs),
      frames: m.frames_total,
      dropped: m.frames_dropped,
      latency_s: m.latency_s,
    };
  });
