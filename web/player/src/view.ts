import { ICONS } from "./icons.ts";
import { KEYS } from "./keys.ts";
import css from "./style.css?inline";

const helpRows = KEYS.map(({ label, does }) => {
  const keys = label
    .split(", ")
    .map((key) => `<kbd>${key}</kbd>`)
    .join(" ");
  return `<dt>${keys}</dt><dd>${does}</dd>`;
}).join("");

const HTML = `
<div class="frame" part="frame" data-state="idle">
  <video part="video" playsinline></video>
  <div class="notice" role="status" aria-live="polite">
    <span class="spinner" aria-hidden="true"></span>
    <strong class="title"></strong><span class="detail"></span>
    <button class="retry pill" type="button" hidden>Try now</button>
  </div>
  <button class="unmute pill" type="button" hidden>${ICONS.muted}<span>Tap to unmute</span></button>
  <button class="start" type="button" aria-label="Play" hidden>${ICONS.play}</button>
  <aside class="stats panel" aria-label="Statistics" hidden>
    <button class="close" type="button" aria-label="Close statistics">×</button><dl></dl>
  </aside>
  <aside class="help panel" aria-label="Keyboard" hidden>
    <button class="close" type="button" aria-label="Close keyboard help">×</button>
    <dl>${helpRows}</dl>
  </aside>
  <div class="bar" part="bar" role="group" aria-label="Player controls">
    <button class="toggle" type="button" aria-label="Play"></button>
    <button class="mute" type="button" aria-label="Mute"></button>
    <input class="volume" type="range" min="0" max="1" step="0.05" aria-label="Volume">
    <button class="live" type="button" disabled><i aria-hidden="true"></i><span>LIVE</span>
      <small></small></button>
    <span class="gap"></span>
    <select class="quality" aria-label="Quality" hidden></select>
    <button class="show-stats" type="button"
      aria-label="Statistics" aria-pressed="false">${ICONS.stats}</button>
    <button class="show-help" type="button"
      aria-label="Keyboard help" aria-pressed="false">${ICONS.help}</button>
    <button class="pip" type="button" aria-label="Picture in picture" hidden>${ICONS.pip}</button>
    <button class="full" type="button" aria-label="Full screen">${ICONS.enlarge}</button>
  </div>
</div>`;

/** The player's elements inside its shadow root. */
export type View = ReturnType<typeof build>;

/** Builds the controls; styles are a constructed sheet, which a strict style-src allows. */
export function build(root: ShadowRoot) {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(css);
  root.adoptedStyleSheets = [sheet];
  root.innerHTML = HTML;
  const find = <T extends HTMLElement>(selector: string): T => {
    const found = root.querySelector<T>(selector);
    if (!found) throw new Error(`the template has no ${selector}`);
    return found;
  };
  const button = (selector: string) => find<HTMLButtonElement>(selector);
  return {
    frame: find(".frame"),
    video: find<HTMLVideoElement>("video"),
    title: find(".title"),
    detail: find(".detail"),
    retry: button(".retry"),
    unmute: button(".unmute"),
    start: button(".start"),
    stats: find(".stats"),
    statsList: find<HTMLDListElement>(".stats dl"),
    help: find(".help"),
    toggle: button(".toggle"),
    mute: button(".mute"),
    volume: find<HTMLInputElement>(".volume"),
    live: button(".live"),
    behind: find(".live small"),
    quality: find<HTMLSelectElement>(".quality"),
    showStats: button(".show-stats"),
    showHelp: button(".show-help"),
    pip: button(".pip"),
    full: button(".full"),
  };
}
