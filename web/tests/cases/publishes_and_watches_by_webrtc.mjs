// Chromium publishes a canvas and a tone by WHIP; another page plays them by WHEP in
// <streamr-player latency="realtime">, and by low-latency HLS where that is refused.
//
// The canvas shows the publisher's clock in milliseconds as squares, a bit each: what the viewer
// sees of it tells how old a picture is. Both pages are of one machine and share its clock.
import { expect, quantile, until, withPage } from "../harness.mjs";
import { withServer } from "../server.mjs";

const SAMPLES = 60;

/** Runs in the publisher's page: draws, beeps, and publishes by WHIP. */
async function publish({ endpoint, key }) {
  const BITS = 32;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [640, 360];
  document.body.append(canvas);
  const pen = canvas.getContext("2d");
  const draw = () => {
    const now = Date.now();
    pen.fillStyle = "#207040";
    pen.fillRect(0, 0, 640, 360);
    for (let bit = 0; bit < BITS; bit += 1) {
      pen.fillStyle = Math.floor(now / 2 ** bit) % 2 ? "#fff" : "#000";
      pen.fillRect((bit % 16) * 40, Math.floor(bit / 16) * 40, 40, 40);
    }
  };
  draw();
  setInterval(draw, 33);
  const audio = new AudioContext();
  const tone = new OscillatorNode(audio, { frequency: 440 });
  const out = audio.createMediaStreamDestination();
  tone.connect(out);
  tone.start();
  const [video] = canvas.captureStream(30).getVideoTracks();
  const pc = (window.pc = new RTCPeerConnection());
  pc.addTransceiver(video, { direction: "sendonly" });
  pc.addTransceiver(out.stream.getAudioTracks()[0], { direction: "sendonly" });
  await pc.setLocalDescription(await pc.createOffer());
  const reply = await fetch(endpoint, {
    method: "POST",
    headers: { "content-type": "application/sdp", authorization: `Bearer ${key}` },
    body: pc.localDescription.sdp,
  });
  if (reply.status !== 201) throw new Error(`WHIP: ${reply.status} ${await reply.text()}`);
  window.session = new URL(reply.headers.get("location"), reply.url).href;
  await pc.setRemoteDescription({ type: "answer", sdp: await reply.text() });
  const end = Date.now() + 60_000;
  while (pc.connectionState !== "connected") {
    if (Date.now() > end) throw new Error(`WHIP: ${pc.connectionState}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Runs in the viewer's page: how old each picture is that appears, ms. */
async function ages(count) {
  const { video } = document.querySelector("streamr-player");
  const pen = new OffscreenCanvas(640, 80).getContext("2d", { willReadFrequently: true });
  const found = [];
  while (found.length < count) {
    await new Promise((resolve) => video.requestVideoFrameCallback(resolve));
    const now = Date.now();
    pen.drawImage(video, 0, 0, video.videoWidth, (video.videoHeight * 80) / 360, 0, 0, 640, 80);
    let low = 0;
    for (let bit = 0; bit < 16; bit += 1) {
      const [red] = pen.getImageData(bit * 40 + 20, 20, 1, 1).data;
      low += red > 128 ? 2 ** bit : 0;
    }
    found.push(((now % 65_536) - low + 65_536) % 65_536);
  }
  return found;
}

export default () =>
  withServer({ settings: { "webrtc.listen": "0.0.0.0:0" }, streams: ["cam"] }, (server) =>
    withPage(
      async (page) => {
        const { url, keys } = server;
        await page.goto(url);
        await page.evaluate(publish, { endpoint: `${url}/whip`, key: keys.cam });
        const viewer = await page.context().newPage();
        await viewer.goto(`${url}/watch/cam`);
        await until(viewer, "a picture by HLS", (m) => m.join_ms !== null);
        await viewer.evaluate(() => {
          document.querySelector("streamr-player").setAttribute("latency", "realtime");
        });
        const seen = await until(
          viewer,
          "a picture by WebRTC",
          (m) => m.engine === "WebRTC" && m.state === "playing" && m.frames_total > 30,
        );
        expect(seen.fallback === "", `it fell back: ${seen.fallback}`);
        const found = await viewer.evaluate(ages, SAMPLES);
        await viewer.evaluate(() => {
          document.querySelector("streamr-player").setAttribute("latency", "low");
        });
        await until(
          viewer,
          "HLS again",
          (m) => m.engine.startsWith("hls.js") && m.state === "playing",
        );
        await page.evaluate(() =>
          fetch(window.session, { method: "DELETE" }).then(() => window.pc.close()),
        );
        return {
          age_ms: { p50: quantile(found, 0.5), p95: quantile(found, 0.95) },
          codecs: seen.codecs,
          delay_s: seen.edge_latency_s,
        };
      },
      { sound: true, anyScript: true },
    ),
  );
