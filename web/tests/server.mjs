// A server of a case's own, for what the one under test is not set up for, and clips to publish.
import { execFile, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect } from "./harness.mjs";

const binary = process.env.BINARY;
/** How long a debug build on a busy machine may take to come up, or to go live. */
const PATIENCE_MS = 60_000;
const run = promisify(execFile);

/**
 * Runs `use({ url, publish })` beside a server on an empty folder, and ends it. `settings` are
 * those of the configuration; `streams` can be published by `publish(name, file)`, which returns
 * when the stream can be played, with what ends it.
 */
export async function withServer({ settings = {}, streams }, use) {
  expect(binary, "set BINARY to the path of the streamr under test");
  const folder = await mkdtemp(join(tmpdir(), "streamr-case-"));
  const [http, rtmp] = await freePorts(2);
  const url = `http://127.0.0.1:${http}`;
  const all = {
    "data.dir": folder,
    "http.listen": `127.0.0.1:${http}`,
    "rtmp.listen": `127.0.0.1:${rtmp}`,
    "srt.listen": "",
    "webrtc.listen": "",
    "log.filter": "warn",
    ...settings,
  };
  const set = Object.entries(all).map(([key, value]) => `--set=${key}=${value}`);
  const children = [];
  const start = (args) => {
    const child = spawn(binary, args, { stdio: ["ignore", "ignore", "inherit"] });
    children.push(child);
    return () => end(child);
  };
  try {
    const keys = {};
    for (const name of streams) {
      const { stdout } = await run(binary, ["stream", ...set, "--json", "add", name]);
      keys[name] = JSON.parse(stdout).key;
    }
    start(["serve", ...set]);
    await answers(`${url}/readyz`);
    const publish = async (name, file) => {
      const to = `rtmp://127.0.0.1:${rtmp}/live/${keys[name]}`;
      const stop = start(["publish", file, to, "--loop", "--json"]);
      await answers(`${url}/hls/${name}/index.m3u8`);
      return stop;
    };
    return await use({ url, folder, publish, keys });
  } finally {
    await Promise.all(children.map(end));
    await rm(folder, { recursive: true, force: true });
  }
}

/** Makes an MP4 of ffmpeg's test picture and tone; `video` and `audio` are what encodes them. */
export async function clip(file, { seconds, soundSeconds = seconds, size, video, audio }) {
  const inputs = [
    ["-f", "lavfi", "-i", `testsrc2=s=${size}:r=30:d=${seconds}`],
    ["-f", "lavfi", "-i", `sine=f=440:r=48000:d=${soundSeconds}`],
  ];
  const coded = [`-pix_fmt yuv420p ${video}`, `-ac 2 ${audio}`].flatMap((all) => all.split(" "));
  await run("ffmpeg", ["-y", "-v", "error", ...inputs.flat(), ...coded, file]);
  return file;
}

async function end(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await gone;
}

async function answers(address) {
  for (const until = Date.now() + PATIENCE_MS; Date.now() < until;) {
    const reply = await fetch(address).catch(() => null);
    if (reply?.ok) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`${address} does not answer`);
}

async function freePorts(count) {
  const servers = Array.from({ length: count }, () => createServer());
  const listening = servers.map(
    (server) => new Promise((resolve) => server.listen(0, "127.0.0.1", resolve)),
  );
  await Promise.all(listening);
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
