import type { Engine, Events, Quality } from "./engine.ts";

/** Connecting takes a tenth of a second; who needs longer than this is behind a closed network. */
const CONNECT_TIMEOUT_MS = 6000;
/** A broken path comes back within this, or the next way of playing is tried. */
const DISCONNECT_TIMEOUT_MS = 4000;
/** No picture decoded for this long while connected: the path carries too little. */
const FROZEN_MS = 5000;
const STATS_EVERY_MS = 500;

/** The WHEP address of the stream whose playlist is at `src`; null if it is none of ours. */
export function whepAddress(src: string, base = globalThis.location?.href): string | null {
  const url = new URL(src, base);
  const name = /^(.*)\/hls\/([^/]+)\/[^/]+$/.exec(url.pathname);
  return name ? new URL(`${name[1]}/whep/${name[2]}`, url).href : null;
}

/** What is told apart of what a browser counts. */
export interface Sample {
  at_ms: number;
  frames: number;
  bytes: number;
  /** Seconds that frames have waited, and how many have. */
  waited_s: number;
  emitted: number;
  round_trip_s: number;
}

/** From two samples: bit/s, and seconds from the server's socket to the screen. */
export function between(before: Sample, now: Sample): { bps: number; delay_s: number } {
  const seconds = Math.max(0.001, (now.at_ms - before.at_ms) / 1000);
  const emitted = now.emitted - before.emitted;
  const waited = emitted > 0 ? (now.waited_s - before.waited_s) / emitted : 0;
  return {
    bps: Math.round(((now.bytes - before.bytes) * 8) / seconds),
    delay_s: waited + now.round_trip_s / 2,
  };
}

/** Sums what an `RTCStatsReport` says of pictures, and of all bytes. */
export function sample(report: Iterable<Record<string, unknown>>, at_ms: number): Sample {
  const found: Sample = {
    at_ms,
    frames: 0,
    bytes: 0,
    waited_s: 0,
    emitted: 0,
    round_trip_s: 0,
  };
  const number = (value: unknown) => (typeof value === "number" ? value : 0);
  for (const entry of report) {
    if (entry.type === "candidate-pair" && entry.nominated)
      found.round_trip_s = number(entry.currentRoundTripTime);
    if (entry.type !== "inbound-rtp") continue;
    found.bytes += number(entry.bytesReceived);
    if (entry.kind !== "video") continue;
    found.frames = number(entry.framesDecoded);
    found.waited_s = number(entry.jitterBufferDelay);
    found.emitted = number(entry.jitterBufferEmittedCount);
  }
  return found;
}

/** WebRTC by WHEP: well below a second behind, for as long as the network carries the stream. */
export class WhepEngine implements Engine {
  readonly name = "WebRTC";
  readonly qualities: Quality[] = [];
  quality = -1;
  readonly targetLatency = null;
  readonly livePosition = null;
  readonly programTime = null;
  readonly bandwidth = null;
  edgeLatency: number | null = null;
  codecs = "";
  bitrate: number | null = null;
  private readonly pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
  private readonly abort = new AbortController();
  private session: string | null = null;
  private timer = 0;
  private readonly poll: number;
  private last: Sample | null = null;
  private frozenSince = performance.now();

  static supported(src: string): boolean {
    return typeof RTCPeerConnection === "function" && whepAddress(src) !== null;
  }

  constructor(
    src: string,
    private readonly video: HTMLVideoElement,
    private readonly events: Events,
  ) {
    const { pc } = this;
    const stream = new MediaStream();
    pc.addTransceiver("video", { direction: "recvonly" });
    pc.addTransceiver("audio", { direction: "recvonly" });
    pc.ontrack = ({ track, receiver }) => {
      // As little as the network's own jitter asks for.
      if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
      stream.addTrack(track);
    };
    pc.onconnectionstatechange = () => this.changed();
    video.srcObject = stream;
    this.giveUpAfter(CONNECT_TIMEOUT_MS, "no connection");
    this.poll = window.setInterval(() => void this.count(), STATS_EVERY_MS);
    this.open(whepAddress(src)!).catch((error: Error) => this.fail(error.message));
  }

  destroy(): void {
    this.abort.abort();
    clearTimeout(this.timer);
    clearInterval(this.poll);
    this.pc.onconnectionstatechange = null;
    this.pc.close();
    this.video.srcObject = null;
    if (this.session)
      void fetch(this.session, { method: "DELETE", keepalive: true }).catch(() => {});
  }

  private async open(address: string): Promise<void> {
    const { pc } = this;
    await pc.setLocalDescription(await pc.createOffer());
    const reply = await fetch(address, {
      method: "POST",
      headers: { "content-type": "application/sdp" },
      body: pc.localDescription!.sdp,
      signal: this.abort.signal,
    });
    if (!reply.ok) {
      const said = (await reply.json().catch(() => null)) as {
        error?: { message?: string };
      } | null;
      return this.fail(said?.error?.message ?? `status ${reply.status}`);
    }
    this.session = new URL(reply.headers.get("location")!, reply.url).href;
    if (this.abort.signal.aborted) return this.destroy();
    await pc.setRemoteDescription({ type: "answer", sdp: await reply.text() });
  }

  private changed(): void {
    switch (this.pc.connectionState) {
      case "connected":
        clearTimeout(this.timer);
        this.frozenSince = performance.now();
        return this.events.ready();
      case "disconnected":
        return this.giveUpAfter(DISCONNECT_TIMEOUT_MS, "the connection is lost");
      case "failed":
      case "closed":
        return this.fail("the connection has ended");
    }
  }

  private giveUpAfter(ms: number, why: string): void {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.fail(why), ms);
  }

  /** Whatever it is, the session has another way to play. */
  private fail(why: string): void {
    if (!this.abort.signal.aborted) this.events.failed("realtime", why);
  }

  private async count(): Promise<void> {
    if (this.pc.connectionState !== "connected") return;
    const report = await this.pc.getStats();
    const entries = [...report.values()] as Record<string, unknown>[];
    const now = sample(entries, performance.now());
    const moved = !this.last || now.frames !== this.last.frames || this.video.paused;
    if (moved) this.frozenSince = performance.now();
    if (performance.now() - this.frozenSince > FROZEN_MS)
      return this.fail("the picture stands still");
    if (this.last) {
      const { bps, delay_s } = between(this.last, now);
      [this.bitrate, this.edgeLatency] = [bps, delay_s];
    }
    this.last = now;
    this.codecs = entries
      .filter((entry) => entry.type === "codec")
      .map((entry) => String(entry.mimeType).replace(/^.*\//, ""))
      .join();
  }
}
