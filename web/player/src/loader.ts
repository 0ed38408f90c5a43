import Hls from "hls.js";
import type { HlsConfig, LoaderCallbacks, LoaderConfiguration, LoaderContext } from "hls.js";
import { take, type Early } from "./prefetch.ts";

const Base = Hls.DefaultConfig.loader as unknown as new (config: HlsConfig) => {
  stats: { loading: { start: number; first: number; end: number }; loaded: number; total: number };
  load(
    context: LoaderContext,
    config: LoaderConfiguration,
    callbacks: LoaderCallbacks<LoaderContext>,
  ): void;
  abort(): void;
  destroy(): void;
};

/** hls.js's loader, which first looks whether the page has asked already. */
export class EarlyLoader extends Base {
  private gone = false;

  override load(
    context: LoaderContext,
    config: LoaderConfiguration,
    callbacks: LoaderCallbacks<LoaderContext>,
  ): void {
    const early = take(context.url);
    if (!early) return super.load(context, config, callbacks);
    early.body.then(
      (body) => this.gone || this.answer(early, body, context, callbacks),
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
    body: ArrayBuffer,
    context: LoaderContext,
    callbacks: LoaderCallbacks<LoaderContext>,
  ): void {
    const { start, first, end } = early;
    Object.assign(this.stats.loading, { start, first, end });
    this.stats.loaded = this.stats.total = body.byteLength;
    const data = context.responseType === "arraybuffer" ? body : new TextDecoder().decode(body);
    callbacks.onSuccess({ url: early.url, data, code: 200 }, this.stats as never, context, null);
  }
}
