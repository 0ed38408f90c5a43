/** `1 viewer`, `1,204 viewers`. */
export const viewers = (count: number): string =>
  `${count.toLocaleString("en")} ${count === 1 ? "viewer" : "viewers"}`;

/** Time since `startedAt` (RFC 3339) as `0:07`, `12:30`, `1:02:03`; empty if not known. */
export function uptime(startedAt: string | null, nowMs: number): string {
  const started = Date.parse(startedAt ?? "");
  if (Number.isNaN(started)) return "";
  const total = Math.max(0, Math.floor((nowMs - started) / 1000));
  const two = (value: number) => String(value).padStart(2, "0");
  const [hours, minutes] = [Math.floor(total / 3600), Math.floor(total / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(total % 60)}` : `${minutes}:${two(total % 60)}`;
}
