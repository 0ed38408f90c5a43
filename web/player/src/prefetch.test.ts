import { afterEach, expect, test, vi } from "vitest";
import { prefetch, take, type Early } from "./prefetch.ts";

const reply = (status: number) => vi.fn(async () => new Response("media", { status }));

const read = async (early: Early | null) => early && new TextDecoder().decode(await early.body);

/** A page as the server makes it. */
function page(texts: Record<string, string>, media: string[] = []): Document {
  vi.stubGlobal("location", { href: "http://host/watch/demo" });
  const links = media.map((path) => ({ href: `http://host${path}` }));
  const opening = Object.keys(texts).length ? { textContent: JSON.stringify(texts) } : null;
  return { getElementById: () => opening, querySelectorAll: () => links } as unknown as Document;
}

afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

test("what the page brought is handed over once, for a relative or absolute address", async () => {
  for (const asked of ["/hls/demo/index.m3u8", "http://host/hls/demo/index.m3u8"]) {
    prefetch(page({ "/hls/demo/index.m3u8": "#EXTM3U" }));
    expect(take("/hls/other/index.m3u8")).toBeNull();
    expect(await read(take(asked))).toBe("#EXTM3U");
    expect(take(asked)).toBeNull();
  }
});

test("media that the page links to is loaded at once", async () => {
  vi.stubGlobal("fetch", reply(200));
  prefetch(page({}, ["/hls/demo/source/video0/1-2.0.m4s"]));
  expect(fetch).toHaveBeenCalledExactlyOnceWith("http://host/hls/demo/source/video0/1-2.0.m4s");
  expect(await read(take("/hls/demo/source/video0/1-2.0.m4s"))).toBe("media");
});

test("a refusal is told, so that the player asks for itself", async () => {
  vi.stubGlobal("fetch", reply(404));
  prefetch(page({}, ["/gone.m4s"]));
  await expect(read(take("/gone.m4s"))).rejects.toThrow("404");
});

test("what is stale by the time that the player has come is left aside", () => {
  vi.useFakeTimers();
  prefetch(page({ "/a.m3u8": "#EXTM3U" }));
  vi.advanceTimersByTime(3000);
  expect(take("/a.m3u8")).toBeNull();
});
