import { beforeEach, expect, test, vi } from "vitest";
import { Channel, RECEIVE_BYTES_MAX, SEND_BYTES_MAX, readClose, writeClose } from "./channel.ts";

/** The browser's, as far as it is used. */
class FakeData extends EventTarget {
  readyState = "open";
  bufferedAmount = 0;
  bufferedAmountLowThreshold = 0;
  binaryType = "";
  sent: unknown[] = [];
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: (() => void) | null = null;

  send(data: unknown) {
    this.sent.push(data);
  }

  close() {
    this.readyState = "closed";
  }

  ends() {
    this.readyState = "closed";
    this.onclose?.();
  }
}

let data: FakeData;
let control: FakeData;
let channel: Channel;

beforeEach(() => {
  data = new FakeData();
  control = new FakeData();
  const real = (fake: FakeData) => fake as unknown as RTCDataChannel;
  channel = new Channel("bob", real(data), real(control), 100_000);
});

const hear = (bytes: Uint8Array<ArrayBuffer>) => control.onmessage?.({ data: bytes.buffer });

test("messages keep their kind and their order", async () => {
  await channel.send("héllo");
  await channel.send(new Uint8Array([1, 2]));
  expect(data.sent).toEqual(["héllo", new Uint8Array([1, 2])]);
  data.onmessage?.({ data: "" });
  data.onmessage?.({ data: new Uint8Array([3]).buffer });
  expect(await channel.receive()).toBe("");
  expect(await channel.receive()).toEqual(new Uint8Array([3]));
});

test("a message that is too long is refused, and too much waits", async () => {
  await expect(channel.send(new Uint8Array(100_001))).rejects.toThrow("do not fit");
  data.bufferedAmount = SEND_BYTES_MAX + 1;
  expect(channel.trySend("x")).toBe(false);
  const sending = channel.send("late");
  await Promise.resolve();
  expect(data.sent).toEqual([]);
  data.bufferedAmount = 0;
  data.dispatchEvent(new Event("bufferedamountlow"));
  await sending;
  expect(data.sent).toEqual(["late"]);
});

test("the words of a close come with all messages before them", async () => {
  hear(writeClose({ code: 1001, text: "gone" }));
  data.onmessage?.({ data: "last" });
  data.ends();
  const all = [];
  for await (const message of channel) all.push(message);
  expect(all).toEqual(["last"]);
  expect(await channel.closed).toEqual({ code: 1001, text: "gone" });
  await expect(channel.send("x")).rejects.toThrow("gone");
});

test("the words may come after the end, or never", async () => {
  vi.useFakeTimers();
  data.ends();
  hear(writeClose({ code: 4000, text: "why" }));
  expect(await channel.closed).toEqual({ code: 4000, text: "why" });
  const real = (fake: FakeData) => fake as unknown as RTCDataChannel;
  const other = new FakeData();
  const mute = new Channel("bob", real(other), real(new FakeData()), 1);
  other.ends();
  vi.advanceTimersByTime(2_000);
  expect((await mute.closed).code).toBe(1006);
  vi.useRealTimers();
});

test("our close says why, whatever its length", async () => {
  channel.close(1000, "é".repeat(100));
  const said = readClose(control.sent[0] as Uint8Array);
  expect(said).toEqual({ code: 1000, text: "é".repeat(61) });
  expect(data.readyState).toBe("closed");
  expect((await channel.closed).code).toBe(1000);
});

test("a sender that does not wait for its reader is cut off", async () => {
  for (let sent = 0; sent <= RECEIVE_BYTES_MAX / 65_536; sent += 1)
    data.onmessage?.({ data: new ArrayBuffer(65_536) });
  expect((await channel.closed).code).toBe(1008);
});

test.each([[], [9], [2, 0], [4, 0]])("nonsense about the channel ends it: %j", async (...bytes) => {
  hear(new Uint8Array(bytes.flat()));
  expect((await channel.closed).code).toBe(1002);
});

test("a ping is answered", () => {
  hear(new Uint8Array([2, 1, 2, 3, 4, 5, 6, 7, 8]));
  expect(control.sent).toEqual([new Uint8Array([3, 1, 2, 3, 4, 5, 6, 7, 8])]);
});
