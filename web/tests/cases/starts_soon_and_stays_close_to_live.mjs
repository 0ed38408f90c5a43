// Measures; does not judge: goals in wall time belong to the bench, which reads these numbers.
import { expect, metrics, quantile, rounds, watch, withPage } from "../harness.mjs";

const SETTLE_MS = 3000;

export default async function () {
  const startups = [];
  const latencies = [];
  for (let round = 0; round < rounds; round += 1)
    await withPage(async (page) => {
      await watch(page);
      await page.waitForTimeout(SETTLE_MS);
      const m = await metrics(page);
      expect(m.latency_s !== null, "the playlist carries no program date-time");
      expect(m.latency_s > 0, `a picture from the future: latency ${m.latency_s} s`);
      startups.push(m.startup_ms);
      latencies.push(m.latency_s);
    });
  return {
    rounds,
    startup_p50_ms: quantile(startups, 0.5),
    startup_p95_ms: quantile(startups, 0.95),
    latency_p50_s: quantile(latencies, 0.5),
    latency_p95_s: quantile(latencies, 0.95),
  };
}
