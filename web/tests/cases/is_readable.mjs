// Every text of both pages, in both colour schemes, at the width of a phone and of a desk: the
// contrast that WCAG 2.1 AA asks for (1.4.3), 4.5 to 1, and 3 to 1 for large text.
import { expect, stream, url, watch, withPage } from "../harness.mjs";

/** Texts below their contrast, measured in the page. */
function faint() {
  const channels = (color) => {
    const canvas = document.createElement("canvas");
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.fillStyle = color;
    context.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
    return { rgb: [r, g, b], alpha: a / 255 };
  };
  const over = (top, below) =>
    top.rgb.map((value, index) => value * top.alpha + below[index] * (1 - top.alpha));
  const luminance = (rgb) => {
    const [r, g, b] = rgb
      .map((value) => value / 255)
      .map((value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const parent = (element) => element.parentElement ?? element.getRootNode().host ?? null;
  const background = (element) => {
    if (!element) return channels("Canvas").rgb;
    const own = channels(getComputedStyle(element).backgroundColor);
    return own.alpha === 1 ? own.rgb : over(own, background(parent(element)));
  };
  const ratio = (a, b) => {
    const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x);
    return (light + 0.05) / (dark + 0.05);
  };
  const found = [];
  const look = (root) => {
    for (const element of root.querySelectorAll("*")) {
      if (element.shadowRoot) look(element.shadowRoot);
      const text = [...element.childNodes].filter(({ nodeType }) => nodeType === Node.TEXT_NODE);
      const words = text
        .map(({ data }) => data.trim())
        .join(" ")
        .trim();
      if (!words || !element.checkVisibility({ opacityProperty: true, visibilityProperty: true }))
        continue;
      if (element.closest("style, script, noscript, :disabled")) continue;
      const style = getComputedStyle(element);
      const behind = background(element);
      const seen = ratio(over(channels(style.color), behind), behind);
      const size = parseFloat(style.fontSize);
      const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
      found.push({ words: words.slice(0, 40), seen: Math.round(seen * 100) / 100, large });
    }
  };
  look(document);
  return found;
}

export default async function () {
  let [count, least] = [0, Infinity];
  for (const phone of [false, true])
    await withPage(
      async (page) => {
        const check = async (where) => {
          for (const colorScheme of ["light", "dark"]) {
            await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
            await page.waitForTimeout(300); // colours fade
            const texts = await page.evaluate(faint);
            const bad = texts.filter(({ seen, large }) => seen < (large ? 3 : 4.5));
            expect(
              bad.length === 0,
              `${where}, ${colorScheme}, ${phone ? "phone" : "desk"}: ${JSON.stringify(bad)}`,
            );
            count += texts.length;
            least = Math.min(least, ...texts.map(({ seen }) => seen));
          }
        };
        await page.goto(url);
        await page.locator(`a[href$="/watch/${stream}"]`).first().waitFor();
        await check("home");
        await watch(page);
        await page.locator("summary").click();
        await page.keyboard.press("s");
        await check("watch page with statistics");
        await page.keyboard.press("?");
        await check("watch page with help");
        await page.goto(`${url}/nothing/here`);
        await page.locator("h1").waitFor();
        await check("missing page");
      },
      { phone, anyScript: true },
    );
  expect(count > 50, `only ${count} texts were seen`);
  return { texts: count, least_contrast: least };
}
