// Runs the browser cases against a server that is up: node run.mjs [part of a case's name …]
// One JSON line a case, a closing count, exit code 1 if any failed. See ../README.md.
import { readdirSync } from "node:fs";

const wanted = process.argv.slice(2);
const cases = readdirSync(new URL("cases/", import.meta.url))
  .filter((file) => file.endsWith(".mjs"))
  .filter((file) => wanted.length === 0 || wanted.some((part) => file.includes(part)))
  .sort();

let failed = cases.length === 0 ? 1 : 0;
for (const file of cases) {
  const name = file.replace(/\.mjs$/, "").replaceAll("_", " ");
  const started = performance.now();
  let result;
  try {
    const { default: run } = await import(`./cases/${file}`);
    result = { ok: true, ...(await run()) };
  } catch (error) {
    failed += 1;
    result = { ok: false, error: error.message };
  }
  const took_s = Math.round((performance.now() - started) / 100) / 10;
  console.log(JSON.stringify({ test: name, ...result, took_s }));
}
if (cases.length === 0) console.log(`no case is named like ${wanted.join(", ")}`);
console.log(`${Math.max(0, cases.length - failed)} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
