/** Where playback stands relative to the newest media, in seconds. */
export interface Position {
  /** Distance from the live edge. */
  latency: number;
  /** Distance that the playlist asks for (PART-HOLD-BACK, or three segments). */
  target: number;
  /** The viewer wants to be live: has neither paused nor sought back since. */
  following: boolean;
}

/**
 * Within this of the target the viewer counts as live; below a part or two nobody sees a
 * difference.
 */
export const AT_EDGE_SLACK_S = 1.5;
/**
 * Farther than this, catching up by speed takes a minute; a viewer who follows is moved instead.
 */
export const JUMP_BEYOND_S = 4;

/** Whether the LIVE badge is lit. */
export function atEdge({ latency, target }: Position): boolean {
  return latency <= target + AT_EDGE_SLACK_S;
}

/** Whether a viewer who wants to be live has fallen so far behind that only a jump helps. */
export function shouldJump(position: Position): boolean {
  return position.following && position.latency > position.target + JUMP_BEYOND_S;
}

/**
 * A viewer this far behind the target plays faster until the target is reached. Two parts and a
 * bit: the distance grows and shrinks by a part with each that arrives, and who changes speed at
 * every part plays with the least buffer there can be, and with a sound that wavers.
 */
export const CATCH_UP_BEYOND_S = 0.5;
/** Fast enough to win back 1 s in 12 s, slow enough that speech keeps its sound. */
export const CATCH_UP_RATE = 1.08;

/** How fast to play, having played at `rate`. */
export function rate({ latency, target, following }: Position, rate: number): number {
  if (!following) return 1;
  const behind = latency - target;
  return behind > (rate > 1 ? 0 : CATCH_UP_BEYOND_S) ? CATCH_UP_RATE : 1;
}

/**
 * A picture far from a keyframe costs the decoding of all between: a third of a second of work for
 * one of media. So playback begins at a keyframe that is no more than this off where it aims.
 */
const KEYFRAME_OFF_S = 1;
/** Media that must lie ahead of it: a start takes some 0.3 s, in which as much arrives. */
const BEGIN_AHEAD_S = 0.3;

/** Where to begin, aiming at `aim`, with keyframes at `keyframes` and newest media at `edge`. */
export function beginning(aim: number, keyframes: number[], edge: number): number {
  const off = (at: number) => Math.abs(at - aim);
  const near = keyframes.filter((at) => off(at) <= KEYFRAME_OFF_S && edge - at >= BEGIN_AHEAD_S);
  return near.sort((a, b) => off(a) - off(b))[0] ?? aim;
}

/** What a watchdog sees while the picture stands still. */
export interface Stall {
  /** How long playback has stood still, s. */
  stalled: number;
  /** How far the newest known media is ahead of the playhead, s. */
  ahead: number;
}

/**
 * Standing still this long with media at hand means that the pipeline is stuck, not the publisher.
 */
export const STUCK_AFTER_S = 6;

/** Whether to reopen the stream: there is media to play, and it is not playing. */
export function stuck({ stalled, ahead }: Stall): boolean {
  return stalled > STUCK_AFTER_S && ahead > 2;
}

/** Who has overtaken a quality waits this long, s, before going back to where it is. */
const OVERTOOK_AFTER_S = 0.5;
/** A playhead is this far, s, past media that it did not overtake: clocks of parts are rounded. */
const OVERTOOK_SLACK_S = 0.3;

/**
 * Whether playback waits for what this quality does not have yet, having played on in another: one
 * that is made from the source is later than the source, by more where the server is busy. Waiting
 * would take all of that time; going back shows it twice instead.
 */
export function overtook({ stalled, ahead }: Stall): boolean {
  return stalled > OVERTOOK_AFTER_S && ahead < -OVERTOOK_SLACK_S;
}
