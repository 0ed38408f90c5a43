/** What the keyboard can do; the help overlay and README list the same table. */
export type Command =
  | "toggle"
  | "mute"
  | "fullscreen"
  | "pip"
  | "live"
  | "stats"
  | "help"
  | "back"
  | "forward"
  | "louder"
  | "softer"
  | "close";

export const KEYS: readonly {
  keys: readonly string[];
  label: string;
  does: string;
  command: Command;
}[] = [
  { keys: [" ", "k"], label: "Space, K", does: "Play or pause", command: "toggle" },
  { keys: ["m"], label: "M", does: "Mute or unmute", command: "mute" },
  { keys: ["ArrowUp"], label: "↑", does: "Louder", command: "louder" },
  { keys: ["ArrowDown"], label: "↓", does: "Softer", command: "softer" },
  { keys: ["ArrowLeft"], label: "←", does: "Back 5 seconds", command: "back" },
  { keys: ["ArrowRight"], label: "→", does: "Forward 5 seconds", command: "forward" },
  { keys: ["l"], label: "L", does: "Go to the live edge", command: "live" },
  { keys: ["f"], label: "F", does: "Full screen", command: "fullscreen" },
  { keys: ["p"], label: "P", does: "Picture in picture", command: "pip" },
  { keys: ["s"], label: "S", does: "Statistics", command: "stats" },
  { keys: ["?"], label: "?", does: "This list", command: "help" },
  { keys: ["Escape"], label: "Esc", does: "Close what is open", command: "close" },
];

/**
 * Controls that use some keys themselves, by tag name: what they keep, the player does not take.
 */
const KEPT: Record<string, (key: string) => boolean> = {
  button: (key) => key === " " || key === "Enter",
  a: (key) => key === "Enter",
  select: () => true,
  textarea: () => true,
  input: () => true,
  range: (key) => key.startsWith("Arrow"),
};

/** The part of a KeyboardEvent that decides. */
export interface Press {
  key: string;
  ctrlKey?: boolean;
  altKey?: boolean;
  metaKey?: boolean;
}

/** The command of a key press that landed on `target` (its tag name;
 * `range` for a slider), or null if it is not ours. */
export function commandOf(press: Press, target = ""): Command | null {
  if (press.ctrlKey || press.altKey || press.metaKey) return null;
  if (KEPT[target.toLowerCase()]?.(press.key)) return null;
  const key = press.key.length === 1 ? press.key.toLowerCase() : press.key;
  return KEYS.find((entry) => entry.keys.includes(key))?.command ?? null;
}
