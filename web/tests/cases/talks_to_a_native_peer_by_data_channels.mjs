// Chromium and psyne-rtc open data channels to each other: each offers once, each opens channels,
// each restarts ICE, Chromium closes. The native side is crates/psyne-rtc/examples/peer.rs (PEER).
import { spawn } from "node:child_process";
import { networkInterfaces } from "node:os";
import { createInterface } from "node:readline";
import { expect, withPage } from "../harness.mjs";

const PATIENCE_MS = 60_000;

export default async () => {
  expect(process.env.PEER, "set PEER to the built example peer of psyne-rtc");
  return { native_offers: await talk("offer"), chromium_offers: await talk("answer") };
};

/** One session in a browser of its own. `role` is the native side's. */
const talk = (role) =>
  withPage(async (page) => {
    const peer = new Peer(role);
    try {
      await page.exposeFunction("signal", (message) => peer.say(message));
      await page.evaluate(prepare);
      const took_ms = await connect(page, peer, role);
      await peer.hears("echoed", "the page sends back what the native side sent");
      const echoed = await page.evaluate(() => window.echoed());
      for (const native of [true, false]) {
        await restart(page, peer, native);
        await page.evaluate(() => window.ping());
      }
      await page.evaluate(() => window.channels[1].close());
      await peer.hears("closed", "the page closes a channel");
      await page.evaluate(() => window.pc.close());
      const { over } = await peer.hears("over", "the page closes the session");
      expect(over === "Remote", `the session ended by ${over}`);
      return { open_ms: Math.round(took_ms), echoed };
    } finally {
      peer.kill();
    }
  });

/** Signals until the page's channels are open; from the answer until then, ms. */
async function connect(page, peer, role) {
  if (role === "offer") {
    const offer = await peer.hears("sdp", "the native side offers");
    const answer = await page.evaluate((offer) => window.answer(offer), offer);
    peer.say(answer);
  } else {
    peer.say(await page.evaluate(() => window.offer()));
    const answer = await peer.hears("sdp", "the native side answers");
    await page.evaluate((answer) => window.pc.setRemoteDescription(answer), answer);
  }
  const answered = performance.now();
  await page.evaluate(() => window.opened());
  return performance.now() - answered;
}

/** Restarts ICE from one side, until a new path is found. */
async function restart(page, peer, native) {
  peer.forget("path");
  if (native) {
    peer.say({ type: "restart" });
    const offer = await peer.hears("sdp", "the native side offers again");
    peer.say(await page.evaluate((offer) => window.answer(offer), offer));
  } else {
    peer.say(await page.evaluate(() => (window.pc.restartIce(), window.offer())));
    const answer = await peer.hears("sdp", "the native side answers again");
    await page.evaluate((answer) => window.pc.setRemoteDescription(answer), answer);
  }
  await peer.hears("path", "a path is found after a restart");
}

/** What the page does; runs in it. */
function prepare() {
  const pc = (window.pc = new RTCPeerConnection());
  pc.onicecandidate = ({ candidate }) =>
    candidate && window.signal({ candidate: candidate.candidate });
  pc.ondatachannel = ({ channel }) => {
    channel.binaryType = "arraybuffer";
    channel.onmessage = ({ data }) => channel.send(data);
  };
  const about = [{}, { ordered: false, maxRetransmits: 3 }, { maxPacketLifeTime: 5000 }];
  window.channels = about.map((options, n) => pc.createDataChannel(`page ${n}`, options));
  for (const channel of window.channels) channel.binaryType = "arraybuffer";
  const describe = async (description) => {
    await pc.setLocalDescription(description);
    return { type: pc.localDescription.type, sdp: pc.localDescription.sdp };
  };
  window.offer = async () => describe(await pc.createOffer());
  window.answer = async (offer) => {
    await pc.setRemoteDescription(offer);
    return describe(await pc.createAnswer());
  };
  const open = (channel) =>
    channel.readyState === "open" || new Promise((resolve) => (channel.onopen = resolve));
  window.opened = async () => (await Promise.all(window.channels.map(open)), true);
  /** Sends and waits for what comes back. */
  const echo = (channel, data) =>
    new Promise((resolve, reject) => {
      channel.onmessage = ({ data: back }) => {
        const size = (value) => (typeof value === "string" ? value.length : value.byteLength);
        if (typeof back === typeof data && size(back) === size(data)) resolve(size(data));
        else reject(new Error(`sent ${size(data)}, got ${size(back)} ${typeof back}`));
      };
      channel.send(data);
    });
  window.echoed = async () => {
    const sent = ["", "héllo", new ArrayBuffer(0), new ArrayBuffer(1), new ArrayBuffer(200_000)];
    const sizes = [];
    for (const channel of window.channels)
      for (const data of sent) sizes.push(await echo(channel, data));
    return sizes.reduce((sum, size) => sum + size, 0);
  };
  window.ping = () => echo(window.channels[0], "after a restart");
}

/** The native side: its lines, each heard once. */
class Peer {
  #child;
  #heard = [];
  #woken = () => {};
  #ended = null;

  constructor(role) {
    this.#child = spawn(process.env.PEER, [address(), role], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#child.once("exit", (code) => {
      this.#ended = code;
      this.#woken();
    });
    this.#child.stdin.on("error", () => {});
    createInterface({ input: this.#child.stdout }).on("line", (line) => {
      this.#heard.push(JSON.parse(line));
      this.#woken();
    });
  }

  say(message) {
    this.#child.stdin.write(`${JSON.stringify(message)}\n`);
  }

  forget(key) {
    this.#heard = this.#heard.filter((line) => !(key in line));
  }

  /** Waits for a line with this key. */
  async hears(key, what) {
    const end = performance.now() + PATIENCE_MS;
    for (;;) {
      const at = this.#heard.findIndex((line) => key in line);
      if (at >= 0) return this.#heard.splice(at, 1)[0];
      const left = end - performance.now();
      expect(left > 0, `waited in vain until ${what}; heard ${JSON.stringify(this.#heard)}`);
      expect(this.#ended === null, `the native side exited ${this.#ended} before ${what}`);
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, Math.min(left, 1000));
        this.#woken = () => (clearTimeout(timer), resolve());
      });
    }
  }

  kill() {
    this.#child.kill("SIGKILL");
  }
}

/** An address of this machine that Chromium gathers: it leaves loopback out. */
function address() {
  const all = Object.values(networkInterfaces()).flat();
  const found = all.find((one) => one.family === "IPv4" && !one.internal);
  expect(found, "this machine has no IPv4 address but loopback, and Chromium uses none such");
  return found.address;
}
