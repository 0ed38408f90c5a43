// The example chat (examples/js/chat) and the native program (CHAT) find each other over a hub, say
// lines and send files to each other: once the page calls, once the native side does.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { serve } from "../../../examples/js/chat/serve.mjs";
import { expect, withPage } from "../harness.mjs";

const PATIENCE_MS = 60_000;
/** Some pieces, and not whole ones. */
const FILE_BYTES = 1_000_003;

export default async () => {
  expect(process.env.CHAT, "set CHAT to the built program chat of the examples");
  const folder = await mkdtemp(join(tmpdir(), "psyne-chat-"));
  const pages = await serve();
  const host = new Chat(folder, ["host", "demo", "127.0.0.1:0"]);
  try {
    const said = await host.hears("waiting at ");
    const hub = said.split("?via=")[1];
    await writeFile(join(folder, "native.bin"), bytes(1));
    return await withPage(async (page) => {
      await page.goto(`http://127.0.0.1:${pages.address().port}/`);
      await page.fill("[name=url]", hub);
      await page.click("#join button");
      await logged(page, "joined as page");
      await page.click("#call button");
      const page_calls = await chat(page, host, folder);
      const caller = new Chat(folder, ["call", `webrtc://page@demo?via=${hub}`]);
      try {
        await caller.hears("connected");
        const native_calls = await chat(page, caller, folder);
        await caller.say("/quit");
        await logged(page, "closed: 1000");
        await host.say("/quit");
        await logged(page, "closed: 1000", 2);
        // The hub lived in it.
        await logged(page, "the hub is away");
        return { page_calls, native_calls };
      } finally {
        await caller.kill();
      }
    });
  } finally {
    await host.kill();
    pages.close();
    await rm(folder, { recursive: true, force: true });
  }
};

let round = 0;

/** Each says a line and sends a file. */
async function chat(page, native, folder) {
  round += 1;
  await logged(page, "connected to", round);
  await page.fill("[name=words]", `héllo from the page ${round}`);
  await page.click("#say button");
  await native.hears(`they say: héllo from the page ${round}`);
  await native.say(`hello from native ${round}`);
  await logged(page, `they say: hello from native ${round}`);
  const name = `page-${round}.bin`;
  const file = { name, mimeType: "application/octet-stream", buffer: bytes(2) };
  await page.setInputFiles("[name=file]", file);
  await page.click("#say button");
  await native.hears(`kept received-${name}`);
  const kept = await readFile(join(folder, `received-${name}`));
  expect(hash(kept) === hash(bytes(2)), `the page's file arrived changed, ${kept.length} bytes`);
  await native.say(`/send ${join(folder, "native.bin")}`);
  await logged(page, "got native.bin", round);
  const got = await page.evaluate(async () => {
    const links = [...document.querySelectorAll("#log a")];
    const blob = await (await fetch(links.at(-1).href)).arrayBuffer();
    return Array.from(new Uint8Array(await crypto.subtle.digest("SHA-256", blob)));
  });
  expect(Buffer.from(got).toString("hex") === hash(bytes(1)), "the native file arrived changed");
  return { bytes: FILE_BYTES * 2 };
}

/** Waits until the page's log has this, so many times. */
const logged = (page, text, times = 1) =>
  page
    .waitForFunction(
      ([text, times]) => document.querySelector("#log").textContent.split(text).length > times,
      [text, times],
      { timeout: PATIENCE_MS },
    )
    .catch(async () => {
      const log = await page.textContent("#log");
      throw new Error(`waited in vain until the page says "${text}"; it said:\n${log}`);
    });

const bytes = (seed) => Buffer.from(Uint8Array.from({ length: FILE_BYTES }, (_, n) => n * seed));
const hash = (data) => createHash("sha256").update(data).digest("hex");

/** The native program: its lines, each heard once. */
class Chat {
  #child;
  #heard = [];
  #woken = () => {};
  #over;

  constructor(folder, args) {
    const stdio = ["pipe", "pipe", "inherit"];
    this.#child = spawn(process.env.CHAT, args, { cwd: folder, stdio });
    this.#over = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.stdin.on("error", () => {});
    createInterface({ input: this.#child.stdout }).on("line", (line) => {
      this.#heard.push(line);
      this.#woken();
    });
  }

  async say(line) {
    this.#child.stdin.write(`${line}\n`);
  }

  /** Waits for a line that begins like this. */
  async hears(start) {
    const end = performance.now() + PATIENCE_MS;
    for (;;) {
      const at = this.#heard.findIndex((line) => line.startsWith(start));
      if (at >= 0) return this.#heard.splice(at, 1)[0];
      const left = end - performance.now();
      const heard = this.#heard.join("\n");
      expect(left > 0, `waited in vain until chat says "${start}"; it said:\n${heard}`);
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#woken = () => (clearTimeout(timer), resolve());
      });
    }
  }

  async kill() {
    this.#child.kill("SIGKILL");
    await this.#over;
  }
}
