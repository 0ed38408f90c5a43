import { expect, test } from "vitest";
import { excused, STANDSTILL_MS, watchMachine } from "./machine.mjs";

const stall = { from: 10_000, to: 12_500 };

test.each([
  ["in the stall", [{ from: 11_000, to: 11_300 }], true],
  ["just before it", [{ from: 8_000, to: 8_300 }], true],
  ["long before it", [{ from: 4_000, to: 4_300 }], false],
  ["after it", [{ from: 12_600, to: 13_000 }], false],
  ["never", [], false],
])("a machine that stood still %s", (_, standstills, holds) => {
  expect(excused([stall], standstills)).toBe(holds);
  expect(excused([stall, { from: 40_000, to: 41_000 }], standstills)).toBe(false);
  expect(excused([], standstills)).toBe(false);
});

test("what is reported is over a limit", async () => {
  const machine = watchMachine();
  await new Promise((resolve) => setTimeout(resolve, 1500));
  for (const { from, to, late_ms = 0, stolen_ms = 0, others_ms = 0 } of await machine.stop()) {
    expect(Math.max(late_ms, stolen_ms, others_ms)).toBeGreaterThanOrEqual(STANDSTILL_MS);
    expect(to).toBeGreaterThan(from);
  }
});
