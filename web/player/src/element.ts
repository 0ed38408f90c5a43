import { atEdge } from "./edge.ts";
import { behind } from "./format.ts";
import { ICONS } from "./icons.ts";
import { commandOf, type Command } from "./keys.ts";
import type { Metrics } from "./metrics.ts";
import { Session, type State } from "./session.ts";
import { statsRows } from "./stats.ts";
import { build, type View } from "./view.ts";

const CONTROLS_HIDE_MS = 3000;
const REFRESH_MS = 500;
/** A short wait needs no words; a longer one says what we wait for. */
const EXPLAIN_WAIT_MS = 3000;
const SEEK_S = 5;
const VOLUME_STEP = 0.1;
const VOLUME_KEY = "streamr-volume";

const NOTICES: Partial<Record<State, [title: string, detail: string]>> = {
  offline: ["The stream is offline", "It will start here by itself as soon as it is live."],
  reconnecting: ["Connection lost", "Trying again. Playback goes on by itself."],
};

/**
 * `<streamr-player src="…/index.m3u8">`: a live player with its controls.
 *
 * Attributes, methods and events are listed in web/README.md.
 */
export class StreamrPlayer extends HTMLElement {
  static readonly observedAttributes = ["src", "poster", "latency"];

  private readonly view: View;
  private session: Session | null = null;
  private listeners = new AbortController();
  private refreshTimer = 0;
  private hideTimer = 0;
  private waitingSince = 0;
  private lastState: State = "idle";

  constructor() {
    super();
    this.view = build(this.attachShadow({ mode: "open" }));
  }

  /** Address of the multivariant playlist; setting it starts playback. */
  get src(): string {
    return this.getAttribute("src") ?? "";
  }

  set src(value: string) {
    this.setAttribute("src", value);
  }

  get state(): State {
    return this.session?.state ?? "idle";
  }

  /** How playback goes, as of now; null before the element is in a page. */
  get metrics(): Metrics | null {
    return this.session?.metrics() ?? null;
  }

  /** The inner media element, for captions, analysis and tests. */
  get video(): HTMLVideoElement {
    return this.view.video;
  }

  get muted(): boolean {
    return this.view.video.muted;
  }

  set muted(value: boolean) {
    this.view.video.muted = value;
  }

  get volume(): number {
    return this.view.video.volume;
  }

  set volume(value: number) {
    this.view.video.volume = Math.min(1, Math.max(0, value));
  }

  connectedCallback(): void {
    if (!this.hasAttribute("tabindex")) this.tabIndex = 0;
    if (!this.hasAttribute("role")) this.setAttribute("role", "region");
    if (!this.hasAttribute("aria-label")) this.setAttribute("aria-label", "Live video player");
    this.listeners = new AbortController();
    const { video } = this.view;
    video.muted = this.hasAttribute("muted");
    video.volume = storedVolume();
    this.session = new Session(
      video,
      () => this.render(),
      () => void this.play(),
    );
    this.listen();
    this.refreshTimer = window.setInterval(() => this.refresh(), REFRESH_MS);
    this.load();
  }

  disconnectedCallback(): void {
    this.listeners.abort();
    clearInterval(this.refreshTimer);
    clearTimeout(this.hideTimer);
    this.session?.destroy();
    this.session = null;
  }

  attributeChangedCallback(name: string, before: string | null, after: string | null): void {
    if (before === after) return;
    if (name === "poster") this.view.video.poster = after ?? "";
    else this.load();
  }

  /** Opens `src` anew at its live edge. */
  load(): void {
    if (!this.session) return;
    if (!this.src) return this.session.close();
    const latency = this.getAttribute("latency");
    this.session.latency = latency === "realtime" || latency === "normal" ? latency : "low";
    this.session.wantsPlay = this.getAttribute("autoplay") !== "false";
    this.session.open(this.src);
  }

  /** Plays; muted if the browser allows no sound without a gesture. */
  async play(): Promise<void> {
    const { video } = this.view;
    if (this.session) this.session.wantsPlay = true;
    try {
      await video.play();
    } catch (error) {
      if ((error as DOMException).name !== "NotAllowedError" || video.muted) return;
      video.muted = true;
      await video.play().catch(() => {});
    }
    this.render();
  }

  pause(): void {
    if (this.session) Object.assign(this.session, { following: false, wantsPlay: false });
    this.view.video.pause();
  }

  /** Goes to the live edge and plays. */
  seekToLive(): void {
    this.session?.toEdge();
    void this.play();
  }

