import Hls from "hls.js";
import type { LevelDetails, MediaFragment } from "hls.js";
import { beginning } from "./edge.ts";

/** What we use of hls.js's stream controllers, which its types keep to subclasses. */
interface Controller {
  hls: Hls;
  loadingParts: boolean;
  startPosition: number;
  nextLoadPosition: number;
  lastCurrentTime: number;
  fragmentTracker: { getState(fragment: MediaFragment): string };
  setStartPosition(details: LevelDetails, sliding: number): void;
  getNextFragment(position: number, details: LevelDetails): MediaFragment | null;
}

/** A segment of which all that was asked for is in the buffer. */
const COMPLETE = "OK";

/**
 * hls.js's controller of pictures (which lead) or sound, which begins at a keyframe and goes on
 * behind a hole.
 *
 * hls.js begins at the hold-back to the frame, wherever keyframes are. Here sound and pictures
 * begin together at a keyframe near it: nothing has to be decoded that is not shown.
 *
 * hls.js asks for the segment at the end of the buffer. If playback began within that segment,
 * and media is missing between it and the next, if only two frames, it gets a segment that it has
 * loaded already; it then waits until a later segment is whole, and playback stalls for two
 * segments. What it wants in that case is the next one.
 */
function ours<C>(base: C, leads: boolean): C {
  const Base = base as new (...args: unknown[]) => Controller;
  class Parts extends Base {
    override setStartPosition(details: LevelDetails, sliding: number): void {
      super.setStartPosition(details, sliding);
      if (!details.live || this.startPosition !== -1) return;
      const parts = (details.partList ?? []).filter(({ independent }) => independent);
      const keyframes = parts.map(({ start }) => start);
      const start = leads
        ? beginning(this.nextLoadPosition, keyframes, details.edge)
        : this.hls.startPosition;
      this.startPosition = this.nextLoadPosition = this.lastCurrentTime = start;
    }

    override getNextFragment(position: number, details: LevelDetails): MediaFragment | null {
      const found = super.getNextFragment(position, details);
      if (!found || !this.loadingParts || this.fragmentTracker.getState(found) !== COMPLETE)
        return found;
      const { fragments, fragmentHint } = details;
      const next = [...fragments.slice(-2), fragmentHint].find(
        (fragment) => fragment?.sn === found.sn + 1,
      );
      return (next as MediaFragment | undefined) ?? found;
    }
  }
  return Parts as C;
}

export const VideoParts = ours(Hls.DefaultConfig.streamController, true);
export const AudioParts = ours(Hls.DefaultConfig.audioStreamController, false);
