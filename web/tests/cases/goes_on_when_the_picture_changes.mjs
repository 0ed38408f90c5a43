// A publisher that comes back with another size and other sound: players go on, with a new picture.
import { join } from "node:path";
import { expect, until, watch, withPage } from "../harness.mjs";
import { clip, withServer } from "../server.mjs";

const SIZES = { before: "640x360", after: "320x180" };

export default () =>
  withServer({ streams: ["changes"] }, async ({ url, folder, publish }) => {
    const files = {};
    for (const [name, size] of Object.entries(SIZES))
      files[name] = await clip(join(folder, `${name}.mp4`), {
        seconds: 8,
        size,
        video: "-c:v libx264 -preset ultrafast -g 60",
        audio: name === "before" ? "-c:a aac" : "-c:a aac -ar 44100",
      });
    const stop = await publish("changes", files.before);
    return withPage(async (page) => {
      const first = await watch(page, "changes", url);
      expect(first.height === 360, `the first picture has ${first.height} lines`);
      await stop();
      await publish("changes", files.after);
      const changed = await until(page, "the new picture", (m) => m.height === 180);
      const m = await until(
        page,
        "playback of the new picture",
        (now) => now.state === "playing" && now.current_time_s > changed.current_time_s + 4,
      );
      expect(m.discontinuities >= 1, "the change is no discontinuity");
      expect(m.reconnects === 0, `it was opened anew, ${m.reconnects} times`);
      return { height: m.height, latency_s: m.latency_s, stalled_ms: m.stalled_ms };
    });
  });