  private listen(): void {
    const { view } = this;
    const { signal } = this.listeners;
    const click = (target: HTMLElement, command: () => void) =>
      target.addEventListener("click", command, { signal });
    click(view.toggle, () => this.run("toggle"));
    click(view.start, () => this.run("toggle"));
    click(view.mute, () => this.run("mute"));
    click(view.unmute, () => this.unmute());
    click(view.live, () => this.run("live"));
    click(view.retry, () => this.load());
    click(view.showStats, () => this.run("stats"));
    click(view.showHelp, () => this.run("help"));
    click(view.stats.querySelector("button")!, () => this.run("stats"));
    click(view.help.querySelector("button")!, () => this.run("help"));
    click(view.pip, () => this.run("pip"));
    click(view.full, () => this.run("fullscreen"));
    view.volume.addEventListener("input", () => this.setVolume(Number(view.volume.value)), {
      signal,
    });
    view.quality.addEventListener("change", () => this.choose(), { signal });
    this.listenToMedia();
    this.listenToPointer();
    const keys: EventTarget = this.getAttribute("hotkeys") === "page" ? document : this;
    keys.addEventListener("keydown", (event) => this.press(event as KeyboardEvent), { signal });
  }

  private listenToMedia(): void {
    const { view } = this;
    const { signal } = this.listeners;
    for (const type of ["volumechange", "play", "pause", "loadedmetadata", "resize"])
      view.video.addEventListener(type, () => this.render(), { signal });
    document.addEventListener("fullscreenchange", () => this.render(), { signal });
    view.pip.hidden = !document.pictureInPictureEnabled;
  }

  private listenToPointer(): void {
    const { frame, video } = this.view;
    const { signal } = this.listeners;
    const wake = () => this.wake();
    for (const type of ["pointermove", "pointerdown", "focusin"])
      frame.addEventListener(type, wake, { signal });
    frame.addEventListener("pointerleave", () => frame.classList.toggle("idle", this.mayHide()), {
      signal,
    });
    // A finger's tap shows the controls; a mouse's click plays or pauses.
    video.addEventListener(
      "click",
      (event) => {
        if ((event as PointerEvent).pointerType !== "touch") this.run("toggle");
      },
      { signal },
    );
    video.addEventListener("dblclick", () => this.run("fullscreen"), { signal });
  }

  private press(event: KeyboardEvent): void {
    if (event.defaultPrevented) return;
    const target = event.composedPath()[0];
    const slider = target instanceof HTMLInputElement && target.type === "range";
    const name = slider ? "range" : target instanceof Element ? target.tagName : "";
    const command = commandOf(event, name);
    if (!command) return;
    event.preventDefault();
    this.wake();
    this.run(command);
  }

  private run(command: Command): void {
    const { view } = this;
    const commands: Record<Command, () => void> = {
      toggle: () => (view.video.paused ? void this.play() : this.pause()),
      mute: () => (this.silent ? this.unmute() : (this.muted = true)),
      louder: () => this.setVolume(view.video.volume + VOLUME_STEP),
      softer: () => this.setVolume(view.video.volume - VOLUME_STEP),
      back: () => this.seekBy(-SEEK_S),
      forward: () => this.seekBy(SEEK_S),
      live: () => this.seekToLive(),
      fullscreen: () => void this.toggleFullscreen(),
      pip: () => void this.togglePip(),
      stats: () => this.show(view.stats, view.help),
      help: () => this.show(view.help, view.stats),
      close: () => this.show(null, view.stats, view.help),
    };
    commands[command]();
  }

  private show(panel: HTMLElement | null, ...others: HTMLElement[]): void {
    for (const other of others) other.hidden = true;
    if (panel) panel.hidden = !panel.hidden;
    this.render();
    this.refresh();
  }

  private seekBy(delta: number): void {
    const { video } = this.view;
    const { buffered } = video;
    if (!this.session || buffered.length === 0) return;
    const wanted = video.currentTime + delta;
    if (delta > 0 && wanted >= buffered.end(buffered.length - 1) - 0.5) return this.seekToLive();
    this.session.following = false;
    video.currentTime = Math.max(wanted, buffered.start(0));
  }

  private get silent(): boolean {
    return this.muted || this.volume === 0;
  }

  private unmute(): void {
    const { video } = this.view;
    video.muted = false;
    if (video.volume === 0) video.volume = 0.5;
    void this.play();
  }

  private setVolume(volume: number): void {
    this.volume = volume;
    this.muted = this.volume === 0;
    try {
      localStorage.setItem(VOLUME_KEY, String(this.volume));
    } catch {
      // Storage may be forbidden; the volume then holds for this page only.
    }
  }

  private choose(): void {
    const { quality } = this.view;
    if (this.session) this.session.quality = Number(quality.value);
    quality.blur(); // so that the next key is the player's again
  }

