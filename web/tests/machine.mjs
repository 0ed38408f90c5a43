// Tells the machine's fault from ours: a thread of its own only sleeps, and notes how late it woke,
// how much processor time the hypervisor gave to somebody else, and how much other programs took.
import { Worker } from "node:worker_threads";

/** How long the thread sleeps: short beside what it looks for, long enough to cost nothing. */
const SLEEP_MS = 50;
/**
 * A thread that only sleeps needs next to nothing, so whoever finds it this much late finds a
 * machine that stood still; so does who finds this much processor time of a second stolen. The
 * player has a second of media from the newest part, but for that part (200 ms), which is on its
 * way, and as much again for late playlists and decoders: about half a second to spare. A quarter
 * of a second is half of that, gone in one piece.
 */
export const STANDSTILL_MS = 250;
/**
 * The share of all processors that other programs may take in a second. Browser, server and
 * publisher need 0.65 of a processor on average, and at each part a burst of both of two; a machine
 * of which others have more than half cannot show whether we are quick enough. Ours is what belongs
 * to this process's group, and what that has started.
 */
const OTHERS_SHARE_MAX = 0.5;
/** So long after a standstill a stall may still come from it: what was missed has been made up. */
const AFTERMATH_MS = 2000;

/** Watches the machine until `stop()`, which tells when it was not ours (ms since the epoch). */
export function watchMachine() {
  const workerData = {
    sleepMs: SLEEP_MS,
    standstillMs: STANDSTILL_MS,
    othersShareMax: OTHERS_SHARE_MAX,
  };
  const worker = new Worker(new URL("probe.mjs", import.meta.url), { workerData });
  const standstills = [];
  worker.on("message", (standstill) => standstills.push(standstill));
  return {
    stop: async () => {
      await new Promise((resolve) => setTimeout(resolve, 2 * SLEEP_MS)); // its last message
      await worker.terminate();
      return standstills;
    },
  };
}

/** Whether each stall ({from, to}) began in a standstill of the machine or soon after one. */
export const excused = (stalls, standstills) =>
  stalls.length > 0 &&
  stalls.every((stall) =>
    standstills.some(({ from, to }) => from <= stall.to && stall.from <= to + AFTERMATH_MS),
  );

/** The longest time in one piece that a thread which only sleeps did not get to run, ms. */
export const longest = (standstills) =>
  standstills.reduce((most, { late_ms = 0 }) => Math.max(most, late_ms), 0);
