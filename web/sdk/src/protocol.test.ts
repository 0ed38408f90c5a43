import { expect, test } from "vitest";
import { MEMBERS_MAX, isName, randomName, readFromHub } from "./protocol.ts";
import { hubUrl } from "./signaling.ts";

const welcome = {
  type: "welcome",
  version: 1,
  peer: "alice",
  members: ["bob"],
  ice: [{ urls: ["turn:t"], username: "1:u", credential: "c" }],
  silence_s: 40,
  message_bytes_max: 65536,
};

test.each([
  welcome,
  { type: "joined", peer: "bob" },
  { type: "left", peer: "bob", reason: "left" },
  { type: "signal", from: "bob", session: "s", signal: { candidate: "" } },
  { type: "renewed", ice: [] },
  { type: "refused", code: "signal.no_peer", message: "", to: "bob" },
  { type: "ping", later: [1] },
])("what a hub says is read: $type", (said) => {
  expect(readFromHub(JSON.stringify(said))).toEqual(said);
});

test.each([
  "",
  "null",
  "[]",
  '"ping"',
  '{"type":"dance"}',
  '{"type":"joined"}',
  '{"type":"joined","peer":"a b"}',
  '{"type":"left","peer":"bob","reason":1}',
  '{"type":"signal","from":"bob","session":"s","signal":{}}',
  '{"type":"signal","from":"bob","session":"s","signal":{"offer":"","answer":""}}',
  '{"type":"signal","from":"bob","session":"s","signal":{"toString":""}}',
  '{"type":"renewed","ice":[{"urls":"stun:s"}]}',
  JSON.stringify({ ...welcome, members: Array(MEMBERS_MAX + 1).fill("x") }),
  JSON.stringify({ ...welcome, silence_s: -1 }),
])("what is no message is not read: %s", (text) => {
  expect(readFromHub(text)).toBeUndefined();
});

test("names are what stands in a URI as it is", () => {
  for (const name of ["a", "A-b.c_d~9", "x".repeat(64), randomName()])
    expect(isName(name)).toBe(true);
  for (const name of ["", "a b", "ä", "a@b", "x".repeat(65), 1, undefined])
    expect(isName(name)).toBe(false);
});

test("an address without a path is that of a hub", () => {
  for (const [url, expected] of [
    ["ws://127.0.0.1:7400", "ws://127.0.0.1:7400/signal"],
    ["wss://hub.example", "wss://hub.example/signal"],
    ["wss://hub.example/", "wss://hub.example/"],
    ["wss://hub.example/a/signal", "wss://hub.example/a/signal"],
  ] as const)
    expect(hubUrl(url)).toBe(expected);
  expect(() => hubUrl("https://hub.example")).toThrow("no address of a hub");
});
