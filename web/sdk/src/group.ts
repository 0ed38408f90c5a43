import { Channel, type Delivery } from "./channel.ts";
import { PsyneError, isName, randomName, type Ice, type Signal } from "./protocol.ts";
import { Signaling } from "./signaling.ts";

/** Sessions of one page; each costs a browser some hundred kilobytes. */
export const SESSIONS_MAX = 64;
/** Candidates that may come before the description they belong to. */
const EARLY_MAX = 64;
/** How long a session may take to open; ICE gives up after about as long. */
const OPEN_MS = 30_000;
/** Names of the two data channels of a channel, and the number of the second. */
const DATA = "psyne";
const CONTROL = "psyne.control";
const PROTOCOL = "psyne.channel.1";
const CONTROL_ID = 0;

export interface GroupOptions {
  /** `wss://host` or `ws://host:port`. */
  url: string;
  group: string;
  /** What to be called; the hub finds a name if there is none. */
  peer?: string;
  /** From whoever has the hub's secret. */
  token?: string;
  /** Servers beside those that the hub names. */
  ice?: Ice[];
  /** `relay`: only by TURN. */
  transport?: RTCIceTransportPolicy;
}

export interface GroupEvents {
  joined: CustomEvent<string>;
  left: CustomEvent<string>;
  /** Somebody opened a channel to us. */
  channel: CustomEvent<Channel>;
  /** The hub is not reached, and is tried again; channels stay open. */
  down: CustomEvent<string>;
  /** The hub is reached. */
  up: CustomEvent<string>;
  /** The hub does not want us, or we left. Channels stay open. */
  ended: CustomEvent<PsyneError>;
}

/** A group of peers, and the channels to them. */
export class Group extends EventTarget {
  /** What we are called. */
  peer = "";
  #signaling!: Signaling;
  #ice: Ice[];
  #sessions = new Map<string, Session>();

  private constructor(private readonly options: GroupOptions) {
    super();
    this.#ice = options.ice ?? [];
  }

