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
