import { Backoff } from "@psyne/sdk/backoff";
import { overtook, rate, shouldJump, stuck } from "./edge.ts";
import { HlsEngine, NativeEngine, type Engine, type Failure } from "./engine.ts";
import { StallMeter, type Metrics } from "./metrics.ts";
import { probe } from "./probe.ts";
import { WhepEngine } from "./whep.ts";

/** What a viewer sees of a session. */
export type State =
  "idle" | "loading" | "playing" | "paused" | "buffering" | "offline" | "reconnecting" | "error";

/**
 * How far behind live a viewer wants to be: `realtime` is WebRTC, well below a second, and goes
 * over to `low` by itself; `low` is low-latency HLS, `normal` ordinary HLS, which bears the worst
 * network.
 */
export type Latency = "realtime" | "low" | "normal";

/** Retries: half a second at first, never more than 4 s, since a viewer waits for a start. */
const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 4000;
/** Decoder failures of whole sessions, within a minute, before we stop and say so. */
const MEDIA_FAILURES_MAX = 3;
const MEDIA_FAILURES_WINDOW_MS = 60_000;
const WATCH_MS = 250;
/** Who has less than this in the buffer does not play faster, however far behind. */
const SPARE_S = 0.5;
/** A jump gets this long to load what it jumped to before the next. */
const JUMP_PAUSE_MS = 3000;

/** Keeps one stream playing in one video element: opens, watches, waits, reopens. */
export class Session {
  state: State = "idle";
  /** A sentence for the viewer in state `error`. */
  problem = "";
  /** The viewer wants to be at the live edge. */
  following = true;
  /** The viewer wants to see the stream; opening it anew goes on playing. */
  wantsPlay = true;
  latency: Latency = "low";
  /** Why the stream is not played by WebRTC, though the viewer wants that. */
  fallback = "";

  private engine: Engine | null = null;
  private src = "";
  /** What the viewer chose, by name: indices change when the stream is opened anew. */
  private chosen = "";
  private timer = 0;
  private readonly watch: number;
  private readonly backoff = new Backoff(RETRY_FIRST_MS, RETRY_MAX_MS);
  private readonly abort = new AbortController();
  private stalls = new StallMeter();
  private mediaFailures: number[] = [];
  private lastProgress = { time: 0, at: 0 };
  private openedAt = 0;
  private jumpedAt = 0;
  private startupMs: number | null = null;
  private joinMs: number | null = null;
  private discontinuities = 0;
  private reconnects = 0;

  /**
   * @param changed called whenever `state` or the quality choices may have changed
   * @param play called when a source was opened and `wantsPlay`: a new source leaves the element
   * paused
   */
  constructor(
    private readonly video: HTMLVideoElement,
    private readonly changed: () => void,
    private readonly play: () => void,
  ) {
    const on = (type: string, handle: () => void) =>
      video.addEventListener(type, handle, { signal: this.abort.signal });
    on("playing", () => this.progressed());
    on("waiting", () => this.waiting());
    on("pause", () => this.active && video.paused && !video.ended && this.become("paused"));
    on("ended", () => this.fail("offline", "the broadcast has ended"));
    this.watch = window.setInterval(() => this.tick(), WATCH_MS);
  }

  /** Plays `src` from its live edge. */
  open(src: string): void {
    if (src !== this.src) this.chosen = "";
    this.close();
    this.src = src;
    this.fallback = "";
    this.backoff.reset();
    this.mediaFailures = [];
    this.start();
  }

  /** Stops and forgets the source. */
  close(): void {
    this.stop();
    this.src = "";
    this.become("idle");
  }

  /** Closes for good. */
  destroy(): void {
    this.close();
    this.abort.abort();
    clearInterval(this.watch);
  }

  /** Tries now instead of at the next turn. */
  retry(): void {
    if (this.src) this.open(this.src);
  }

  get qualities() {
    return this.engine?.qualities ?? [];
  }

  get quality(): number {
    return this.engine?.quality ?? -1;
  }

  set quality(index: number) {
    this.chosen = this.qualities.find((quality) => quality.index === index)?.label ?? "";
    if (this.engine) this.engine.quality = index;
  }

  get edgeLatency(): number | null {
    return this.engine?.edgeLatency ?? null;
  }

  get targetLatency(): number | null {
    return this.engine?.targetLatency ?? null;
  }

  /** Moves playback to the live edge and keeps it there. */
  toEdge(): void {
    this.following = true;
    this.jumpedAt = performance.now();
    const position = this.engine?.livePosition ?? null;
    if (position !== null) this.video.currentTime = position;
  }

  metrics(): Metrics {
    const { video, engine } = this;
    const quality = video.getVideoPlaybackQuality();
    const programTime = engine?.programTime ?? null;
    return {
      state: this.state,
      current_time_s: video.currentTime,
      latency_s: programTime === null ? null : (Date.now() - programTime) / 1000,
      edge_latency_s: this.edgeLatency,
      target_latency_s: this.targetLatency,
      buffer_s: this.bufferAhead(),
      playback_rate: video.playbackRate,
      width: video.videoWidth,
      height: video.videoHeight,
      codecs: engine?.codecs ?? "",
      bitrate_bps: engine?.bitrate ?? null,
      bandwidth_bps: engine?.bandwidth ?? null,
      frames_total: quality.totalVideoFrames,
      frames_dropped: quality.droppedVideoFrames,
      stalls: this.stalls.count,
      stalled_ms: this.stalls.totalMs(performance.now()),
      startup_ms: this.startupMs,
      join_ms: this.joinMs,
      discontinuities: this.discontinuities,
      reconnects: this.reconnects,
      engine: engine?.name ?? "",
      fallback: this.fallback,
    };
  }

