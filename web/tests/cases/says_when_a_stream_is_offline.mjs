import { expect, stream, until, url, watch, withPage } from "../harness.mjs";

export default () =>
  withPage(async (page) => {
    await page.goto(`${url}/watch/no-such-stream-here`);
    await page.getByText("There is nothing here").waitFor();

    // The same element, pointed at what is not on air and then at what is.
    await watch(page);
    const point = (src) =>
      page.evaluate((value) => (document.querySelector("streamr-player").src = value), src);
    await point("/hls/no-such-stream-here/index.m3u8");
    await until(page, "the offline state", (m) => m.state === "offline");
    const notice = await page.locator("streamr-player .notice").innerText();
    expect(/offline/i.test(notice), `the notice reads: ${notice}`);
    await point(`/hls/${encodeURIComponent(stream)}/index.m3u8`);
    await until(page, "playback", (m) => m.state === "playing" && m.current_time_s > 0);
    return {};
  });
