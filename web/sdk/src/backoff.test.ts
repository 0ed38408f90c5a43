import { expect, test } from "vitest";
import { Backoff } from "./backoff.ts";

test("delays double up to the cap and start over after a reset", () => {
  const backoff = new Backoff(500, 4000, () => 0.5);
  expect([1, 2, 3, 4, 5].map(() => backoff.next())).toEqual([500, 1000, 2000, 4000, 4000]);
  backoff.reset();
  expect(backoff.next()).toBe(500);
});

test("an audience does not return as one: delays spread by a quarter to both sides", () => {
  expect(new Backoff(1000, 4000, () => 0).next()).toBe(750);
  expect(new Backoff(1000, 4000, () => 0.999).next()).toBe(1250);
});

test("a stream that is away for weeks does not overflow the delay", () => {
  const backoff = new Backoff(500, 4000, () => 0.5);
  for (let attempt = 0; attempt < 5000; attempt += 1)
    expect(backoff.next()).toBeLessThanOrEqual(4000);
});
