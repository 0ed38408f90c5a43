/** Importing this module defines `<streamr-player>`. */
import { StreamrPlayer } from "./element.ts";

export { StreamrPlayer };
export type { Metrics } from "./metrics.ts";
export type { State } from "./session.ts";

if (!customElements.get("streamr-player")) customElements.define("streamr-player", StreamrPlayer);

declare global {
  interface HTMLElementTagNameMap {
    "streamr-player": StreamrPlayer;
  }
}
