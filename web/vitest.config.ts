import { defineConfig } from "vitest/config";

/** Unit tests: what decides without a browser. What needs one is in tests/. */
export default defineConfig({
  test: {
    include: ["sdk/src/*.test.ts", "player/src/*.test.ts", "app/src/*.test.ts", "tests/*.test.mjs"],
  },
});