  /** Something is loaded or loading, so that pause, waiting and playing mean what they say. */
  private get active(): boolean {
    return this.engine !== null;
  }

  private start(): void {
    this.openedAt = performance.now();
    this.following = true;
    this.become("loading");
    const events = {
      ready: () => this.ready(),
      failed: (failure: Failure, detail: string) => this.fail(failure, detail),
      discontinuity: () => void (this.discontinuities += 1),
    };
    if (this.latency === "realtime" && !this.fallback && WhepEngine.supported(this.src))
      this.engine = new WhepEngine(this.src, this.video, events);
    else if (HlsEngine.supported())
      this.engine = new HlsEngine(this.src, this.video, events, this.latency !== "normal");
    else if (NativeEngine.supported(this.video))
      this.engine = new NativeEngine(this.src, this.video, events);
    else return this.refuse("This browser cannot play live video. Please try a current one.");
    this.awaitFirstFrame(this.engine);
    if (this.wantsPlay) this.play();
  }

  private ready(): void {
    const chosen = this.qualities.find(({ label }) => label === this.chosen);
    if (this.engine && chosen) this.engine.quality = chosen.index;
    this.changed();
  }

  private stop(): void {
    clearTimeout(this.timer);
    this.stalls.end(performance.now());
    const { engine } = this;
    this.engine = null;
    engine?.destroy();
  }

  private awaitFirstFrame(engine: Engine): void {
    this.video.requestVideoFrameCallback?.((now) => {
      if (this.engine !== engine) return;
      this.startupMs ??= Math.round(now);
      this.joinMs ??= Math.round(now - this.openedAt);
      this.backoff.reset();
      this.changed();
    });
  }

  private fail(failure: Failure, detail: string): void {
    if (!this.active) return;
    // An engine must not be destroyed from inside its own event.
    queueMicrotask(() => this.active && this.afterFailure(failure, detail));
  }

  private afterFailure(failure: Failure, detail: string): void {
    this.stop();
    if (failure === "realtime") {
      this.fallback = detail;
      return this.start();
    }
    if (failure === "codec")
      return this.refuse(
        `This browser cannot decode ${detail || "the stream"}. ` +
          "Another browser may; H.264 plays everywhere.",
      );
    if (failure === "media" && this.mediaFailedTooOften())
      return this.refuse(
        "The picture cannot be decoded here. Reload the page or try another browser.",
      );
    this.become(failure === "offline" ? "offline" : "reconnecting");
    this.schedule();
  }

  private mediaFailedTooOften(): boolean {
    const now = performance.now();
    const recent = this.mediaFailures.filter((at) => now - at < MEDIA_FAILURES_WINDOW_MS);
    this.mediaFailures = [...recent, now];
    return this.mediaFailures.length > MEDIA_FAILURES_MAX;
  }

  private refuse(problem: string): void {
    this.problem = problem;
    this.become("error");
  }

  private schedule(): void {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.look(), this.backoff.next());
  }

  /** Opens the stream if it is there, else comes back later. */
  private async look(): Promise<void> {
    const { src } = this;
    const found = await probe(src);
    if (this.src !== src || this.active) return;
    if (found === "live") {
      this.reconnects += 1;
      return this.start();
    }
    this.become(found === "offline" ? "offline" : "reconnecting");
    this.schedule();
  }

  private waiting(): void {
    if (!this.active || this.video.seeking || this.video.paused) return;
    if (this.joinMs !== null && this.state === "playing") this.stalls.begin(performance.now());
    if (this.state === "playing") this.become("buffering");
  }

  private progressed(): void {
    this.stalls.end(performance.now());
    if (this.active) this.become("playing");
  }

  private tick(): void {
    const { video } = this;
    const now = performance.now();
    if (!this.active || video.paused || video.currentTime !== this.lastProgress.time)
      this.lastProgress = { time: video.currentTime, at: now };
    const latency = this.edgeLatency;
    if (!this.active || latency === null || video.paused) return;
    const stall = { stalled: (now - this.lastProgress.at) / 1000, ahead: latency };
    if (stuck(stall)) {
      this.lastProgress.at = now;
      return this.fail("network", "playback is stuck");
    }
    if (this.following && overtook(stall)) return this.toEdge();
    const target = this.targetLatency ?? Infinity;
    const position = { latency, target, following: this.following };
    video.playbackRate = this.bufferAhead() < SPARE_S ? 1 : rate(position, video.playbackRate);
    const settled = video.readyState >= 3 && now - this.jumpedAt > JUMP_PAUSE_MS;
    if (settled && shouldJump(position)) this.toEdge();
  }

  private bufferAhead(): number {
    const { buffered, currentTime } = this.video;
    for (let i = 0; i < buffered.length; i += 1)
      if (buffered.start(i) <= currentTime + 0.1 && currentTime < buffered.end(i))
        return buffered.end(i) - currentTime;
    return 0;
  }

  private become(state: State): void {
    if (this.state === state) return;
    this.state = state;
    this.changed();
  }
}
