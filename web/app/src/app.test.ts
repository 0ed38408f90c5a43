import { expect, test } from "vitest";
import { stream, streams } from "./api.ts";
import { route } from "./route.ts";
import { uptime, viewers } from "./text.ts";

const answer = (status: number, body: unknown) =>
  (async () =>
    new Response(typeof body === "string" ? body : JSON.stringify(body), {
      status,
    })) as typeof fetch;

test.each([
  ["/", { page: "home" }],
  ["/watch/demo", { page: "watch", name: "demo" }],
  ["/watch/demo/", { page: "watch", name: "demo" }],
  ["/watch/caf%C3%A9", { page: "watch", name: "café" }],
  ["/watch/%E0%A4%A", { page: "missing" }],
  ["/watch/", { page: "missing" }],
  ["/watch/a/b", { page: "missing" }],
  ["/elsewhere", { page: "missing" }],
])("%s", (path, page) => expect(route(path)).toEqual(page));

test("streams are unwrapped from their envelope", async () => {
  expect(await streams(answer(200, { streams: [] }))).toEqual([]);
});

test("the server's own sentence reaches the reader", async () => {
  const body = { error: { code: "no_such_stream", message: "There is no such stream." } };
  await expect(stream("x", answer(404, body))).rejects.toMatchObject({
    status: 404,
    code: "no_such_stream",
    message: "There is no such stream.",
  });
});

test("a proxy's page of HTML and a dead server are errors with a sentence", async () => {
  await expect(stream("x", answer(502, "<html>"))).rejects.toMatchObject({
    status: 502,
    code: "unknown",
  });
  const dead = (async () => Promise.reject(new TypeError())) as typeof fetch;
  await expect(streams(dead)).rejects.toMatchObject({ status: 0, code: "unreachable" });
});

test("counts and times read well", () => {
  const start = "2026-01-01T00:00:00Z";
  const after = (seconds: number) => uptime(start, Date.parse(start) + seconds * 1000);
  expect([after(7), after(750), after(3723), after(-5)]).toEqual([
    "0:07",
    "12:30",
    "1:02:03",
    "0:00",
  ]);
  expect(uptime(null, 0)).toBe("");
  expect([viewers(1), viewers(1204)]).toEqual(["1 viewer", "1,204 viewers"]);
});
