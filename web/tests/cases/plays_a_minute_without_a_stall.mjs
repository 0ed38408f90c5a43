// A stall is our fault unless the machine stood still or belonged to others at that moment, which
// a thread beside the browser watches. Then the minute says nothing about us: it is shown, and
// another one is played. At the end there must have been a minute without a stall.
import { metrics, onAir, watch, watchSeconds, withPage } from "../harness.mjs";
import { excused, STANDSTILL_MS, watchMachine } from "../machine.mjs";

/** A playhead that stood still longer than this has stalled, whatever events say. */
const STALL_MS = 500;
/** The minute itself, and two more if the machine stood still. */
const MINUTES_MAX = 3;

/** Watches the playhead from inside the page, independently of the player's own stall count. */
const observe = (page) =>
  page.evaluate(
    async ({ ms, stallMs }) => {
      const { video } = document.querySelector("streamr-player");
      const stalls = [];
      const started = performance.now();
      const from = video.currentTime;
      let [last, lastAt, longestMs] = [from, started, 0];
      const stoodUntil = (now) => {
        longestMs = Math.max(longestMs, now - lastAt);
        const { timeOrigin } = performance;
        if (now - lastAt >= stallMs)
          stalls.push({ from: timeOrigin + lastAt, to: timeOrigin + now });
      };
      video.addEventListener("waiting", () => stalls.push({ from: Date.now(), to: Date.now() }));
      while (performance.now() - started < ms) {
        await new Promise((resolve) => setTimeout(resolve, 50));
        if (video.currentTime === last) continue;
        stoodUntil(performance.now());
        [last, lastAt] = [video.currentTime, performance.now()];
      }
      stoodUntil(performance.now());
      const wall_s = (performance.now() - started) / 1000;
      return { played_s: last - from, wall_s, longestMs, stalls };
    },
    { ms: watchSeconds * 1000, stallMs: STALL_MS },
  );

/** What was wrong with a minute, in sentences. */
function faults({ played_s, wall_s, longestMs }, m) {
  const found = [];
  if (m.stalls > 0) found.push(`the player counted ${m.stalls} stalls, ${m.stalled_ms} ms`);
  if (longestMs >= STALL_MS) found.push(`the playhead stood still for ${Math.round(longestMs)} ms`);
  if (played_s < wall_s * 0.98) found.push(`${played_s} s played in ${wall_s} s`);
  if (m.frames_total < played_s) found.push(`only ${m.frames_total} frames were decoded`);
  return found;
}

const minute = () =>
  withPage(async (page) => {
    await watch(page);
    const before = await metrics(page);
    const seen = await observe(page);
    const m = await metrics(page);
    if (before.stalls > 0) seen.stalls.push({ from: 0, to: 0 }); // before we watched: no excuse
    return { seen, m, wrong: faults(seen, m) };
  });

export default async function () {
  for (let count = 1; count <= MINUTES_MAX; count += 1) {
    const machine = watchMachine();
    const { seen, m, wrong } = await minute();
    const standstills = await machine.stop();
    if (wrong.length === 0)
      return {
        played_s: Math.round(seen.played_s * 10) / 10,
        longest_standstill_ms: Math.round(seen.longestMs),
        frames: m.frames_total,
        dropped: m.frames_dropped,
        latency_s: m.latency_s,
        minutes: count,
        machine_disturbed: standstills.length,
      };
    const disturbed = `when the machine stood still for ${STANDSTILL_MS} ms or worked for others`;
    const [stalls, when] = [seen.stalls, standstills].map((list) => JSON.stringify(list));
    const figures = `stalls ${stalls}, ${disturbed} ${when}`;
    if (!excused(seen.stalls, standstills)) throw new Error(`${wrong.join("; ")}; ${figures}`);
    console.error(`THE MACHINE WAS NOT OURS in minute ${count}: ${wrong.join("; ")}; ${figures}`);
    await onAir();
  }
  throw new Error(
    `in none of ${MINUTES_MAX} minutes did both the machine and the picture keep moving`,
  );
}
