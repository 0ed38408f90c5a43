// Writes beside each text of the built pages what a browser may take instead: .br and .gz. The
// server sends those as they are, so that the best compression costs nothing a request.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { brotliCompressSync, gzipSync } from "node:zlib";

const dist = new URL("dist/", import.meta.url);
const text = /\.(html|js|css|svg)$/;

for (const name of readdirSync(dist, { recursive: true })) {
  if (!text.test(name)) continue;
  const file = new URL(name, dist);
  const bytes = readFileSync(file);
  writeFileSync(new URL(`${name}.br`, dist), brotliCompressSync(bytes));
  writeFileSync(new URL(`${name}.gz`, dist), gzipSync(bytes, { level: 9 }));
}
