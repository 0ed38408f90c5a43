// Measures; does not judge: goals in wall time belong to the bench, which reads these numbers.
//
// The floor of a start is the same browser's with a page that is nothing but a <video> and a file
// in it, visited in turn with ours.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { expect, metrics, quantile, rounds, watch, withPage } from "../harness.mjs";

const SAMPLE = process.env.SAMPLE ?? new URL("../../../assets/clapper.mp4", import.meta.url);
/** Pages are opened in browsers that run; one that starts is busy with itself for so long. */
const BROWSER_STARTS_MS = 2500;
const SETTLE_MS = 3000;

const BARE = `<!doctype html><title>floor</title><video muted autoplay src="/sample.mp4"></video>
<script>document.querySelector("video").requestVideoFrameCallback((now) => (window.first = now))
</script>`;

/** Serves the bare page and its file. */
async function bare() {
  const sample = await readFile(SAMPLE);
  const server = createServer(({ url }, reply) => {
    const [type, body] = url === "/sample.mp4" ? ["video/mp4", sample] : ["text/html", BARE];
    reply.writeHead(200, { "content-type": type, "content-length": body.length }).end(body);
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  return server;
}

async function floor(server) {
  return withPage(async (page) => {
    await page.waitForTimeout(BROWSER_STARTS_MS);
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    await page.waitForFunction(() => window.first !== undefined, null, { timeout: 60_000 });
    return page.evaluate(() => window.first);
  });
}

async function visit() {
  return withPage(async (page) => {
    await page.waitForTimeout(BROWSER_STARTS_MS);
    await watch(page);
    await page.waitForTimeout(SETTLE_MS);
    const m = await metrics(page);
    expect(m.latency_s !== null, "the playlist carries no program date-time");
    expect(m.latency_s > 0, `a picture from the future: latency ${m.latency_s} s`);
    return m;
  });
}

export default async function () {
  const [floors, seen] = [[], []];
  const server = await bare();
  try {
    for (let round = 0; round < rounds; round += 1) {
      floors.push(await floor(server));
      seen.push(await visit());
    }
  } finally {
    server.close();
  }
  const startups = seen.map((m) => m.startup_ms);
  const latencies = seen.map((m) => m.latency_s);
  return {
    rounds,
    floor_p50_ms: Math.round(quantile(floors, 0.5)),
    startup_p50_ms: quantile(startups, 0.5),
    startup_p95_ms: quantile(startups, 0.95),
    latency_p50_s: quantile(latencies, 0.5),
    latency_p95_s: quantile(latencies, 0.95),
  };
}
