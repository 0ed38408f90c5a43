/**
 * A head start: a page asks for the playlists and the media it will begin with before the player's
 * code has arrived. This module imports nothing, so that it can run first.
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
/** A group of pictures of 4 s in parts of 200 ms, its sound, and a playlist and a head of each. */
const ANSWERS_MAX = 44;

const early = new Map<string, Early>();

/** Starts loading what playback of `src` will begin with. */
export function prefetch(src: string): void {
  early.clear();
  setTimeout(() => early.clear(), FRESH_MS);
  follow(new URL(src, location.href).href).catch(() => {}); // The player asks again, and tells.
}

/** Hands over the early answer for `src`, once. */
export function take(src: string): Early | null {
  const url = new URL(src, location.href).href;
  const taken = early.get(url);
  early.delete(url);
  return taken && performance.now() - taken.start < FRESH_MS ? taken : null;
}

async function follow(src: string): Promise<void> {
  const playlists = playlistsOf(await text(src)).map((uri) => new URL(uri, src).href);
  await Promise.all(
    playlists.map(async (url) => {
      for (const uri of firstMedia(await text(url))) void ask(new URL(uri, url).href);
    }),
  );
}

const text = async (url: string) => new TextDecoder().decode(await ask(url));

function ask(url: string): Promise<ArrayBuffer> {
  const start = performance.now();
  const body = fetch(url).then(async (reply) => {
    answer.first = performance.now();
    if (!reply.ok) throw new Error(`${reply.status}`);
    const bytes = await reply.arrayBuffer();
    answer.end = performance.now();
    return bytes;
  });
  body.catch(() => {}); // as above
  const answer = { url, start, first: start, end: start, body };
  if (early.size < ANSWERS_MAX) early.set(url, answer);
  return body;
}

/**
 * The media playlists of a multivariant playlist with one quality; none if there are several, since
 * only the player knows which it will begin with.
 */
export function playlistsOf(multivariant: string): string[] {
  const lines = multivariant.split("\n").map((line) => line.trim());
  const variants = lines.filter((line) => line && !line.startsWith("#"));
  if (variants.length !== 1) return [];
  const sound = lines.find((line) => /^#EXT-X-MEDIA:.*TYPE=AUDIO.*DEFAULT=YES/.test(line));
  const uri = sound && /URI="([^"]+)"/.exec(sound)?.[1];
  return uri ? [...variants, uri] : variants;
}

/** What a player loads first of a live playlist: the head, and the parts from its hold-back on. */
export function firstMedia(playlist: string): string[] {
  const holdBack = Number(/PART-HOLD-BACK=([\d.]+)/.exec(playlist)?.[1] ?? 0);
  const head = [...playlist.matchAll(/#EXT-X-MAP:.*URI="([^"]+)"/g)].at(-1)?.[1];
  const parts = [...playlist.matchAll(/#EXT-X-PART:(.*)/g)].map(([, attributes = ""]) => ({
    seconds: Number(/DURATION=([\d.]+)/.exec(attributes)?.[1] ?? 0),
    uri: /URI="([^"]+)"/.exec(attributes)?.[1] ?? "",
    independent: attributes.includes("INDEPENDENT=YES"),
  }));
  let behind = 0;
  for (let first = parts.length - 1; head && first >= 0; first -= 1) {
    behind += parts[first]!.seconds;
    if (parts[first]!.independent && behind >= holdBack)
      return [head, ...parts.slice(first).map(({ uri }) => uri)];
  }
  return [];
}
