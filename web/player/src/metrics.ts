/** A snapshot of how playback goes; `null` where nothing is known (yet). */
export interface Metrics {
  state: string;
  /** Playhead, seconds on the element's timeline. */
  current_time_s: number;
  /**
   * Publisher's clock to this screen by EXT-X-PROGRAM-DATE-TIME, s; true as far as clocks agree.
   */
  latency_s: number | null;
  /** Distance from the newest media in the playlist, s. */
  edge_latency_s: number | null;
  /** The distance that playback aims at, s. */
  target_latency_s: number | null;
  /** Media ahead of the playhead, s. */
  buffer_s: number;
  playback_rate: number;
  width: number;
  height: number;
  codecs: string;
  /** What arrives, audio and video together, bit/s of media time. */
  bitrate_bps: number | null;
  /** What the network could carry, by hls.js's estimate, bit/s. */
  bandwidth_bps: number | null;
  frames_total: number;
  frames_dropped: number;
  /** Times playback stopped for want of media after the first frame. */
  stalls: number;
  stalled_ms: number;
  /** Page open (navigation start) to the first frame on screen, ms. */
  startup_ms: number | null;
  /** `load()` to the first frame on screen, ms. */
  join_ms: number | null;
  discontinuities: number;
  /** Times the stream was opened again after it had failed or ended. */
  reconnects: number;
  engine: string;
  /** Why it is not WebRTC, if that was wanted and did not work; else empty. */
  fallback: string;
}

/** Media time over which the bitrate is averaged, s: a group of pictures or two. */
const BITRATE_WINDOW_S = 4;
/**
 * Parts of 200 ms fill the window with 20; a misconfigured server's 1 ms parts must not grow it.
 */
const WINDOW_PARTS_MAX = 64;

/** Bitrate of one track from the sizes of the parts that arrived. */
export class BitrateMeter {
  private parts: { bytes: number; seconds: number }[] = [];

  push(bytes: number, seconds: number): void {
    if (!(seconds > 0)) return;
    this.parts.push({ bytes, seconds });
    let kept = this.parts.reduce((sum, part) => sum + part.seconds, 0);
    while (this.parts.length > WINDOW_PARTS_MAX || kept - this.parts[0]!.seconds > BITRATE_WINDOW_S)
      kept -= this.parts.shift()!.seconds;
  }

  /** Bit/s, or null before anything arrived. */
  get bps(): number | null {
    const seconds = this.parts.reduce((sum, part) => sum + part.seconds, 0);
    if (seconds === 0) return null;
    return Math.round((this.parts.reduce((sum, part) => sum + part.bytes, 0) * 8) / seconds);
  }

  reset(): void {
    this.parts = [];
  }
}

/** Counts stalls and their length; time is an argument (ms). */
export class StallMeter {
  count = 0;
  private since: number | null = null;
  private total = 0;

  begin(now: number): void {
    if (this.since !== null) return;
    this.since = now;
    this.count += 1;
  }

  end(now: number): void {
    if (this.since === null) return;
    this.total += now - this.since;
    this.since = null;
  }

  totalMs(now: number): number {
    return Math.round(this.total + (this.since === null ? 0 : now - this.since));
  }
}
