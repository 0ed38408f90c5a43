import Hls from "hls.js";
import type { LevelDetails, MediaFragment } from "hls.js";

/** What we use of hls.js's stream controllers, which its types keep to subclasses. */
interface Controller {
  loadingParts: boolean;
  fragmentTracker: { getState(fragment: MediaFragment): string };
  getNextFragment(position: number, details: LevelDetails): MediaFragment | null;
}

/** A segment of which all that was asked for is in the buffer. */
const COMPLETE = "OK";

/**
 * hls.js's controller of pictures or sound, which goes on behind a hole.
 *
 * hls.js asks for the segment at the end of the buffer. If playback began within that segment,
 * and media is missing between it and the next, if only two frames, it gets a segment that it has
 * loaded already; it then waits until a later segment is whole, and playback stalls for two
 * segments. What it wants in that case is the next one.
 */
function goesOn<C>(base: C): C {
  const Base = base as new (...args: unknown[]) => Controller;
  class Parts extends Base {
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

export const VideoParts = goesOn(Hls.DefaultConfig.streamController);
export const AudioParts = goesOn(Hls.DefaultConfig.audioStreamController);
