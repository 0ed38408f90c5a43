import { expect, test } from "vitest";
import { commandOf, KEYS } from "./keys.ts";

test.each([
  [{ key: " " }, "", "toggle"],
  [{ key: "K" }, "", "toggle"],
  [{ key: "?" }, "div", "help"],
  [{ key: "f", ctrlKey: true }, "", null], // the browser's find
  [{ key: " " }, "BUTTON", null], // presses the button
  [{ key: "m" }, "BUTTON", "mute"],
  [{ key: "m" }, "INPUT", null], // a letter for the text field
  [{ key: "ArrowUp" }, "range", null], // moves the slider
  [{ key: "m" }, "range", "mute"],
  [{ key: "x" }, "", null],
])("%o on %s is %s", (press, target, command) => {
  expect(commandOf(press, target)).toBe(command);
});

test("no key has two meanings", () => {
  const keys = KEYS.flatMap((entry) => entry.keys);
  expect(new Set(keys).size).toBe(keys.length);
});