  private async toggleFullscreen(): Promise<void> {
    const { video } = this.view;
    const apple = video as { webkitEnterFullscreen?(): void };
    if (document.fullscreenElement) await document.exitFullscreen();
    else if (this.requestFullscreen) await this.requestFullscreen().catch(() => {});
    else apple.webkitEnterFullscreen?.();
  }

  private async togglePip(): Promise<void> {
    if (document.pictureInPictureElement) await document.exitPictureInPicture();
    else await this.view.video.requestPictureInPicture?.().catch(() => {});
  }

  private wake(): void {
    const { frame } = this.view;
    frame.classList.remove("idle");
    clearTimeout(this.hideTimer);
    this.hideTimer = window.setTimeout(
      () => frame.classList.toggle("idle", this.mayHide()),
      CONTROLS_HIDE_MS,
    );
  }

  private mayHide(): boolean {
    const focused = this.shadowRoot?.activeElement?.matches(":focus-visible") ?? false;
    return this.state === "playing" && !focused && this.view.help.hidden === true;
  }

  /** Brings the controls in line with the session; cheap, called at every change. */
  private render(): void {
    const { session, view } = this;
    if (!session) return;
    const { video } = view;
    this.announce(session.state);
    view.frame.dataset.state = session.state;
    view.toggle.innerHTML = video.paused ? ICONS.play : ICONS.pause;
    view.toggle.setAttribute("aria-label", video.paused ? "Play" : "Pause");
    const { silent } = this;
    view.mute.innerHTML = silent ? ICONS.muted : ICONS.volume;
    view.mute.setAttribute("aria-label", silent ? "Unmute" : "Mute");
    view.volume.value = String(video.muted ? 0 : video.volume);
    const open = session.state !== "error" && session.state !== "offline";
    view.unmute.hidden = !(video.muted && !video.paused && open);
    view.start.hidden = !(video.paused && video.readyState > 1 && open);
    view.showStats.setAttribute("aria-pressed", String(!view.stats.hidden));
    view.showHelp.setAttribute("aria-pressed", String(!view.help.hidden));
    const full = document.fullscreenElement === this;
    view.full.innerHTML = full ? ICONS.shrink : ICONS.enlarge;
    view.full.setAttribute("aria-label", full ? "Leave full screen" : "Full screen");
    this.renderNotice(session);
    this.renderQualities(session);
  }

  private announce(state: State): void {
    if (state === this.lastState) return;
    this.lastState = state;
    this.waitingSince = performance.now();
    this.wake();
    this.dispatchEvent(new CustomEvent("statechange", { detail: { state } }));
  }

  private renderNotice({ state, problem }: Session): void {
    const { view } = this;
    const waited = performance.now() - this.waitingSince > EXPLAIN_WAIT_MS;
    const notice: [string, string] =
      state === "error"
        ? ["This stream cannot be played", problem]
        : state === "buffering" && waited
          ? ["", "Waiting for the picture to continue …"]
          : (NOTICES[state] ?? ["", ""]);
    [view.title.textContent, view.detail.textContent] = notice;
    view.retry.hidden = state !== "error" && state !== "reconnecting";
  }

  private renderQualities({ qualities, quality }: Session): void {
    const select = this.view.quality;
    select.hidden = qualities.length < 3; // automatic and one quality: nothing to choose
    const labels = qualities.map(({ label }) => label).join();
    if (select.dataset.labels !== labels) {
      select.dataset.labels = labels;
      select.replaceChildren(
        ...qualities.map(({ index, label }) => new Option(label, String(index))),
      );
    }
    select.value = String(quality);
  }

  /** What changes with time: the distance from live, the waiting text, the statistics. */
  private refresh(): void {
    const { session, view } = this;
    if (!session) return;
    const latency = session.edgeLatency;
    const target = session.targetLatency ?? 0;
    const position = { latency: latency ?? 0, target, following: session.following };
    const live = latency !== null && session.state !== "offline" && atEdge(position);
    if (live && session.state === "playing") session.following = true;
    view.live.disabled = latency === null;
    view.live.classList.toggle("at-edge", live && session.state === "playing");
    view.behind.textContent = latency === null || live ? "" : behind(latency);
    view.live.setAttribute("aria-label", live ? "At the live edge" : "Go to the live edge");
    if (session.state === "buffering") this.renderNotice(session);
    if (!view.stats.hidden) this.renderStats(session.metrics());
  }

  private renderStats(metrics: Metrics): void {
    const cells = statsRows(metrics).flatMap(([label, value]) => {
      const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
      [dt.textContent, dd.textContent] = [label, value];
      return [dt, dd];
    });
    this.view.statsList.replaceChildren(...cells);
  }
}

function storedVolume(): number {
  try {
    const stored = Number(localStorage.getItem(VOLUME_KEY) ?? 1);
    return stored > 0 && stored <= 1 ? stored : 1;
  } catch {
    return 1;
  }
}
