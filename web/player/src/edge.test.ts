import { expect, test } from "vitest";
import { atEdge, shouldJump, stuck } from "./edge.ts";

test.each([
  { latency: 0.8, target: 0.8, following: true, lit: true, jumps: false },
  { latency: 2.2, target: 0.8, following: true, lit: true, jumps: false },
  { latency: 3.0, target: 0.8, following: true, lit: false, jumps: false },
  { latency: 5.0, target: 0.8, following: true, lit: false, jumps: true },
  { latency: 60, target: 0.8, following: false, lit: false, jumps: false },
  { latency: 60, target: Infinity, following: true, lit: true, jumps: false },
])("$latency s behind with an aim of $target s", ({ lit, jumps, ...position }) => {
  expect(atEdge(position)).toBe(lit);
  expect(shouldJump(position)).toBe(jumps);
});

test("a stream is reopened only if there is media that does not play", () => {
  expect(stuck({ stalled: 20, ahead: 0.3 })).toBe(false); // the publisher is away
  expect(stuck({ stalled: 3, ahead: 30 })).toBe(false); // it may still be loading
  expect(stuck({ stalled: 7, ahead: 5 })).toBe(true);
});
