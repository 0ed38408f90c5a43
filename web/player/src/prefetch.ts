/**
 * A head start: a page may ask for the playlist before the player's code has arrived. This module
 * imports nothing, so that it can run first.
 */
export interface Early {
  url: string;
  at: number;
  text: Promise<string>;
}

/** An answer older than this is stale: a live playlist has moved on. */
const FRESH_MS = 3000;

let early: Early | null = null;

/** Starts loading the playlist at `src`. */
export function prefetch(src: string): void {
  const url = new URL(src, location.href).href;
  const text = fetch(url).then((reply) => {
    if (!reply.ok) throw new Error(`${reply.status}`);
    return reply.text();
  });
  text.catch(() => {}); // The player asks again and tells the viewer.
  early = { url, at: performance.now(), text };
}

/** Hands over the early answer for `src`, once. */
export function take(src: string): Early | null {
  const url = new URL(src, location.href).href;
  const taken = early?.url === url && performance.now() - early.at < FRESH_MS ? early : null;
  if (taken) early = null;
  return taken;
}