  /** Joins a group; comes back when the hub has welcomed us. */
  static join(options: GroupOptions): Promise<Group> {
    for (const name of [options.group, options.peer ?? "x"])
      if (!isName(name)) throw new PsyneError("signal.name", `${name} is no name.`);
    const group = new Group(options);
    return new Promise((resolve, reject) => group.#begin(() => resolve(group), reject));
  }

  /** Who else is in the group. */
  get peers(): ReadonlySet<string> {
    return this.#signaling.members;
  }

  /** Opens a channel to a peer. */
  connect(peer: string, delivery: Delivery = {}): Promise<Channel> {
    const id = randomName();
    return new Promise((resolve, reject) => {
      const session = this.#open(peer, id, resolve, reject);
      session?.offer(delivery).catch((error: unknown) => session.fail(String(error)));
    });
  }

  /** Uses this token from now on. */
  renew(token: string): void {
    this.#signaling.renew(token);
  }

  /** Leaves the group. Channels stay open. */
  leave(): void {
    this.#signaling.leave();
  }

  /** Calls `listener` each time; what comes back stops that. */
  on<K extends keyof GroupEvents>(type: K, listener: (event: GroupEvents[K]) => void): () => void {
    this.addEventListener(type, listener as EventListener);
    return () => this.removeEventListener(type, listener as EventListener);
  }

  #begin(resolve: () => void, reject: (error: PsyneError) => void): void {
    this.#signaling = new Signaling(this.options, {
      up: ({ peer, ice }) => {
        this.peer = peer;
        this.#ice = [...(this.options.ice ?? []), ...ice];
        this.#tell("up", peer);
        resolve();
      },
      down: (reason) => this.#tell("down", reason),
      joined: (peer) => this.#tell("joined", peer),
      left: (peer) => this.#tell("left", peer),
      signal: (from, session, signal) => this.#hear(from, session, signal),
      refused: (code, message, _to, session) => {
        if (session) this.#sessions.get(session)?.refused(code, message);
      },
      renewed: (ice) => (this.#ice = [...(this.options.ice ?? []), ...ice]),
      ended: (error) => {
        this.#tell("ended", error);
        reject(error);
      },
    });
  }

  #hear(from: string, id: string, signal: Signal): void {
    const known = this.#sessions.get(id);
    // Names of sessions are no secret between the members: only who is in it may speak of it.
    if (known) {
      if (known.peer === from) known.hear(signal);
    } else if ("offer" in signal) this.#answer(from, id, signal);
  }

  #answer(from: string, id: string, signal: Signal): void {
    const session = this.#open(
      from,
      id,
      (channel) => this.#tell("channel", channel),
      () => {},
    );
    if (!session) this.#signaling.send(from, id, { bye: "too many sessions" });
    session?.hear(signal);
  }

  #open(
    peer: string,
    id: string,
    resolve: (channel: Channel) => void,
    reject: (error: PsyneError) => void,
  ): Session | undefined {
    if (this.#sessions.size >= SESSIONS_MAX) {
      reject(new PsyneError("full", `${SESSIONS_MAX} sessions are open: close one.`));
      return undefined;
    }
    const config: RTCConfiguration = { iceServers: this.#ice };
    if (this.options.transport) config.iceTransportPolicy = this.options.transport;
    const session = new Session(peer, new RTCPeerConnection(config), {
      send: (signal) => this.#signaling.send(peer, id, signal),
      opened: resolve,
      failed: reject,
      over: () => this.#sessions.delete(id),
    });
    this.#sessions.set(id, session);
    return session;
  }

  #tell(type: keyof GroupEvents, detail: unknown): void {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

interface SessionEvents {
  send(signal: Signal): boolean;
  opened(channel: Channel): void;
  failed(error: PsyneError): void;
  over(): void;
}

/** A session: from the first description to its end. */
class Session {
  #data: RTCDataChannel | undefined;
  readonly #control: RTCDataChannel;
  #channel: Channel | undefined;
  #early: RTCIceCandidateInit[] = [];
  #isOver = false;
  /** What is said about it is done in order. */
  #turn: Promise<void> = Promise.resolve();
  readonly #timer: ReturnType<typeof setTimeout>;

  constructor(
    readonly peer: string,
    private readonly pc: RTCPeerConnection,
    private readonly events: SessionEvents,
  ) {
    const how = { negotiated: true, id: CONTROL_ID, protocol: PROTOCOL };
    this.#control = pc.createDataChannel(CONTROL, how);
    this.#control.onopen = () => this.#opened();
    this.#timer = setTimeout(() => this.fail("nothing happened in time"), OPEN_MS);
    pc.ondatachannel = ({ channel }) => this.#take(channel);
    pc.onicecandidate = ({ candidate }) => {
      if (!this.#isOver) events.send({ candidate: candidate?.candidate ?? "" });
    };
    pc.onconnectionstatechange = () => {
      if (pc.connectionState === "failed")
        this.fail("no path to the peer was found, or it was lost");
      if (pc.connectionState === "closed") this.#over("The session ended.");
    };
  }

  async offer(delivery: Delivery): Promise<void> {
    this.#data = this.pc.createDataChannel(DATA, { ...delivery, protocol: PROTOCOL });
    this.#data.onopen = () => this.#opened();
    await this.pc.setLocalDescription();
    this.events.send({ offer: this.pc.localDescription!.sdp });
  }

  hear(signal: Signal): void {
    if ("bye" in signal) return this.#bye(signal.bye);
    this.#turn = this.#turn
      .then(() => this.#apply(signal))
      .catch((error: unknown) => this.fail(`the peer's signal makes no sense: ${String(error)}`));
  }

  /** The hub did not pass on what we said. */
  refused(code: string, message: string): void {
    if (!this.#channel) this.#end(new PsyneError(code, message));
  }

  fail(text: string): void {
    if (this.#isOver) return;
    this.events.send({ bye: text.slice(0, 100) });
    this.#end(new PsyneError("lost", text));
  }

  async #apply(signal: Signal): Promise<void> {
    if (this.#isOver) return;
    if ("candidate" in signal) return this.#candidate(signal.candidate);
    if ("offer" in signal) {
      await this.pc.setRemoteDescription({ type: "offer", sdp: signal.offer });
      await this.pc.setLocalDescription();
      this.events.send({ answer: this.pc.localDescription!.sdp });
    } else if ("answer" in signal) {
      await this.pc.setRemoteDescription({ type: "answer", sdp: signal.answer });
    }
    for (const early of this.#early.splice(0)) await this.pc.addIceCandidate(early);
  }

  async #candidate(candidate: string): Promise<void> {
    const init: RTCIceCandidateInit = { candidate, sdpMLineIndex: 0 };
    if (this.pc.remoteDescription) await this.pc.addIceCandidate(init);
    else if (this.#early.length < EARLY_MAX) this.#early.push(init);
  }

  #take(channel: RTCDataChannel): void {
    if (channel.label !== DATA || this.#data) return channel.close();
    this.#data = channel;
    channel.onopen = () => this.#opened();
    // Chromium hands it over open, and then says so.
    this.#opened();
  }

  #opened(): void {
    const data = this.#data;
    const open = data?.readyState === "open" && this.#control.readyState === "open";
    if (!data || !open || this.#channel || this.#isOver) return;
    clearTimeout(this.#timer);
    const bytesMax = this.pc.sctp?.maxMessageSize ?? 65_536;
    const channel = new Channel(this.peer, data, this.#control, bytesMax);
    this.#channel = channel;
    void channel.closed.then(() => this.#farewell());
    this.events.opened(channel);
  }

  /** The channel has ended; what it has sent last still has to leave. */
  #farewell(): void {
    setTimeout(() => this.#over("The session ended."), 1_000);
  }

  #bye(text: string): void {
    if (this.#channel) this.#channel.lost(text || "The peer ended the session.");
    this.#end(new PsyneError("lost", text || "The peer does not want the session."));
  }

  #end(error: PsyneError): void {
    if (this.#isOver) return;
    if (!this.#channel) this.events.failed(error);
    this.#over(error.message);
  }

  #over(text: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#channel?.lost(text);
    this.pc.close();
    this.events.over();
  }
}
