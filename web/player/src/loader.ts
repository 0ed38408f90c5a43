import Hls from "hls.js";
import type {
  HlsConfig,
  LoaderCallbacks,
  LoaderConfiguration,
  PlaylistLoaderContext,
} from "hls.js";
import { take, type Early } from "./prefetch.ts";

const Base = Hls.DefaultConfig.loader as unknown as new (config: HlsConfig) => {
  stats: { loading: { start: number; first: number; end: number }; loaded: number; total: number };
  load(
    context: PlaylistLoaderContext,
    config: LoaderConfiguration,
    callbacks: LoaderCallbacks<PlaylistLoaderContext>,
  ): void;
  abort(): void;
  destroy(): void;
};

/** hls.js's loader for playlists, which first looks whether the page has asked already. */
export class PlaylistLoader extends Base {
  private gone = false;

  override load(
    context: PlaylistLoaderContext,
    config: LoaderConfiguration,
    callbacks: LoaderCallbacks<PlaylistLoaderContext>,
  ): void {
    const early = take(context.url);
    if (!early) return super.load(context, config, callbacks);
    early.text.then(
      (text) => this.gone || this.answer(early, text, context, callbacks),
      () => this.gone || super.load(context, config, callbacks),
    );
  }

  override abort(): void {
    this.gone = true;
    super.abort();
  }

  override destroy(): void {
    this.gone = true;
    super.destroy();
  }

  private answer(
    early: Early,
    text: string,
    context: PlaylistLoaderContext,
    callbacks: LoaderCallbacks<PlaylistLoaderContext>,
  ): void {
    const now = performance.now();
    Object.assign(this.stats.loading, { start: early.at, first: now, end: now });
    this.stats.loaded = this.stats.total = text.length;
    const response = { url: early.url, data: text, code: 200 };
    callbacks.onSuccess(response, this.stats as never, context, null);
  }
}
