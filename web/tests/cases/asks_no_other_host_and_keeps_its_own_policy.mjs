import { expect, url, watch, withPage } from "../harness.mjs";

export default () =>
  withPage(async (page) => {
    const origin = new URL(url).origin;
    const foreign = new Set();
    const complaints = [];
    page.on("request", (request) => {
      const target = new URL(request.url());
      if (target.protocol.startsWith("http") && target.origin !== origin)
        foreign.add(target.origin);
    });
    page.on("console", (message) => {
      if (message.type() === "error") complaints.push(message.text());
    });
    page.on("pageerror", (error) => complaints.push(error.message));
    const reply = await page.goto(url);
    await page.locator("h1").waitFor();
    await watch(page);
    await page.waitForTimeout(2000);
    expect(foreign.size === 0, `asked ${[...foreign].join(", ")}`);
    expect(complaints.length === 0, `the console says: ${complaints.slice(0, 3).join(" | ")}`);
    const policy = reply.headers()["content-security-policy"] ?? "";
    expect(policy.includes("default-src"), "the server sends no content security policy");
    return { policy };
  });
