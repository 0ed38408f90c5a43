import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { HELD_MAX, Signaling } from "./signaling.ts";

/** The browser's, as far as it is used; each test plays the hub. */
class FakeSocket {
  static all: FakeSocket[] = [];
  readyState = 0;
  said: { type: string; [key: string]: unknown }[] = [];
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { reason: string }) => void) | null = null;

  constructor(
    readonly url: string,
    readonly protocol: string,
  ) {
    FakeSocket.all.push(this);
  }

  send(text: string) {
    this.said.push(JSON.parse(text));
  }

  close() {
    this.readyState = 3;
  }

  open() {
    this.readyState = 1;
    this.onopen?.();
  }

  hears(message: object) {
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  lost(reason = "") {
    this.readyState = 3;
    this.onclose?.({ reason });
  }

  welcomes(members: string[] = []) {
    this.open();
    const rest = { ice: [], silence_s: 40, message_bytes_max: 65536 };
    this.hears({ type: "welcome", version: 1, peer: "alice", members, ...rest });
  }
}

const log: string[] = [];
const events = {
  up: () => log.push("up"),
  down: (reason: string) => log.push(`down ${reason}`),
  joined: (peer: string) => log.push(`joined ${peer}`),
  left: (peer: string, reason: string) => log.push(`left ${peer} ${reason}`),
  signal: (from: string) => log.push(`signal ${from}`),
  refused: (code: string) => log.push(`refused ${code}`),
  renewed: () => log.push("renewed"),
  ended: ({ code }: { code: string }) => log.push(`ended ${code}`),
};

const begin = () => new Signaling({ url: "ws://hub", group: "g", token: "t" }, events);
const socket = () => FakeSocket.all.at(-1)!;
/** What was heard since this was asked last. */
const heard = () => log.splice(0);

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("WebSocket", FakeSocket);
  FakeSocket.all = [];
  heard();
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test("a member joins by the protocol, answers pings and hears of others", () => {
  const member = begin();
  expect([socket().url, socket().protocol]).toEqual(["ws://hub/signal", "psyne.signal.1"]);
  socket().welcomes(["bob"]);
  expect(socket().said[0]).toMatchObject({ type: "join", version: 1, group: "g", token: "t" });
  socket().hears({ type: "joined", peer: "carol" });
  socket().hears({ type: "left", peer: "bob", reason: "closed" });
  socket().hears({ type: "ping" });
  socket().hears({ type: "signal", from: "carol", session: "s", signal: { bye: "" } });
  expect(heard()).toEqual(["up", "joined bob", "joined carol", "left bob closed", "signal carol"]);
  expect(socket().said.at(-1)).toEqual({ type: "pong" });
  expect([...member.members]).toEqual(["carol"]);
  member.leave();
  expect(heard()).toEqual(["ended signal.left"]);
});

test("it comes back by its name and instance, and says what was held", () => {
  const member = begin();
  socket().welcomes(["bob", "carol"]);
  const first = socket().said[0]!;
  socket().lost("signal.closing");
  for (let sent = 0; sent < HELD_MAX; sent += 1)
    expect(member.send("bob", "s", { candidate: "" })).toBe(true);
  expect(member.send("bob", "s", { candidate: "" })).toBe(false);
  vi.advanceTimersByTime(400);
  expect(FakeSocket.all.length).toBe(2);
  heard();
  socket().welcomes(["bob", "dave"]);
  expect(socket().said[0]).toEqual({ ...first, peer: "alice" });
  expect(socket().said.length).toBe(1 + HELD_MAX);
  expect(heard()).toEqual(["up", "left carol missed", "joined dave"]);
});

test("it tries again ever more seldom, and a silent hub is noticed", () => {
  begin();
  const begun = Date.now();
  for (let attempt = 0; attempt < 20; attempt += 1) {
    socket().lost();
    vi.advanceTimersToNextTimer();
  }
  expect(FakeSocket.all.length).toBe(21);
  // Doubling from 250 ms to 10 s and then staying there, give or take a quarter.
  expect(Date.now() - begun).toBeGreaterThan(0.75 * 155_750);
  expect(Date.now() - begun).toBeLessThan(1.25 * 155_750);
  socket().welcomes();
  heard();
  vi.advanceTimersByTime(39_999);
  expect(heard()).toEqual([]);
  vi.advanceTimersByTime(1);
  expect(heard()).toEqual(["down signal.silent"]);
});

test("a hub that does not welcome in time is left", () => {
  begin();
  socket().open();
  vi.advanceTimersByTime(10_000);
  expect(heard()).toEqual(["down signal.late"]);
});

test.each(["token", "expired", "forbidden", "taken", "replaced", "version"])(
  "%s is the end",
  (code) => {
    begin();
    socket().open();
    socket().lost(`signal.${code}`);
    expect(heard()).toEqual([`ended signal.${code}`]);
    vi.advanceTimersByTime(60_000);
    expect(FakeSocket.all.length).toBe(1);
  },
);

test.each(["", "nonsense", '{"type":"joined","peer":"a b"}'])(
  "a hub that says %j is left and tried again",
  (data) => {
    begin();
    socket().welcomes();
    heard();
    const first = socket();
    first.onmessage?.({ data });
    expect(heard()).toEqual(["down signal.malformed"]);
    expect(first.readyState).toBe(3);
    vi.advanceTimersByTime(400);
    socket().welcomes();
    expect(heard()).toEqual(["up"]);
  },
);
