import Hls from "hls.js";
import type { ErrorData, HlsConfig } from "hls.js";
import { undecodable } from "./codec.ts";
import { EarlyLoader } from "./loader.ts";
import { BitrateMeter } from "./metrics.ts";
import { AudioParts, VideoParts } from "./parts.ts";

/** One choice of quality; `index` −1 is automatic. */
export interface Quality {
  index: number;
  label: string;
}

/** Why an engine stopped. */
export type Failure = "offline" | "network" | "media" | "codec" | "realtime";

/** What an engine tells its session. */
export interface Events {
  /** Playlists are read: quality choices are known. */
  ready(): void;
  /** It cannot go on; the session decides what next. */
  failed(failure: Failure, detail: string): void;
  discontinuity(): void;
}

/** Plays one source into one video element until destroyed. */
export interface Engine {
  readonly name: string;
  readonly qualities: Quality[];
  /** The chosen quality's index, −1 for automatic. */
  quality: number;
  /** Distance from the newest media, s. */
  readonly edgeLatency: number | null;
  readonly targetLatency: number | null;
  /** Where a jump to live lands, s on the element's timeline. */
  readonly livePosition: number | null;
  /** Capture time of what is on screen, ms since the Unix epoch, by EXT-X-PROGRAM-DATE-TIME. */
  readonly programTime: number | null;
  readonly codecs: string;
  readonly bitrate: number | null;
  readonly bandwidth: number | null;
  destroy(): void;
}

/**
 * A stall is answered by this much more distance from the edge, s; it adds up to a segment at most.
 */
const STALL_BACKOFF_S = 0.2;
/** Media before the start that may be missing, and media after it that must be there: a part. */
const BEGIN_SLACK_S = 0.2;
/** Decoder errors that are recovered in place before the stream is opened anew. */
const MEDIA_RECOVERIES_MAX = 2;

const CONFIG: Partial<HlsConfig> = {
  lowLatencyMode: true, // the distance from the edge is then PART-HOLD-BACK
  maxLiveSyncPlaybackRate: 1, // the session catches up, with fewer changes of speed
  liveSyncOnStallIncrease: STALL_BACKOFF_S,
  backBufferLength: 30, // what ← can go back without loading; bounds memory
  maxBufferLength: 10,
  maxMaxBufferLength: 30,
  startFragPrefetch: true, // load the first part while the media source opens
  testBandwidth: false, // no throw-away first part in the lowest quality
  abrEwmaDefaultEstimate: 5_000_000,
  capLevelToPlayerSize: true,
  enableWorker: false, // fMP4 passes through; a worker would only add its start-up
  enableEmsgMetadataCues: false,
  enableID3MetadataCues: false,
  enableDateRangeMetadataCues: false,
  audioStreamController: AudioParts,
  streamController: VideoParts,
  loader: EarlyLoader as unknown as HlsConfig["loader"],
};

/** hls.js over Media Source Extensions. */
export class HlsEngine implements Engine {
  readonly name = `hls.js ${Hls.version}`;
  private readonly hls: Hls;
  private readonly rates = { main: new BitrateMeter(), audio: new BitrateMeter() };
  private mediaRecoveries = 0;
  private lastCc: number | null = null;
  private everLive = false;
  private begun = false;
  /** Codecs of all qualities as the playlist has them; hls.js forgets those it cannot play. */
  private announced = "";
  /**
   * Codecs of video and audio as the initialization segments say, should the playlist be silent.
   */
  private parsed: (string | undefined)[] = [];

  static supported(): boolean {
    return Hls.isSupported();
  }

  constructor(
    src: string,
    private readonly video: HTMLVideoElement,
    private readonly events: Events,
    lowLatencyMode: boolean,
  ) {
    this.hls = new Hls({ ...CONFIG, lowLatencyMode });
    const { hls } = this;
    hls.on(Hls.Events.ERROR, (_, data) => this.error(data));
    hls.on(Hls.Events.MANIFEST_LOADED, (_, { levels }) => {
      this.announced = levels.map(({ attrs }) => attrs.CODECS ?? "").join();
    });
    hls.on(Hls.Events.MANIFEST_PARSED, () => events.ready());
    hls.on(Hls.Events.LEVEL_LOADED, (_, { details }) => {
      // A broadcast that was over before we came: opening it would replay its last seconds.
      if (!details.live && !this.everLive) events.failed("offline", "the broadcast has ended");
      this.everLive ||= details.live;
    });
    hls.on(Hls.Events.FRAG_CHANGED, (_, { frag }) => {
      if (this.lastCc !== null && frag.cc !== this.lastCc) events.discontinuity();
      this.lastCc = frag.cc;
    });
    hls.on(Hls.Events.FRAG_LOADED, (_, { frag, part, payload }) => {
      const meter = frag.type === "audio" ? this.rates.audio : this.rates.main;
      if (frag.sn !== "initSegment") meter.push(payload.byteLength, (part ?? frag).duration);
    });
    hls.on(Hls.Events.BUFFER_APPENDED, () => this.begin());
    hls.on(Hls.Events.BUFFER_CODECS, (_, { video, audio }) => {
      const tracks = [video, audio].map((track) => track?.levelCodec || track?.codec);
      this.parsed = tracks.map((codec, index) => codec ?? this.parsed[index]);
    });
    hls.loadSource(src);
    hls.attachMedia(video);
  }

