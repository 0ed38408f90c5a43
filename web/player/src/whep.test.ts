import { expect, test } from "vitest";
import { between, sample, whepAddress } from "./whep.ts";

test("the address for WebRTC is told by that of the playlist", () => {
  const page = "https://live.example/watch/demo";
  expect(whepAddress("/hls/demo/index.m3u8", page)).toBe("https://live.example/whep/demo");
  expect(whepAddress("https://a.example/x/hls/d/index.m3u8", page)).toBe(
    "https://a.example/x/whep/d",
  );
  expect(whepAddress("/elsewhere/index.m3u8", page)).toBe(null);
});

test("rate and delay come from two samples", () => {
  const entries = (bytes: number, waited: number, emitted: number) => [
    { type: "candidate-pair", nominated: true, currentRoundTripTime: 0.02 },
    { type: "candidate-pair", nominated: false, currentRoundTripTime: 9 },
    { type: "inbound-rtp", kind: "audio", bytesReceived: 1000 },
    {
      type: "inbound-rtp",
      kind: "video",
      bytesReceived: bytes,
      framesDecoded: emitted,
      jitterBufferDelay: waited,
      jitterBufferEmittedCount: emitted,
    },
  ];
  const before = sample(entries(0, 0, 0), 0);
  const now = sample(entries(125_000, 1.5, 30), 1000);
  expect(now.frames).toBe(30);
  expect(between(before, now).bps).toBe(1_000_000);
  expect(between(before, now).delay_s).toBeCloseTo(0.06);
  expect(between(now, now).bps).toBe(0);
});
