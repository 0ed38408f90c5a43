/** What a look at a stream's playlists tells. */
export type Probe = "live" | "offline" | "unreachable";

/** The first media playlist that a multivariant playlist names; a media playlist names itself. */
export function firstMediaPlaylist(text: string, url: string): string {
  if (!text.includes("#EXT-X-STREAM-INF")) return url;
  const uri = text
    .split("\n")
    .map((line) => line.trim())
    .find((line) => line && !line.startsWith("#"));
  return uri ? new URL(uri, url).href : url;
}

/**
 * Whether a stream can be played now. A finished broadcast may still have its playlists, closed by
 * EXT-X-ENDLIST (RFC 8216 4.3.3.4); opening those would replay its last seconds.
 */
export async function probe(src: string, get: typeof fetch = fetch): Promise<Probe> {
  try {
    const url = new URL(src, globalThis.location?.href).href;
    const index = await get(url, { cache: "no-store" });
    if (!index.ok) return index.status >= 500 ? "unreachable" : "offline";
    const media = await get(firstMediaPlaylist(await index.text(), url), { cache: "no-store" });
    if (!media.ok) return media.status >= 500 ? "unreachable" : "offline";
    return (await media.text()).includes("#EXT-X-ENDLIST") ? "offline" : "live";
  } catch {
    return "unreachable";
  }
}
