import { expect, url, watch, withPage } from "../harness.mjs";

/** What sticks out to the right, and what a finger cannot hit. */
const survey = (page) =>
  page.evaluate(() => {
    const player = document.querySelector("streamr-player");
    const buttons = [...(player?.shadowRoot.querySelectorAll(".bar button, .pill") ?? [])];
    const small = buttons.filter((button) => {
      const { width, height } = button.getBoundingClientRect();
      return width > 0 && (width < 36 || height < 36);
    });
    const outside = buttons.filter(
      (button) => button.getBoundingClientRect().right > innerWidth + 1,
    );
    return {
      scrolls: document.documentElement.scrollWidth > innerWidth,
      small: small.map((button) => button.className),
      outside: outside.map((button) => button.className),
    };
  });

export default () =>
  withPage(
    async (page) => {
      await page.goto(url);
      await page.locator("h1").waitFor();
      expect(!(await survey(page)).scrolls, "the home page scrolls sideways at 360 px");
      await watch(page);
      const seen = await survey(page);
      expect(!seen.scrolls, "the watch page scrolls sideways at 360 px");
      expect(seen.outside.length === 0, `outside of the picture: ${seen.outside}`);
      expect(seen.small.length === 0, `too small for a finger: ${seen.small}`);
      await page.locator("streamr-player video").tap(); // shows the controls, does not pause
      const silent = await page.evaluate(() => document.querySelector("streamr-player").muted);
      if (silent) await page.locator("streamr-player .unmute").tap();
      const muted = await page.evaluate(() => document.querySelector("streamr-player").muted);
      expect(!muted, "a tap on unmute left the sound off");
      return {};
    },
    { phone: true },
  );
