// What every case needs: a fresh browser page at the server under test, and patience.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { spawn } from "node:child_process";
import { chromium } from "playwright-core";

export const url = (process.env.SERVER_URL ?? "http://127.0.0.1:8080").replace(/\/$/, "");
export const stream = process.env.STREAM ?? "demo";
/** How long the long cases watch, s. */
export const watchSeconds = Number(process.env.WATCH_SECONDS ?? 60);
/** How often the measuring cases repeat. */
export const rounds = Number(process.env.ROUNDS ?? 10);

const ARGS = [
  "--headless=new",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  // A page in the background of a busy test machine must not be throttled.
  "--disable-background-timer-throttling",
  "--disable-renderer-backgrounding",
  "--disable-backgrounding-occluded-windows",
];

/**
 * Runs `use(page)` in a browser of its own with an empty profile, and closes both.
 * `sound` lets pages play unmuted without a gesture; `phone` gives a touch screen 360 px wide;
 * `anyScript` lifts the content security policy for a probe of the test's own.
 */
export async function withPage(use, { sound = false, phone = false, anyScript = false } = {}) {
  const profile = await mkdtemp(join(tmpdir(), "streamr-browser-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: sound ? [...ARGS, "--autoplay-policy=no-user-gesture-required"] : ARGS,
    viewport: phone ? { width: 360, height: 740 } : { width: 1280, height: 800 },
    hasTouch: phone,
    bypassCSP: anyScript,
  });
  try {
    return await use(context.pages()[0] ?? (await context.newPage()));
  } finally {
    await context.close();
    await rm(profile, { recursive: true, force: true });
  }
}

/** The player's metrics, or null before it exists. */
export const metrics = (page) =>
  page.evaluate(() => document.querySelector("streamr-player")?.metrics ?? null);

/** Opens the watch page and waits for the first frame; the metrics as of then. */
export async function watch(page, name = stream, server = url) {
  await page.goto(`${server}/watch/${encodeURIComponent(name)}`);
  return until(page, "the first frame", (m) => m.join_ms !== null && m.state === "playing");
}

/** Waits until `holds(metrics)`, for a minute at most by default. */
export async function until(page, what, holds, timeoutSeconds = 60) {
  const end = Date.now() + timeoutSeconds * 1000;
  let last = null;
  while (Date.now() < end) {
    last = await metrics(page);
    if (last && holds(last)) return last;
    await page.waitForTimeout(100);
  }
  throw new Error(`waited in vain for ${what}; last seen: ${JSON.stringify(last)}`);
}

/** Fails the case with a sentence. */
export function expect(condition, otherwise) {
  if (!condition) throw new Error(otherwise);
}

/** The value below which `share` of the values lie (nearest rank). */
export function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
}

/**
 * Does something to the outside world by the shell command in an environment variable, such as
 * PUBLISHER_STOP. The command must return; what it starts lives on.
 */
export async function outside(variable) {
  const command = process.env[variable];
  expect(command, `set ${variable} to the shell command that does this`);
  const child = spawn("sh", ["-c", command], { stdio: "ignore" });
  const code = await new Promise((resolve) => child.once("exit", resolve));
  expect(code === 0, `${variable} exited ${code}: ${command}`);
}

/**
 * Brings the stream back if it is not on air, as after a case that failed half-way: each case must
 * stand by itself.
 */
export async function onAir() {
  const live = async () => {
    const reply = await fetch(`${url}/api/v1/streams/${encodeURIComponent(stream)}`).catch(
      () => null,
    );
    return reply?.ok && (await reply.json()).state === "live";
  };
  if ((await live()) || !process.env.PUBLISHER_START) return;
  await outside("PUBLISHER_STOP").catch(() => {}); // it has ended by itself
  await outside("PUBLISHER_START");
  for (let tries = 0; tries < 300 && !(await live()); tries += 1)
    await new Promise((resolve) => setTimeout(resolve, 200));
}
