import { outside, until, watch, withPage } from "../harness.mjs";

/** SERVER_RESTART ends the server, starts it and brings the publisher back. */
export default () =>
  withPage(async (page) => {
    await watch(page);
    await page.waitForTimeout(3000);
    const before = await until(page, "metrics", () => true);
    await outside("SERVER_RESTART");
    const lost = await until(
      page,
      "the loss to be noticed or played over",
      (m) => m.state !== "playing" || m.reconnects > before.reconnects || m.discontinuities > 0,
    );
    const back = await until(
      page,
      "playback",
      (m) => m.state === "playing" && m.buffer_s > 0.2,
      90,
    );
    const on = await until(
      page,
      "five more seconds",
      (m) => m.state === "playing" && Math.abs(m.current_time_s - back.current_time_s) > 5,
    );
    return { first_seen_as: lost.state, reconnects: on.reconnects, latency_s: on.latency_s };
  });
