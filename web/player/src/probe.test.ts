import { expect, test } from "vitest";
import { firstMediaPlaylist, probe } from "./probe.ts";

const INDEX =
  '#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,URI="source/audio0.m3u8"\n' +
  "#EXT-X-STREAM-INF:BANDWIDTH=1\nsource/video0.m3u8\n";
const at = "http://host/hls/demo/index.m3u8";

/** A server of texts and statuses; a missing path refuses the connection. */
const server = (files: Record<string, string | number>) =>
  (async (url: string) => {
    const file = files[new URL(url).pathname];
    if (file === undefined) throw new TypeError("refused");
    return typeof file === "number" ? new Response("", { status: file }) : new Response(file);
  }) as typeof fetch;

test.each([
  ["live", { "/hls/demo/index.m3u8": INDEX, "/hls/demo/source/video0.m3u8": "#EXTM3U\n" }],
  ["offline", { "/hls/demo/index.m3u8": INDEX, "/hls/demo/source/video0.m3u8": "#EXT-X-ENDLIST" }],
  ["offline", { "/hls/demo/index.m3u8": 404 }],
  ["offline", { "/hls/demo/index.m3u8": INDEX, "/hls/demo/source/video0.m3u8": 404 }],
  ["unreachable", { "/hls/demo/index.m3u8": 503 }],
  ["unreachable", {}],
])("%s", async (found, files) => {
  expect(await probe(at, server(files as Record<string, string | number>))).toBe(found);
});

test("a media playlist names itself", () => {
  expect(firstMediaPlaylist("#EXTM3U\n#EXTINF:2,\na.m4s", at)).toBe(at);
  expect(firstMediaPlaylist(INDEX, at)).toBe("http://host/hls/demo/source/video0.m3u8");
});
