/** Names for the codecs of RFC 6381 strings: `avc1.64001f` is H.264. */
export function codecName(codec: string): string {
  const names: Record<string, string> = {
    avc1: "H.264",
    avc3: "H.264",
    hvc1: "HEVC",
    hev1: "HEVC",
    av01: "AV1",
    vp09: "VP9",
    mp4a: "AAC",
    opus: "Opus",
  };
  return names[codec.split(".")[0]!.toLowerCase()] ?? codec;
}

/** Those of a list (RFC 6381, separated by commas) that this browser cannot decode, by name. */
export const undecodable = (codecs: string): string[] =>
  codecs
    .split(",")
    .map((codec) => codec.trim())
    .filter((codec) => codec && !MediaSource.isTypeSupported(`video/mp4; codecs="${codec}"`))
    .map(codecName);
