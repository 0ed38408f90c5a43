// A ladder of one rung, made by a real ffmpeg: choosing changes the picture, and playback goes on.
import { join } from "node:path";
import { expect, until, watch, withPage } from "../harness.mjs";
import { clip, withServer } from "../server.mjs";

const LADDER = { "ladder.renditions": '["180p"]' };

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
      size: "640x360",
      video: "-c:v libx264 -preset ultrafast -g 60",
      audio: "-c:a aac",
    });
    await publish("steps", file);
    await ladder(url, "steps");
    return withPage(async (page) => {
      await watch(page, "steps", url);
      const choice = page.locator("streamr-player .quality");
      const choose = async (label, height) => {
        await page.mouse.move(300, 300); // shows the controls
        await choice.selectOption({ label });
        expect((await choice.inputValue()) !== "", `${label} cannot be chosen`);
        const m = await until(page, `${label} of ${height} lines`, (now) => now.height === height);
        const shown = await choice.evaluate((list) => list.selectedOptions[0]?.label);
        expect(shown === label, `${label} was chosen, ${shown} is shown`);
        return m;
      };
      await choose("180p", 180);
      const back = await choose("360p", 360);
      await page.mouse.move(310, 310);
      await choice.selectOption({ label: "Auto" });
      const m = await until(
        page,
        "playback in automatic quality",
        (now) => now.state === "playing" && now.current_time_s > back.current_time_s + 5,
      );
      expect((await choice.inputValue()) === "-1", "Auto was chosen and is not shown");
      expect(m.stalled_ms < WAIT_MS_MAX, `changing stalled for ${m.stalled_ms} ms`);
      return { height: m.height, latency_s: m.latency_s, stalled_ms: m.stalled_ms };
    });
  });
