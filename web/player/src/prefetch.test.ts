import { afterEach, expect, test, vi } from "vitest";
import { prefetch, take } from "./prefetch.ts";

const page = "http://host/watch/demo";
const reply = (status: number) => vi.fn(async () => new Response("#EXTM3U", { status }));

afterEach(() => vi.unstubAllGlobals());

test("the early answer is handed over once, for a relative or an absolute address", async () => {
  vi.stubGlobal("location", { href: page });
  for (const asked of ["/hls/demo/index.m3u8", "http://host/hls/demo/index.m3u8"]) {
    vi.stubGlobal("fetch", reply(200));
    prefetch("/hls/demo/index.m3u8");
    expect(take("/hls/other/index.m3u8")).toBeNull();
    expect(await take(asked)?.text).toBe("#EXTM3U");
    expect(take(asked)).toBeNull();
  }
});

test("a refusal is told, so that the player asks for itself", async () => {
  vi.stubGlobal("location", { href: page });
  vi.stubGlobal("fetch", reply(404));
  prefetch("/hls/demo/index.m3u8");
  await expect(take("/hls/demo/index.m3u8")?.text).rejects.toThrow("404");
});
