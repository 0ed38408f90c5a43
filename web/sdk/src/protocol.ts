/** What is said between a hub and its members: docs/wire/signal.md. */

export const VERSION = 1;
export const SUBPROTOCOL = "psyne.signal.1";
/** Members of a group that are believed; a hub that names more is at fault. */
export const MEMBERS_MAX = 4096;

/** A STUN or TURN server, as `RTCPeerConnection` takes it. */
export interface Ice {
  urls: string[];
  username?: string;
  credential?: string;
}

/** What two members exchange about a session. */
export type Signal =
  { offer: string } | { answer: string } | { candidate: string } | { bye: string };

export type ToHub =
  | {
      type: "join";
      version: number;
      group: string;
      peer?: string;
      instance: string;
      token?: string;
    }
  | { type: "renew"; token: string }
  | { type: "send"; to: string; session: string; signal: Signal }
  | { type: "pong" }
  | { type: "leave" };

export interface Welcome {
  type: "welcome";
  version: number;
  peer: string;
  members: string[];
  ice: Ice[];
  silence_s: number;
  message_bytes_max: number;
}

export type FromHub =
  | Welcome
  | { type: "joined"; peer: string }
  | { type: "left"; peer: string; reason: string }
  | { type: "signal"; from: string; session: string; signal: Signal }
  | { type: "renewed"; ice: Ice[] }
  | { type: "refused"; code: string; message: string; to?: string; session?: string }
  | { type: "ping" };

/** What went wrong: `code` is stable, and the same in every language. */
export class PsyneError extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
    this.name = "PsyneError";
  }
}

/** Codes after which trying again, as it is, can never help. */
const FINAL = new Set(
  [
    "malformed",
    "name",
    "version",
    "too_long",
    "token",
    "expired",
    "forbidden",
    "taken",
    "replaced",
  ].map((name) => `signal.${name}`),
);

export const isFinal = (code: string): boolean => FINAL.has(code);

/** Whether it may be the name of a group, a peer, a user or a session. */
export const isName = (value: unknown): value is string =>
  typeof value === "string" && /^[A-Za-z0-9._~-]{1,64}$/.test(value);

/** 128 bits that nobody guesses, as a name. */
export function randomName(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Reads what a hub said; nothing if it is no message of this protocol. */
export function readFromHub(text: string): FromHub | undefined {
  let said: unknown;
  try {
    said = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isRecord(said)) return undefined;
  return isMessage(said) ? (said as unknown as FromHub) : undefined;
}

type Fields = Record<string, unknown>;

function isMessage(said: Fields): boolean {
  switch (said["type"]) {
    case "ping":
      return true;
    case "welcome":
      return isWelcome(said);
    case "joined":
      return isName(said["peer"]);
    case "left":
      return isName(said["peer"]) && isText(said["reason"]);
    case "signal":
      return isName(said["from"]) && isName(said["session"]) && isSignal(said["signal"]);
    case "renewed":
      return isList(said["ice"], isIce);
    case "refused":
      return (
        isText(said["code"]) &&
        isText(said["message"]) &&
        isOptional(said["to"], isName) &&
        isOptional(said["session"], isName)
      );
    default:
      return false;
  }
}

function isWelcome(said: Fields): boolean {
  return (
    isCount(said["version"]) &&
    isName(said["peer"]) &&
    isList(said["members"], isName) &&
    said["members"].length <= MEMBERS_MAX &&
    isList(said["ice"], isIce) &&
    isCount(said["silence_s"]) &&
    isCount(said["message_bytes_max"])
  );
}

function isSignal(value: unknown): boolean {
  if (!isRecord(value)) return false;
  const keys = Object.keys(value);
  const known = ["offer", "answer", "candidate", "bye"];
  return keys.length === 1 && known.includes(keys[0]!) && isText(value[keys[0]!]);
}

function isIce(value: unknown): boolean {
  return (
    isRecord(value) &&
    isList(value["urls"], isText) &&
    isOptional(value["username"], isText) &&
    isOptional(value["credential"], isText)
  );
}

const isRecord = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isText = (value: unknown): value is string => typeof value === "string";
const isCount = (value: unknown): boolean => Number.isInteger(value) && (value as number) >= 0;
const isList = (value: unknown, each: (item: unknown) => boolean): value is unknown[] =>
  Array.isArray(value) && value.every(each);
const isOptional = (value: unknown, check: (value: unknown) => boolean): boolean =>
  value === undefined || check(value);
