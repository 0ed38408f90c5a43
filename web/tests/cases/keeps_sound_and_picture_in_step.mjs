// The sample has a white flash (two frames) and a 1 kHz beep half-way through each second.
// How far apart do they leave the player?
//
// Picture. Every presented frame is drawn to a small canvas and its brightness taken. A frame's
// `mediaTime` is exact, but the moment of its presentation is rounded to the screen's refresh and
// jitters with the main thread. So a flash is put at its first frame's media time plus the median
// of
// `display time − media time` over the second around it: finer than a frame.
//
// Sound. The element is routed through an audio worklet, which finds each beep's first sample in
// the context's own sample count. That count becomes page time by a constant: worklet messages can
// only arrive late, so the lower edge (10th percentile) of `arrival − context time` is taken.
//
// Bias. The browser's way from element to worklet and to the screen has its own delays. They are
// measured by the same means on the sample file itself, played by a plain <video> in a page without
// a player, and subtracted: what remains is what ingest, packaging and player have done.
//
// Rounds. Where playback falls between two refreshes of the screen, and how the context's blocks
// fall between them, is settled anew each time that something starts to play: the same file read
// ± 17 ms from one start to the next, and a standstill of the machine moved it by a whole frame.
// So both are measured several times, each from a new start, and the medians compared.
//
// Skew is beep minus flash, paired by nearness; positive means that the sound is late.
import { readFile } from "node:fs/promises";
import { expect, quantile, until, url, watch, withPage } from "../harness.mjs";

const SAMPLE = process.env.SAMPLE ?? new URL("../../../assets/clapper.mp4", import.meta.url);
const SECONDS = Number(process.env.SKEW_SECONDS ?? 6);
const ROUNDS = 5;
const SKEW_MAX_MS = 40;

const WORKLET = `
registerProcessor("beeps", class extends AudioWorkletProcessor {
  constructor() { super(); this.quiet = 1; this.blocks = 0; }
  process([input]) {
    const samples = input[0];
    if (samples) {
      const first = samples.findIndex((sample) => Math.abs(sample) > 0.02);
      // A beep begins after a quarter of a second of silence; within one, a sine crosses zero.
      if (first >= 0 && this.quiet > 0.25 * sampleRate)
        this.port.postMessage({ beep: (currentFrame + first) / sampleRate });
      this.quiet = first >= 0 ? 0 : this.quiet + samples.length;
    }
    if (++this.blocks % 8 === 0) this.port.postMessage({ now: currentFrame / sampleRate });
    return true;
  }
});`;

/** Runs in the page: plays the sample, for its bias. */
async function addReference(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const video = document.createElement("video");
  video.id = "reference";
  video.loop = true;
  video.src = URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
  document.body.prepend(video);
  await video.play();
}

/** Runs in the page: collects frames, beeps and clock readings for `ms`. */
async function collect({ ms, worklet, reference }) {
  const video = reference
    ? document.getElementById("reference")
    : document.querySelector("streamr-player").video;
  video.muted = false;
  video.volume = 1;
  const audio = new AudioContext({ latencyHint: "interactive" });
  const script = new Blob([worklet], { type: "text/javascript" });
  await audio.audioWorklet.addModule(URL.createObjectURL(script));
  const node = new AudioWorkletNode(audio, "beeps");
  audio.createMediaElementSource(video).connect(node);
  node.connect(audio.destination);
  const found = { frames: [], beeps: [], clock: [] };
  node.port.onmessage = ({ data }) => {
    if (data.beep !== undefined) found.beeps.push(data.beep);
    else found.clock.push(performance.now() / 1000 - data.now);
  };
  const pen = new OffscreenCanvas(16, 9).getContext("2d", { willReadFrequently: true });
  const onFrame = (_now, { mediaTime, expectedDisplayTime }) => {
    pen.drawImage(video, 0, 0, 16, 9);
    const { data } = pen.getImageData(0, 0, 16, 9);
    const light = data.reduce((sum, value) => sum + value, 0) / data.length / 255;
    found.frames.push({ mediaTime, shown: expectedDisplayTime / 1000, light });
    video.requestVideoFrameCallback(onFrame);
  };
  video.requestVideoFrameCallback(onFrame);
  await new Promise((resolve) => setTimeout(resolve, ms));
  await audio.close();
  return found;
}

const WHITE = 0.9;
const AROUND_S = 0.5;

/** First frames of flashes, s of page time. */
function flashes(frames) {
  const starts = frames.filter(
    ({ light }, index) => index > 0 && light > WHITE && frames[index - 1].light < WHITE,
  );
  return starts.map((start) => {
    const near = frames.filter(({ shown }) => Math.abs(shown - start.shown) < AROUND_S);
    return (
      start.mediaTime +
      quantile(
        near.map(({ mediaTime, shown }) => shown - mediaTime),
        0.5,
      )
    );
  });
}

/** Beep minus flash for each flash that has a beep, ms. */
function skews({ frames, beeps, clock }) {
  const offset = quantile(clock, 0.1);
  const heard = beeps.map((time) => time + offset);
  const seen = flashes(frames);
  const nearest = (flash) =>
    heard
      .map((beep) => (beep - flash) * 1000)
      .reduce((best, skew) => (Math.abs(skew) < Math.abs(best) ? skew : best), Infinity);
  const found = seen.map(nearest).filter((skew) => Math.abs(skew) < 500);
  expect(found.length >= SECONDS / 3, `${seen.length} flashes and ${heard.length} beeps`);
  return found;
}

/** The median skew of each round that `collected` brings in, ms. */
async function rounds(collected) {
  const found = [];
  for (let round = 0; round < ROUNDS; round += 1) found.push(skews(await collected()));
  return found.map((round) => quantile(round, 0.5));
}

const rounded = (values) => values.map((value) => Math.round(value * 10) / 10);

export default () =>
  withPage(
    async (page) => {
      const ms = SECONDS * 1000;
      const played = await rounds(async () => {
        await watch(page);
        await until(page, "ordinary speed", (m) => m.playback_rate === 1);
        return page.evaluate(collect, { ms, worklet: WORKLET });
      });
      const sample = await readFile(SAMPLE, "base64");
      const bias = await rounds(async () => {
        await page.goto(url);
        await page.evaluate(addReference, sample);
        return page.evaluate(collect, { ms, worklet: WORKLET, reference: true });
      });
      const skew = quantile(played, 0.5) - quantile(bias, 0.5);
      const shown = { played_ms: rounded(played), bias_ms: rounded(bias) };
      expect(
        Math.abs(skew) <= SKEW_MAX_MS,
        `sound is ${skew.toFixed(1)} ms late: ${JSON.stringify(shown)}`,
      );
      return { skew_ms: rounded([skew])[0], ...shown };
    },
    { sound: true, anyScript: true },
  );
