// Runs the browser cases against a server that is up: node run.mjs [part of a case's name …]
// One JSON line a case, a closing count, exit code 1 if any failed. See ../README.md.
import { readdirSync } from "node:fs";
import { onAir } from "./harness.mjs";
import { longest, watchMachine } from "./machine.mjs";

/**
 * No case depends on a second or two, but all depend on connections, which end when one side has
 * been silent for some: after a case in which the machine stood still for this long, who failed
 * tries again.
 */
const LONG_STANDSTILL_MS = 5000;
const TRIES_MAX = 3;

/** Runs a case; again, and loudly, if it failed while the machine stood still. */
async function attempt(run, name) {
  for (let count = 1; ; count += 1) {
    const machine = watchMachine();
    try {
      await onAir();
      return { ok: true, ...(await run()) };
    } catch (error) {
      const standstill_ms = longest(await machine.stop());
      if (standstill_ms < LONG_STANDSTILL_MS || count === TRIES_MAX)
        return { ok: false, error: error.message };
      console.error(
        `THE MACHINE STOOD STILL for ${standstill_ms} ms in "${name}": ${error.message}`,
      );
    } finally {
      await machine.stop();
    }
  }
}

const wanted = process.argv.slice(2);
const cases = readdirSync(new URL("cases/", import.meta.url))
  .filter((file) => file.endsWith(".mjs"))
  .filter((file) => wanted.length === 0 || wanted.some((part) => file.includes(part)))
  .sort();

let failed = cases.length === 0 ? 1 : 0;
for (const file of cases) {
  const name = file.replace(/\.mjs$/, "").replaceAll("_", " ");
  const started = performance.now();
  const { default: run } = await import(`./cases/${file}`);
  const result = await attempt(run, name);
  failed += result.ok ? 0 : 1;
  const took_s = Math.round((performance.now() - started) / 100) / 10;
  console.log(JSON.stringify({ test: name, ...result, took_s }));
}
if (cases.length === 0) console.log(`no case is named like ${wanted.join(", ")}`);
console.log(`${Math.max(0, cases.length - failed)} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
