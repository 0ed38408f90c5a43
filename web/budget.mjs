// Fails the build when the pages outgrow what they may weigh, gzip. Raise a number only with a
// reason.
import { readdirSync, readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const dist = new URL("dist/", import.meta.url);
const budgets = [
  { what: "JavaScript of all pages", dir: "assets/", match: /\.js$/, kb: 165 },
  { what: "styles of all pages", dir: "assets/", match: /\.css$/, kb: 6 },
  { what: "the SDK", dir: "sdk/", match: /\.js$/, kb: 8 },
  { what: "the player for other pages", dir: "embed/", match: /\.js$/, kb: 145 },
];

let over = false;
for (const { what, dir, match, kb } of budgets) {
  const files = readdirSync(new URL(dir, dist)).filter((name) => match.test(name));
  const bytes = files.map(
    (name) => gzipSync(readFileSync(new URL(dir + name, dist)), { level: 9 }).length,
  );
  const total = bytes.reduce((sum, size) => sum + size, 0) / 1000;
  console.log(`${what}: ${total.toFixed(1)} kB of ${kb} kB`);
  over ||= total > kb || files.length === 0;
}
if (over) {
  console.error(
    "Over budget, or a part is missing: find what grew, or argue for more in budget.mjs.",
  );
  process.exit(1);
}
