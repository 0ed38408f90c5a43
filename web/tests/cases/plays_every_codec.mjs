// What ffmpeg's encoders make is published by `streamr publish` and played by Chromium and ffplay.
// A codec that this Chromium was built without must be refused in a sentence that names it.
import { spawn } from "node:child_process";
import { join } from "node:path";
import { expect, metrics, until, watch, withPage } from "../harness.mjs";
import { clip, withServer } from "../server.mjs";

const OPUS = "-c:a libopus -b:a 64k";
const CODECS = [
  { name: "h264", video: "-c:v libx264 -preset ultrafast -g 30", audio: OPUS, codec: "avc1" },
  {
    name: "hevc",
    video: "-c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=30 -tag:v hvc1",
    audio: "-c:a aac",
    codec: "hvc1",
  },
  {
    name: "av1",
    video: "-c:v libaom-av1 -cpu-used 8 -usage realtime -g 30",
    audio: OPUS,
    codec: "av01",
  },
  {
    name: "vp9",
    video: "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 30",
    audio: OPUS,
    codec: "vp09",
  },
];
const PLAY_S = 3;
const FFPLAY_PATIENCE_MS = 30_000;
const SEGMENT_PATIENCE_MS = 30_000;
/** ffplay's line of status, written over itself: the clock, the distance of the tracks, … */
const STATUS = /^ *(?:[\d.-]+|nan) +(?:A-V|M-V|M-A| +):.*?$/gm;
const CLOCK = /^ *([\d.]+) A-V:/gm;

/** ffplay, with picture and sound that go nowhere: its clock must run, and it may not complain. */
async function ffplay(address) {
  const sdl = { SDL_VIDEODRIVER: "dummy", SDL_AUDIODRIVER: "dummy", SDL_RENDER_DRIVER: "software" };
  const child = spawn("ffplay", ["-v", "error", "-stats", "-autoexit", address], {
    env: { ...process.env, ...sdl },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let printed = "";
  child.stderr.on("data", (text) => (printed += text));
  const clocks = () => [...printed.matchAll(CLOCK)].map(([, seconds]) => Number(seconds));
  const played = () => (clocks().at(-1) ?? 0) - (clocks()[0] ?? 0);
  const until = Date.now() + FFPLAY_PATIENCE_MS;
  while (played() < PLAY_S && Date.now() < until && child.exitCode === null)
    await new Promise((resolve) => setTimeout(resolve, 100));
  child.kill();
  const complaints = printed.replaceAll(STATUS, "").trim();
  expect(complaints === "", `ffplay says: ${complaints}`);
  expect(played() >= PLAY_S, `ffplay played ${played()} s of ${address}`);
}

/**
 * Players that know of no parts find an empty list until the first segment is whole, and ffplay
 * does not ask again.
 */
async function firstSegment(playlist) {
  const [media] = /^[^#\n].*$/m.exec(await (await fetch(playlist)).text());
  for (const until = Date.now() + SEGMENT_PATIENCE_MS; Date.now() < until;) {
    const listed = await (await fetch(new URL(media, playlist))).text();
    if (listed.includes("#EXTINF")) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`${playlist} lists no whole segment`);
}

const supported = (page, codec) =>
  page.evaluate((type) => MediaSource.isTypeSupported(type), `video/mp4; codecs="${codec}"`);

/** What the multivariant playlist says that the picture is. */
async function announced(url, name) {
  const playlist = await (await fetch(`${url}/hls/${name}/index.m3u8`)).text();
  return /CODECS="([^"]+)"/.exec(playlist)?.[1].split(",")[0] ?? "";
}

async function chromium(page, url, { name, codec }) {
  const picture = await announced(url, name);
  expect(picture.startsWith(codec), `${name} is announced as ${picture}`);
  await page.goto(url);
  if (!(await supported(page, picture))) {
    await page.goto(`${url}/watch/${name}`);
    await until(page, "a refusal", (m) => m.state === "error");
    const said = await page.locator("streamr-player .notice").innerText();
    expect(/cannot decode HEVC\./.test(said), `${name}: the notice reads ${said}`);
    return "refused in a sentence";
  }
  const { current_time_s: from } = await watch(page, name, url);
  await until(page, `${name} to go on`, (m) => m.current_time_s > from + PLAY_S);
  const m = await metrics(page);
  expect(m.frames_total > 0 && m.width === 320, `${name}: ${JSON.stringify(m)}`);
  expect(m.codecs.includes(codec), `${name} shows as ${m.codecs}`);
  return m.codecs;
}

export default () =>
  withServer({ streams: CODECS.map(({ name }) => name) }, async ({ url, folder, publish }) => {
    const result = {};
    for (const each of CODECS) {
      const file = join(folder, `${each.name}.mp4`);
      await clip(file, { ...each, seconds: 4, size: "320x180" });
      const stop = await publish(each.name, file);
      result[each.name] = await withPage((page) => chromium(page, url, each));
      const playlist = `${url}/hls/${each.name}/index.m3u8`;
      await firstSegment(playlist);
      await ffplay(playlist);
      await stop();
    }
    return result;
  });
