import { afterEach, expect, test, vi } from "vitest";
import { codecName, undecodable } from "./codec.ts";

afterEach(() => vi.unstubAllGlobals());

test("codecs are called by their names", () => {
  expect(["avc1.64001f", "Opus", "xyz1"].map(codecName)).toEqual(["H.264", "Opus", "xyz1"]);
});

test("what cannot be decoded is named, and nothing else", () => {
  vi.stubGlobal("MediaSource", { isTypeSupported: (type: string) => !type.includes("hvc1") });
  expect(undecodable("hvc1.1.6.L60.B0, mp4a.40.2")).toEqual(["HEVC"]);
  expect(undecodable("")).toEqual([]);
});
