import { expect, test } from "vitest";
import { BitrateMeter, StallMeter } from "./metrics.ts";

test("bitrate is of the last seconds of media", () => {
  const meter = new BitrateMeter();
  expect(meter.bps).toBeNull();
  for (let part = 0; part < 50; part += 1) meter.push(25_000, 0.2);
  expect(meter.bps).toBe(1_000_000);
  for (let part = 0; part < 30; part += 1) meter.push(50_000, 0.2);
  expect(meter.bps).toBe(2_000_000);
});

test("the window holds against parts of no length and of absurdly small length", () => {
  const meter = new BitrateMeter();
  meter.push(1000, 0);
  expect(meter.bps).toBeNull();
  for (let part = 0; part < 10_000; part += 1) meter.push(1, 0.001);
  expect((meter as unknown as { parts: unknown[] }).parts.length).toBe(64);
});

test("one long part is still a bitrate", () => {
  const meter = new BitrateMeter();
  meter.push(1_000_000, 8);
  expect(meter.bps).toBe(1_000_000);
});

test("a stall counts once, from its begin to its end", () => {
  const meter = new StallMeter();
  meter.end(50);
  meter.begin(100);
  meter.begin(150);
  expect(meter.totalMs(200)).toBe(100);
  meter.end(300);
  meter.begin(1000);
  expect([meter.count, meter.totalMs(1010)]).toEqual([2, 210]);
});
