import { expect, test } from "vitest";
import { atEdge, beginning, CATCH_UP_RATE, overtook, rate, shouldJump, stuck } from "./edge.ts";

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

test("who falls behind plays faster until the target is reached, and not at every part", () => {
  const played = (latencies: number[], following = true) => {
    let now = 1;
    return latencies.map((latency) => (now = rate({ latency, target: 1, following }, now)));
  };
  expect(played([1.2, 1.4, 1.2, 1.4])).toEqual([1, 1, 1, 1]);
  const fast = CATCH_UP_RATE;
  expect(played([1.6, 1.4, 1.1, 0.9, 1.1, 1.4])).toEqual([fast, fast, fast, 1, 1, 1]);
  expect(played([9, 9], false)).toEqual([1, 1]);
});

test.each([
  { keyframes: [18, 20], edge: 21.2, begins: 20 }, // just behind the aim
  { keyframes: [18, 20], edge: 20.8, begins: 20 }, // just ahead of it, with enough to play
  { keyframes: [18, 20], edge: 20.2, begins: 19.2 }, // too near to the edge
  { keyframes: [15, 20], edge: 18.5, begins: 17.5 }, // too far behind
  { keyframes: [18, 18.5, 19, 19.5, 20], edge: 20.4, begins: 19.5 }, // the nearest
  { keyframes: [], edge: 21, begins: 20 },
])("playback with keyframes at $keyframes and media up to $edge begins at $begins", (each) => {
  expect(beginning(each.edge - 1, each.keyframes, each.edge)).toBeCloseTo(each.begins);
});

test("a stream is reopened only if there is media that does not play", () => {
  expect(stuck({ stalled: 20, ahead: 0.3 })).toBe(false); // the publisher is away
  expect(stuck({ stalled: 3, ahead: 30 })).toBe(false); // it may still be loading
  expect(stuck({ stalled: 7, ahead: 5 })).toBe(true);
});

test("playback goes back to a quality that it has overtaken, and to no other", () => {
  expect(overtook({ stalled: 1, ahead: -2 })).toBe(true);
  expect(overtook({ stalled: 0.2, ahead: -2 })).toBe(false); // it still has something to play
  expect(overtook({ stalled: 1, ahead: 0 })).toBe(false); // the publisher is away
  expect(overtook({ stalled: 1, ahead: 2 })).toBe(false); // it is loading
});
