// Serves the chat page and the SDK to this machine: node serve.mjs [port]
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { pathToFileURL } from "node:url";

const FILES = {
  "/": ["index.html", "text/html"],
  "/chat.js": ["chat.js", "text/javascript"],
  "/psyne.js": ["../../../web/dist/sdk/psyne.js", "text/javascript"],
};

/** A server at this port of 127.0.0.1, or at any that is free. */
export function serve(port = 0) {
  const server = createServer(async (request, response) => {
    const [file, type] = FILES[request.url] ?? [];
    if (!file) return response.writeHead(404).end();
    const body = await readFile(new URL(file, import.meta.url));
    response.writeHead(200, { "content-type": `${type}; charset=utf-8` }).end(body);
  });
  return new Promise((resolve) => server.listen(port, "127.0.0.1", () => resolve(server)));
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const server = await serve(Number(process.argv[2] ?? 8090));
  console.log(`open http://127.0.0.1:${server.address().port}/`);
}
