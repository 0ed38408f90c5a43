import { expect, test } from "vitest";
import { behind, bitrate, milliseconds, seconds } from "./format.ts";

test("numbers read as a person would say them", () => {
  expect([behind(0.4), behind(12.4), behind(185)]).toEqual(["−0 s", "−12 s", "−3:05"]);
  expect([bitrate(96_000), bitrate(2_600_000)]).toEqual(["96 kbit/s", "2.6 Mbit/s"]);
  expect([seconds(1.24), seconds(1.239, 2), milliseconds(612.4)]).toEqual([
    "1.2 s",
    "1.24 s",
    "612 ms",
  ]);
});

test("what is not known is a dash", () => {
  expect([seconds(null), seconds(NaN), bitrate(Infinity), milliseconds(null)]).toEqual([
    "–",
    "–",
    "–",
    "–",
  ]);
});
