import { PsyneError } from "./protocol.ts";

/** What is sent: text stays text, bytes stay bytes. */
export type Message = string | Uint8Array<ArrayBuffer>;

/** Why a channel ended: a code of RFC 6455 (7.4), and words. */
export interface Reason {
  code: number;
  text: string;
}

/** How messages are delivered; in order and all of them unless told otherwise. */
export interface Delivery {
  ordered?: boolean;
  maxRetransmits?: number;
  maxPacketLifeTime?: number;
}

/** Bytes that wait to be sent before `send` waits. */
export const SEND_BYTES_MAX = 1 << 20;
/**
 * Bytes that wait to be read before the channel is closed: browsers have no way to make a sender
 * wait.
 */
export const RECEIVE_BYTES_MAX = 32 << 20;
/** Messages likewise, for those that have no bytes. */
export const RECEIVE_MESSAGES_MAX = 65_536;
/** How long the words of a close may come later than the end. */
const WORDS_MS = 2_000;
const REASON_BYTES_MAX = 123;
const CLOSE = 4;
const PING = 2;
const PONG = 3;

/**
 * A channel to a peer: `send`, `for await (const message of channel)`, `close`. It lies on two data
 * channels of a session: one for messages, one for what is said about them
 * (docs/wire/channel.md).
 */
export class Channel {
  /** When it has ended, and why. */
  readonly closed: Promise<Reason>;
  #ended: Reason | undefined;
  #words: Reason | undefined;
  #end!: (reason: Reason) => void;
  #inbox: Message[] = [];
  #inboxBytes = 0;
  #woken = () => {};
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Both data channels are open. */
  constructor(
    /** Who is at the other end. */
    readonly peer: string,
    private readonly data: RTCDataChannel,
    private readonly control: RTCDataChannel,
    private readonly messageBytesMax: number,
  ) {
    this.closed = new Promise((resolve) => (this.#end = resolve));
    data.binaryType = control.binaryType = "arraybuffer";
    data.bufferedAmountLowThreshold = SEND_BYTES_MAX / 2;
    data.onmessage = ({ data }) => this.#take(data);
    control.onmessage = ({ data }) => this.#hear(data);
    data.onclose = () => this.#closing();
    control.onclose = () => this.lost("The session ended.");
  }

  /** Bytes that wait to be sent. */
  get bufferedBytes(): number {
    return this.data.bufferedAmount;
  }

  /** Sends, and waits while too much waits already. */
  async send(message: Message): Promise<void> {
    while (!this.#ended && this.data.bufferedAmount > SEND_BYTES_MAX) await this.#drained();
    this.#check(message);
    // What is open is open: the type does not know that both overloads are meant.
    this.data.send(message as string);
  }

  /** Sends if there is room; whether there was. */
  trySend(message: Message): boolean {
    if (this.data.bufferedAmount > SEND_BYTES_MAX) return false;
    this.#check(message);
    this.data.send(message as string);
    return true;
  }

  /** The next message; nothing when the channel has ended. */
  async receive(): Promise<Message | undefined> {
    while (this.#inbox.length === 0) {
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => (this.#woken = resolve));
    }
    const message = this.#inbox.shift()!;
    this.#inboxBytes -= size(message);
    return message;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Message, void> {
    for (;;) {
      const message = await this.receive();
      if (message === undefined) return;
      yield message;
    }
  }

  /** Says why, sends what is still to be sent, and ends. */
  close(code = 1000, text = ""): void {
    if (this.#ended) return;
    const reason = { code, text: cut(text) };
    if (this.control.readyState === "open") this.control.send(writeClose(reason));
    this.data.close();
    this.#finish(reason);
  }

  /** The session is over, or the peer is gone. */
  lost(text: string): void {
    this.#finish(this.#words ?? { code: 1006, text });
  }

  #check(message: Message): void {
    if (this.#ended)
      throw new PsyneError("closed", `The channel ended: ${this.#ended.text || this.#ended.code}.`);
    if (size(message) > this.messageBytesMax)
      throw new PsyneError(
        "too_long",
        `${size(message)} bytes do not fit: the other side takes ${this.messageBytesMax}.`,
      );
  }

  #drained(): Promise<void> {
    const low = new Promise<void>((resolve) => {
      this.data.addEventListener("bufferedamountlow", () => resolve(), { once: true });
    });
    return Promise.race([low, this.closed.then(() => {})]);
  }

  #take(data: unknown): void {
    if (this.#ended) return;
    const message = typeof data === "string" ? data : new Uint8Array(data as ArrayBuffer);
    this.#inboxBytes += size(message);
    this.#inbox.push(message);
    const full = this.#inboxBytes > RECEIVE_BYTES_MAX || this.#inbox.length > RECEIVE_MESSAGES_MAX;
    if (full) return this.close(1008, "what was sent was not read");
    this.#woken();
  }

  #hear(data: unknown): void {
    const bytes = data instanceof ArrayBuffer ? new Uint8Array(data) : new Uint8Array();
    if (bytes[0] === PING && bytes.length === 9) {
      bytes[0] = PONG;
      if (this.control.bufferedAmount < 1024) this.control.send(bytes);
    } else if (bytes[0] === CLOSE && bytes.length >= 3) {
      this.#words = readClose(bytes);
      // The messages before it may still be on their way: the other data channel ends after them.
      if (this.data.readyState === "closed") this.#finish(this.#words);
      else this.#timer ??= setTimeout(() => this.lost("The session ended."), WORDS_MS);
    } else if (!(bytes[0] === PONG && bytes.length === 9)) {
      this.close(1002, "what was said about the channel makes no sense");
    }
  }

  /** All messages have come. */
  #closing(): void {
    if (this.#words) return this.#finish(this.#words);
    this.#timer ??= setTimeout(() => this.lost("The channel was closed without a word."), WORDS_MS);
  }

  #finish(reason: Reason): void {
    if (this.#ended) return;
    this.#ended = reason;
    clearTimeout(this.#timer);
    this.#woken();
    this.#end(reason);
  }
}

const encoder = new TextEncoder();

/** Bytes of it on the wire; of text what is surely enough, unless it is long. */
function size(message: Message): number {
  if (typeof message !== "string") return message.byteLength;
  return message.length < 4096 ? message.length * 3 : encoder.encode(message).length;
}

export function writeClose({ code, text }: Reason): Uint8Array<ArrayBuffer> {
  return new Uint8Array([CLOSE, code >> 8, code & 255, ...encoder.encode(text)]);
}

export function readClose(bytes: Uint8Array): Reason {
  const code = (bytes[1]! << 8) | bytes[2]!;
  const text = new TextDecoder().decode(bytes.subarray(3, 3 + REASON_BYTES_MAX));
  return { code, text };
}

/** As much of it as a close can carry, without half a character. */
function cut(text: string): string {
  let end = text.length;
  while (encoder.encode(text.slice(0, end)).length > REASON_BYTES_MAX) end -= 1;
  return text.slice(0, end);
}
