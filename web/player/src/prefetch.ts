/**
 * A head start: the server writes into a watch page what playback will begin with, playlists as
 * text and media as links that the browser follows while the player's code is on its way. This
 * module imports nothing, so that it can run first.
 */
export interface Early {
  url: string;
  /** When it was asked for, when it began to arrive, and when all of it had, ms of page time. */
  start: number;
  first: number;
  end: number;
  body: Promise<ArrayBuffer>;
}

/** An answer older than this is stale: a live playlist has moved on. */
const FRESH_MS = 3000;

const early = new Map<string, Early>();

/** Takes up what the page brought along. */
export function prefetch(page: Document): void {
  early.clear();
  setTimeout(() => early.clear(), FRESH_MS);
  const texts = page.getElementById("opening")?.textContent ?? "{}";
  for (const [path, text] of Object.entries(JSON.parse(texts) as Record<string, string>))
    keep(path, Promise.resolve(new TextEncoder().encode(text).buffer));
  for (const { href } of page.querySelectorAll<HTMLLinkElement>("link[rel=preload][as=fetch]"))
    keep(href, ask(href));
}

/** Hands over the early answer for `src`, once. */
export function take(src: string): Early | null {
  const url = absolute(src);
  const taken = early.get(url);
  early.delete(url);
  return taken && performance.now() - taken.start < FRESH_MS ? taken : null;
}

const absolute = (path: string) => new URL(path, location.href).href;

function keep(path: string, body: Promise<ArrayBuffer>): void {
  const now = performance.now();
  const answer = { url: absolute(path), start: now, first: now, end: now, body };
  body.then(
    () => (answer.end = performance.now()),
    () => {}, // The player asks again, and tells.
  );
  early.set(answer.url, answer);
}

async function ask(url: string): Promise<ArrayBuffer> {
  const reply = await fetch(url);
  if (!reply.ok) throw new Error(`${reply.status}`);
  return reply.arrayBuffer();
}
