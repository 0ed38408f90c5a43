import { expect, outside, until, watch, withPage } from "../harness.mjs";

const AWAY_MS = Number(process.env.PUBLISHER_AWAY_MS ?? 5000);
const PLAY_ON_S = 5;

export default () =>
  withPage(async (page) => {
    await watch(page);
    await page.waitForTimeout(3000);
    await outside("PUBLISHER_STOP");
    await page.waitForTimeout(AWAY_MS);
    await outside("PUBLISHER_START");
    const back = await until(
      page,
      "playback to go on",
      (m) => m.state === "playing" && m.buffer_s > 0.2,
    );
    const on = await until(
      page,
      "five more seconds",
      (m) => m.state === "playing" && Math.abs(m.current_time_s - back.current_time_s) > PLAY_ON_S,
    );
    expect(on.latency_s === null || on.latency_s < AWAY_MS / 1000 + 10, `${on.latency_s} s behind`);
    return {
      stalls: on.stalls,
      stalled_ms: on.stalled_ms,
      discontinuities: on.discontinuities,
      reconnects: on.reconnects,
      latency_s: on.latency_s,
    };
  });
