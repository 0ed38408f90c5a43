// A ladder of one rung, made by a real ffmpeg: choosing changes the picture, and playback goes on,
// also where the rung is late.
import { join } from "node:path";
import { expect, metrics, until, watch, withPage } from "../harness.mjs";
import { clip, withServer } from "../server.mjs";

/** Small enough that ffmpeg keeps up in what a browser without a graphics card leaves it. */
const LADDER = { "ladder.renditions": '["90p"]' };

/** A rung that ends is given up for the source, and begins anew: who wants it chooses again. */
const TRIES_MAX = 4;

/** Whether the picture comes to have so many lines. */
const shows = (page, height) =>
  until(page, `${height} lines`, (now) => now.height === height, 20).then(
    () => true,
    () => false,
  );

/** The buffer is loaded anew in the other quality: it may be seen, but not for a segment long. */
const WAIT_MS_MAX = 1000;

/** Waits until the rung is listed beside the source. */
async function ladder(url, name) {
  for (let tries = 0; tries < 300; tries += 1) {
    const playlist = await (await fetch(`${url}/hls/${name}/index.m3u8`)).text();
    if (playlist.split("#EXT-X-STREAM-INF").length > 2) return;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error("the rung did not come within a minute");
}

export default () =>
  withServer({ settings: LADDER, streams: ["steps"] }, async ({ url, folder, publish }) => {
    const file = await clip(join(folder, "steps.mp4"), {
      seconds: 8,
      size: "320x180",
      video: "-c:v libx264 -preset ultrafast -r 15 -g 30",
      audio: "-c:a aac",
    });
    await publish("steps", file);
    await ladder(url, "steps");
    return withPage(async (page) => {
      await watch(page, "steps", url);
      const choice = page.locator("streamr-player .quality");
      const choose = async (label, height, tries = TRIES_MAX) => {
        await page.mouse.move(300, 300 + tries); // shows the controls
        await choice.selectOption({ label });
        expect((await choice.inputValue()) !== "", `${label} cannot be chosen`);
        const seen = await shows(page, height);
        if (!seen && tries > 1) return choose(label, height, tries - 1);
        expect(seen, `${label} was chosen, and never seen`);
        const shown = await choice.evaluate((list) => list.selectedOptions[0]?.label);
        expect(shown === label, `${label} was chosen, ${shown} is shown`);
        return metrics(page);
      };
      await choose("90p", 90);
      const back = await choose("180p", 180);
      await page.mouse.move(310, 310);
      await choice.selectOption({ label: "Auto" });
      const m = await until(
        page,
        "playback in automatic quality",
        (now) => now.state === "playing" && now.current_time_s > back.current_time_s + 5,
      );
      expect((await choice.inputValue()) === "-1", "Auto was chosen and is not shown");
      expect(m.reconnects === 0, "playback did not go on by itself: the stream was opened anew");
      expect(m.stalled_ms < WAIT_MS_MAX, `changing stalled for ${m.stalled_ms} ms`);
      return { latency_s: m.latency_s, stalls: m.stalls, stalled_ms: m.stalled_ms };
    });
  });
