// The thread of machine.mjs that sleeps and counts; it tells when the machine was not ours.
import { readdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { parentPort, workerData } from "node:worker_threads";

const { sleepMs, standstillMs, othersShareMax } = workerData;
const lock = new Int32Array(new SharedArrayBuffer(4));
const TICK_MS = 10; // USER_HZ is 100 on every Linux

/** [time that was worked, time that was stolen] by all processors together, ms. */
function processors() {
  const ticks = readFileSync("/proc/stat", "utf8").split("\n", 1)[0].split(/ +/).map(Number);
  const [, user, nice, system, , , irq, softirq, steal = 0] = ticks;
  return [TICK_MS * (user + nice + system + irq + softirq), TICK_MS * steal];
}
function program(pid) {
  try {
    const fields = readFileSync("/proc/" + pid + "/stat", "utf8")
      .split(") ")
      .at(-1)
      .split(" ");
    const [parent, group] = [Number(fields[1]), Number(fields[2])];
    return { pid: Number(pid), parent, group, ms: TICK_MS * (+fields[11] + +fields[12]) };
  } catch {
    return null; // it has just ended
  }
}
/** Time that our programs have worked, ms by process id. */
function ours() {
  const all = readdirSync("/proc")
    .filter((name) => /^[0-9]+$/.test(name))
    .map(program);
  const { group } = program(process.pid);
  const found = new Map();
  for (let before = -1; before < found.size;) {
    before = found.size;
    for (const each of all)
      if (each && (each.group === group || found.has(each.parent))) found.set(each.pid, each.ms);
  }
  return found;
}

let last = Date.now();
let [from, [worked, stolen], own] = [last, processors(), ours()];
for (;;) {
  Atomics.wait(lock, 0, 0, sleepMs);
  const now = Date.now();
  const late_ms = now - last - sleepMs;
  if (late_ms >= standstillMs) parentPort.postMessage({ from: last, to: now, late_ms });
  last = now;
  if (now - from < 1000) continue;
  const [nowWorked, nowStolen] = processors();
  const nowOwn = ours();
  let own_ms = 0;
  for (const [pid, ms] of nowOwn) own_ms += ms - (own.get(pid) ?? 0);
  const stolen_ms = nowStolen - stolen;
  const others_ms = nowWorked - worked - own_ms;
  const all_ms = (now - from) * availableParallelism();
  if (stolen_ms >= standstillMs || others_ms > othersShareMax * all_ms)
    parentPort.postMessage({ from, to: now, stolen_ms, others_ms, own_ms, all_ms });
  [from, worked, stolen, own] = [now, nowWorked, nowStolen, nowOwn];
}
