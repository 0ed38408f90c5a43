import { expect, watch, withPage } from "../harness.mjs";

const ROWS = ["Latency", "Buffer", "Bitrate", "Picture", "Codecs", "Dropped frames", "Stalls"];

export default () =>
  withPage(async (page) => {
    await watch(page);
    await page.keyboard.press("s");
    await page.waitForTimeout(2500);
    const shown = await page.evaluate(() => {
      const list = document.querySelector("streamr-player").shadowRoot.querySelector(".stats dl");
      const names = [...list.querySelectorAll("dt")].map((cell) => cell.textContent);
      const values = [...list.querySelectorAll("dd")].map((cell) => cell.textContent);
      return Object.fromEntries(names.map((name, index) => [name, values[index]]));
    });
    for (const row of ROWS)
      expect(shown[row] && shown[row] !== "–", `${row} shows ${shown[row] ?? "nothing"}`);
    return { shown };
  });
