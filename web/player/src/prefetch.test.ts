import { afterEach, expect, test, vi } from "vitest";
import { firstMedia, playlistsOf, prefetch, take, type Early } from "./prefetch.ts";

const page = "http://host/watch/demo";
const reply = (status: number) => vi.fn(async () => new Response("#EXTM3U", { status }));

const read = async (early: Early | null) => early && new TextDecoder().decode(await early.body);

afterEach(() => vi.unstubAllGlobals());

test("the early answer is handed over once, for a relative or an absolute address", async () => {
  vi.stubGlobal("location", { href: page });
  for (const asked of ["/hls/demo/index.m3u8", "http://host/hls/demo/index.m3u8"]) {
    vi.stubGlobal("fetch", reply(200));
    prefetch("/hls/demo/index.m3u8");
    expect(take("/hls/other/index.m3u8")).toBeNull();
    expect(await read(take(asked))).toBe("#EXTM3U");
    expect(take(asked)).toBeNull();
  }
});

test("a refusal is told, so that the player asks for itself", async () => {
  vi.stubGlobal("location", { href: page });
  vi.stubGlobal("fetch", reply(404));
  prefetch("/hls/demo/index.m3u8");
  await expect(read(take("/hls/demo/index.m3u8"))).rejects.toThrow("404");
});

test("only a stream of one quality is followed: the player chooses among several", () => {
  const sound = '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="s",NAME="a",DEFAULT=YES,URI="s/audio0.m3u8"';
  const quality = '#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO="s"';
  expect(playlistsOf(["#EXTM3U", sound, quality, "s/video0.m3u8", ""].join("\n"))).toEqual([
    "s/video0.m3u8",
    "s/audio0.m3u8",
  ]);
  expect(playlistsOf(["#EXTM3U", quality, "a.m3u8", quality, "b.m3u8"].join("\n"))).toEqual([]);
  expect(playlistsOf("")).toEqual([]);
});

test("the first media is what lies behind the hold-back, from where it can be decoded", () => {
  const part = (name: string, key = false) =>
    `#EXT-X-PART:DURATION=0.2,URI="${name}"${key ? ",INDEPENDENT=YES" : ""}`;
  const head = ["#EXT-X-SERVER-CONTROL:PART-HOLD-BACK=0.4", '#EXT-X-MAP:URI="i.mp4"'];
  const list = (...parts: string[]) => [...head, ...parts].join("\n");
  expect(firstMedia(list(part("a", true), part("b"), part("c", true), part("d")))).toEqual([
    "i.mp4",
    "c",
    "d",
  ]);
  expect(firstMedia(list(part("a", true), part("b"), part("c", true)))).toEqual([
    "i.mp4",
    "a",
    "b",
    "c",
  ]);
  expect(firstMedia(list(part("a", true)))).toEqual([]);
  expect(firstMedia("")).toEqual([]);
});
