import { expect, stream, url, withPage } from "../harness.mjs";

export default () =>
  withPage(async (page) => {
    await page.goto(url);
    const card = page.locator(`a[href="/watch/${encodeURIComponent(stream)}"]`).first();
    await card.waitFor();
    expect((await card.innerText()).includes("LIVE"), "the stream's card does not say LIVE");
    await card.click();
    await page.waitForURL(`**/watch/${encodeURIComponent(stream)}`);
    await page.locator("streamr-player").waitFor();
    return {};
  });
