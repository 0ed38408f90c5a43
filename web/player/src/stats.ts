import { bitrate, milliseconds, seconds } from "./format.ts";
import type { Metrics } from "./metrics.ts";

/** The rows of the statistics overlay. */
export function statsRows(m: Metrics): [label: string, value: string][] {
  const dropped = m.frames_total ? (100 * m.frames_dropped) / m.frames_total : 0;
  const rate = m.playback_rate === 1 ? "" : ` · at ${m.playback_rate.toFixed(2)}×`;
  return [
    ["Latency", seconds(m.latency_s, 2)],
    [
      "Behind newest",
      `${seconds(m.edge_latency_s, 2)} (aim ${seconds(m.target_latency_s, 2)})${rate}`,
    ],
    ["Buffer", seconds(m.buffer_s, 2)],
    ["Bitrate", `${bitrate(m.bitrate_bps)} (network ${bitrate(m.bandwidth_bps)})`],
    ["Picture", m.width ? `${m.width} × ${m.height}` : "–"],
    ["Codecs", m.codecs || "–"],
    ["Dropped frames", `${m.frames_dropped} of ${m.frames_total} (${dropped.toFixed(1)} %)`],
    ["Stalls", `${m.stalls} (${seconds(m.stalled_ms / 1000)})`],
    ["First frame", `${milliseconds(m.join_ms)} (page ${milliseconds(m.startup_ms)})`],
    ["Reconnects", `${m.reconnects} · discontinuities ${m.discontinuities}`],
    ["Transport", (m.engine || "–") + (m.fallback && ` (not WebRTC: ${m.fallback})`)],
  ];
}
