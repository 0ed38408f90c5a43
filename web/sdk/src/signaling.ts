import { Backoff } from "./backoff.ts";
import {
  MEMBERS_MAX,
  PsyneError,
  SUBPROTOCOL,
  VERSION,
  isFinal,
  randomName,
  readFromHub,
  type FromHub,
  type Ice,
  type Signal,
  type ToHub,
  type Welcome,
} from "./protocol.ts";

/** Signals that wait while the hub is away. A session's candidates are some dozens. */
export const HELD_MAX = 256;
/** How long a connection and its welcome may take. */
const CONNECT_MS = 10_000;

export interface SignalingOptions {
  /** `wss://host` or `ws://host:port`; without a path it is `/signal`. */
  url: string;
  group: string;
  peer?: string | undefined;
  token?: string | undefined;
}

/** What a member is told. */
export interface SignalingEvents {
  /** In the group: the first time, and each time after `down`. */
  up(welcome: Welcome): void;
  /** The hub is not reached. Sessions are none of its business and stay up. */
  down(reason: string, retryMs: number): void;
  joined(peer: string): void;
  left(peer: string, reason: string): void;
  signal(from: string, session: string, signal: Signal): void;
  refused(code: string, message: string, to?: string, session?: string): void;
  renewed(ice: Ice[]): void;
  /** It is over, and trying again would not help. */
  ended(error: PsyneError): void;
}

/** A member of a hub, which comes back when the connection is lost: docs/wire/signal.md. */
export class Signaling {
  readonly members = new Set<string>();
  #socket: WebSocket | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #state: "joining" | "up" | "resting" | "ended" = "joining";
  #peer: string | undefined;
  #silenceMs = CONNECT_MS;
  #welcomed = false;
  #held: ToHub[] = [];
  readonly #instance = randomName();
  readonly #backoff = new Backoff(250, 10_000);

  constructor(
    private readonly options: SignalingOptions,
    private readonly events: SignalingEvents,
  ) {
    this.#peer = options.peer;
    this.#connect();
  }

  /** Sends to another member, or holds it until the hub is back; false if too much is held. */
  send(to: string, session: string, signal: Signal): boolean {
    return this.#say({ type: "send", to, session, signal });
  }

  /** Uses this token from now on. */
  renew(token: string): void {
    this.options.token = token;
    if (this.#state === "up") this.#say({ type: "renew", token });
  }

  leave(): void {
    if (this.#state === "up") this.#say({ type: "leave" });
    this.#end(new PsyneError("signal.left", "We left the group."));
  }

  #connect(): void {
    this.#state = "joining";
    const socket = new WebSocket(hubUrl(this.options.url), SUBPROTOCOL);
    this.#socket = socket;
    this.#wake(CONNECT_MS, "signal.late");
    const { group, token } = this.options;
    socket.onopen = () => {
      const peer = this.#peer;
      const join = { type: "join", version: VERSION, group, instance: this.#instance } as const;
      const rest = { ...(peer && { peer }), ...(token && { token }) };
      this.#write({ ...join, ...rest });
    };
    socket.onmessage = ({ data }) => this.#hear(data);
    socket.onclose = ({ reason }) => this.#lost(reason || "the hub closed the connection");
  }

  #hear(data: unknown): void {
    const said = typeof data === "string" ? readFromHub(data) : undefined;
    if (
      !said ||
      (said.type !== "welcome") === (this.#state === "joining" && said.type !== "refused")
    )
      return this.#lost("signal.malformed");
    this.#wake(this.#silenceMs, "signal.silent");
    this.#take(said);
  }

  #take(said: FromHub): void {
    switch (said.type) {
      case "welcome":
        return this.#welcome(said);
      case "ping":
        return this.#write({ type: "pong" });
      case "joined":
        if (this.members.size >= MEMBERS_MAX) return this.#lost("signal.malformed");
        if (!this.members.has(said.peer)) this.#join(said.peer);
        return;
      case "left":
        if (this.members.delete(said.peer)) this.events.left(said.peer, said.reason);
        return;
      case "signal":
        return this.events.signal(said.from, said.session, said.signal);
      case "renewed":
        return this.events.renewed(said.ice);
      case "refused":
        return this.events.refused(said.code, said.message, said.to, said.session);
    }
  }

  #welcome(welcome: Welcome): void {
    if (welcome.version !== VERSION)
      return this.#end(new PsyneError("signal.version", "The hub speaks another version."));
    this.#state = "up";
    this.#welcomed = true;
    this.#backoff.reset();
    this.#peer = welcome.peer;
    this.#silenceMs = Math.max(1, welcome.silence_s) * 1000;
    this.#wake(this.#silenceMs, "signal.silent");
    this.events.up(welcome);
    const now = new Set(welcome.members);
    for (const peer of [...this.members])
      if (!now.has(peer) && this.members.delete(peer)) this.events.left(peer, "missed");
    for (const peer of now) if (!this.members.has(peer)) this.#join(peer);
    for (const held of this.#held.splice(0)) this.#write(held);
  }

  #join(peer: string): void {
    this.members.add(peer);
    this.events.joined(peer);
  }

  #say(message: ToHub): boolean {
    if (this.#state === "up") this.#write(message);
    else if (this.#state === "ended" || this.#held.length >= HELD_MAX) return false;
    else this.#held.push(message);
    return true;
  }

  #write(message: ToHub): void {
    // What is closing takes nothing; that it is gone is heard in its time.
    if (this.#socket?.readyState === 1) this.#socket.send(JSON.stringify(message));
  }

  #lost(reason: string): void {
    if (this.#state === "ended" || this.#state === "resting") return;
    this.#drop();
    const taken = reason === "signal.taken" && this.#welcomed;
    if (isFinal(reason) && reason !== "signal.malformed" && !taken)
      return this.#end(new PsyneError(reason, `The hub refused us: ${reason}.`));
    this.#state = "resting";
    const retryMs = this.#backoff.next();
    this.#timer = setTimeout(() => this.#connect(), retryMs);
    this.events.down(reason, retryMs);
  }

  #end(error: PsyneError): void {
    if (this.#state === "ended") return;
    this.#state = "ended";
    this.#held = [];
    this.#drop();
    this.events.ended(error);
  }

  /** Lets go of the connection without hearing of it again. */
  #drop(): void {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = undefined;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #wake(afterMs: number, reason: string): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#lost(reason), afterMs);
  }
}

/** The hub's address; `/signal` where none is named. */
export function hubUrl(url: string): string {
  const parsed = new URL(url);
  if (parsed.protocol !== "ws:" && parsed.protocol !== "wss:")
    throw new PsyneError("uri", `${url} is no address of a hub: write wss://host.`);
  const bare = !/^[a-z]+:\/\/[^/?]*[/?]/.test(url);
  if (bare) parsed.pathname = "/signal";
  return parsed.href;
}
