/** Text for numbers; `null` and not-a-number read as a dash. */
const known = (value: number | null): value is number => value !== null && Number.isFinite(value);

export const seconds = (value: number | null, digits = 1): string =>
  known(value) ? `${value.toFixed(digits)} s` : "–";

export const milliseconds = (value: number | null): string =>
  known(value) ? `${Math.round(value)} ms` : "–";

export function bitrate(bps: number | null): string {
  if (!known(bps)) return "–";
  return bps >= 1e6 ? `${(bps / 1e6).toFixed(1)} Mbit/s` : `${Math.round(bps / 1e3)} kbit/s`;
}

/** How far behind, as one would say it: `−12 s`, `−3:05`. */
export function behind(value: number): string {
  const whole = Math.max(0, Math.round(value));
  if (whole < 60) return `−${whole} s`;
  return `−${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
