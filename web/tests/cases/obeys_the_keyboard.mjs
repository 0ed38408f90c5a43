import { expect, watch, withPage } from "../harness.mjs";

const look = (page) =>
  page.evaluate(() => {
    const player = document.querySelector("streamr-player");
    const hidden = (selector) => player.shadowRoot.querySelector(selector).hidden;
    return {
      paused: player.video.paused,
      muted: player.muted,
      volume: player.volume,
      help: !hidden(".help"),
      stats: !hidden(".stats"),
      full: document.fullscreenElement === player,
      live: player.shadowRoot.querySelector(".live").classList.contains("at-edge"),
    };
  });

export default () =>
  withPage(async (page) => {
    await watch(page);
    const press = async (key, what, holds) => {
      await page.keyboard.press(key);
      for (let tries = 0; tries < 50; tries += 1) {
        if (holds(await look(page))) return;
        await page.waitForTimeout(100);
      }
      throw new Error(`${key} did not ${what}: ${JSON.stringify(await look(page))}`);
    };
    // Browsers differ in whether a page may begin with sound.
    if (!(await look(page)).muted) await press("m", "mute at first", (now) => now.muted);
    await press("m", "unmute", (now) => !now.muted);
    await press("m", "mute", (now) => now.muted);
    await press("m", "unmute again", (now) => !now.muted);
    const { volume } = await look(page);
    await press("ArrowDown", "lower the volume", (now) => now.volume < volume);
    await press("ArrowUp", "raise the volume", (now) => now.volume > volume - 0.05);
    await press("k", "pause", (now) => now.paused);
    await page.waitForTimeout(3000);
    await press("Space", "play", (now) => !now.paused);
    await press("l", "go to the live edge", (now) => now.live);
    await press("?", "open the help", (now) => now.help);
    await press("s", "swap help for statistics", (now) => now.stats && !now.help);
    await press("Escape", "close the panel", (now) => !now.stats && !now.help);
    await press("f", "fill the screen", (now) => now.full);
    await press("f", "leave full screen", (now) => !now.full);
    expect(!(await look(page)).paused, "playback stopped on the way");
    return {};
  });
