/** A stream as the server's API tells it (`GET /api/v1/streams/{name}`). */
export interface Stream {
  name: string;
  title: string;
  state: "ready" | "testing" | "live" | "offline" | "stale" | "archived";
  viewers: number;
  /** RFC 3339; null before the first broadcast. */
  started_at: string | null;
  width: number | null;
  height: number | null;
  codecs: string[];
  renditions: string[];
  /** Path of the multivariant playlist. */
  hls: string;
  /** Path of a recent picture. */
  thumbnail: string | null;
}

/** A refusal by the server (`{"error":{"code","message"}}`) or no answer at all. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

async function get<T>(path: string, fetcher: typeof fetch): Promise<T> {
  let reply: Response;
  try {
    reply = await fetcher(path, { headers: { accept: "application/json" } });
  } catch {
    throw new ApiError(0, "unreachable", "The server does not answer.");
  }
  const body = await reply.json().catch(() => null);
  if (reply.ok && body) return body as T;
  const { code = "unknown", message = `The server answered ${reply.status}.` } = body?.error ?? {};
  throw new ApiError(reply.status, code, message);
}

/** All public streams. */
export const streams = async (fetcher: typeof fetch = fetch): Promise<Stream[]> =>
  (await get<{ streams: Stream[] }>("/api/v1/streams", fetcher)).streams;

/** One stream; status 404 if there is none of that name. */
export const stream = (name: string, fetcher: typeof fetch = fetch): Promise<Stream> =>
  get(`/api/v1/streams/${encodeURIComponent(name)}`, fetcher);

/** Where a stream is played from, known before the server has answered. */
export const playlist = (name: string): string => `/hls/${encodeURIComponent(name)}/index.m3u8`;