  get qualities(): Quality[] {
    const levels = this.hls.levels.map((level, index) => ({
      index,
      label: level.height ? `${level.height}p` : (level.name ?? `Quality ${index + 1}`),
    }));
    return [{ index: -1, label: "Auto" }, ...levels.reverse()];
  }

  get quality(): number {
    return this.hls.manualLevel; // the choice; what is on screen follows it
  }

  set quality(index: number) {
    this.hls.loadLevel = index; // from the next segment on; `nextLevel` empties the buffer first
  }

  get edgeLatency(): number | null {
    // Not hls.latency: that one grows while the publisher is away, with no media to go to.
    const details = this.hls.latestLevelDetails;
    return details && this.video.readyState > 0 ? details.edge - this.video.currentTime : null;
  }

  get targetLatency(): number | null {
    return this.hls.targetLatency;
  }

  get livePosition(): number | null {
    return this.hls.liveSyncPosition;
  }

  get programTime(): number | null {
    return this.hls.playingDate?.getTime() ?? null;
  }

  get codecs(): string {
    const { levels, currentLevel } = this.hls;
    const level = levels[currentLevel] ?? levels[0];
    const known = [level?.videoCodec ?? this.parsed[0], level?.audioCodec ?? this.parsed[1]];
    return known.filter(Boolean).join(", ");
  }

  get bitrate(): number | null {
    const { main, audio } = this.rates;
    return main.bps === null ? audio.bps : main.bps + (audio.bps ?? 0);
  }

  get bandwidth(): number | null {
    return this.hls.bandwidthEstimate || null;
  }

  destroy(): void {
    this.hls.destroy();
  }

  /** hls.js starts when all parts of the first segment have come; we do when enough of it has. */
  private begin(): void {
    const { video, hls } = this;
    const { buffered } = video;
    const start = hls.startPosition;
    if (this.begun || start < 0 || buffered.length === 0) return;
    const position = Math.max(start, buffered.start(0));
    if (position - start > BEGIN_SLACK_S || buffered.end(0) - position < BEGIN_SLACK_S) return;
    this.begun = true;
    if (video.currentTime < position) video.currentTime = position;
  }

  private error(data: ErrorData): void {
    if (!data.fatal) return;
    const code = data.response?.code ?? 0;
    if (/codec/i.test(data.details)) {
      const names = [...new Set(undecodable(this.announced || this.codecs))];
      return this.events.failed("codec", names.join(" and "));
    }
    if (data.type === Hls.ErrorTypes.NETWORK_ERROR) {
      const absent = code === 404 || code === 410;
      return this.events.failed(absent ? "offline" : "network", data.details);
    }
    if (data.type === Hls.ErrorTypes.MEDIA_ERROR && this.mediaRecoveries < MEDIA_RECOVERIES_MAX) {
      this.mediaRecoveries += 1;
      return this.hls.recoverMediaError();
    }
    this.events.failed("media", data.details);
  }
}

/**
 * The browser's own HLS (Safari without Media Source Extensions): it does the low latency itself.
 */
export class NativeEngine implements Engine {
  readonly name = "native HLS";
  readonly qualities: Quality[] = [];
  quality = -1;
  readonly targetLatency = null;
  readonly codecs = "";
  readonly bitrate = null;
  readonly bandwidth = null;
  private readonly abort = new AbortController();

  static supported(video: HTMLVideoElement): boolean {
    return video.canPlayType("application/vnd.apple.mpegurl") !== "";
  }

  constructor(
    src: string,
    private readonly video: HTMLVideoElement,
    events: Events,
  ) {
    const { signal } = this.abort;
    video.addEventListener("loadedmetadata", () => events.ready(), { signal });
    video.addEventListener(
      "error",
      () => {
        const decode = video.error?.code === MediaError.MEDIA_ERR_DECODE;
        events.failed(decode ? "media" : "network", video.error?.message ?? "");
      },
      { signal },
    );
    video.src = src;
  }

  get livePosition(): number | null {
    const { seekable } = this.video;
    return seekable.length ? seekable.end(seekable.length - 1) : null;
  }

  get edgeLatency(): number | null {
    return this.livePosition === null ? null : this.livePosition - this.video.currentTime;
  }

  get programTime(): number | null {
    const start = (this.video as { getStartDate?(): Date }).getStartDate?.().getTime() ?? NaN;
    return Number.isNaN(start) ? null : start + this.video.currentTime * 1000;
  }

  destroy(): void {
    this.abort.abort();
    this.video.removeAttribute("src");
    this.video.load();
  }
}
