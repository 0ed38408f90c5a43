import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import type { Plugin } from "vite";

/**
 * hls.js ships "full" (190 kB gzip) and "light" (120 kB, without the alternate audio that our
 * one-track-per-playlist HLS needs). Its sources are in the package and are switched by these
 * constants, so we bundle them with what we use: low latency and alternate audio.
 */
const constants: Record<string, boolean> = {
  __USE_ALT_AUDIO__: true,
  __USE_MEDIA_CAPABILITIES__: false,
  __USE_SUBTITLES__: false,
  __USE_EME_DRM__: false,
  __USE_CMCD__: false,
  __USE_CONTENT_STEERING__: false,
  __USE_VARIABLE_SUBSTITUTION__: false,
  __USE_M2TS_ADVANCED_CODECS__: false,
  __USE_INTERSTITIALS__: false,
  __USE_IFRAMES__: false,
  __IN_WORKER__: false,
};

/** Demuxers of formats that our CMAF never carries; `probe` says "not mine". */
const unused = /demux\/(tsdemuxer|audio\/(aacdemuxer|mp3demuxer))/;
const stub = "export default class { static probe() { return false; } }";

const packageDir = dirname(createRequire(import.meta.url).resolve("hls.js/package.json"));
const { version } = createRequire(import.meta.url)("hls.js/package.json") as { version: string };

/** Vite plugin: `import Hls from "hls.js"` resolves to the tailored build. */
export function tailoredHls(): Plugin {
  return {
    name: "tailored-hls",
    enforce: "pre",
    config: () => ({
      define: {
        ...Object.fromEntries(Object.entries(constants).map(([k, v]) => [k, String(v)])),
        __VERSION__: JSON.stringify(version),
        __HLS_WORKER_BUNDLE__: "undefined",
      },
      optimizeDeps: { exclude: ["hls.js"] },
    }),
    load: (id) => (id.startsWith(packageDir) && unused.test(id) ? stub : null),
    resolveId: (id) => (id === "hls.js" ? join(packageDir, "src/hls.ts") : null),
  };
}
