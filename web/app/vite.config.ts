import { readFileSync } from "node:fs";
import { join } from "node:path";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig, type Plugin } from "vite";
import { tailoredHls } from "../player/hls_build.ts";

/** A page's file holds what is its own in the head; page.html is the rest, once for all. */
function framedPages(): Plugin {
  const frame = readFileSync(join(import.meta.dirname, "page.html"), "utf8");
  return {
    name: "framed-pages",
    transformIndexHtml: {
      order: "pre",
      handler: (html) => frame.replace("<!-- page -->", () => html.trim()),
    },
  };
}

/**
 * The entry decides by path which page to load, so that the playlist's request leaves before any
 * other code has arrived. These links let that page's chunks load beside the entry, not after it.
 */
function preloadPages(pages: Record<string, string>): Plugin {
  return {
    name: "preload-pages",
    transformIndexHtml: {
      order: "post",
      handler(_html, { filename, bundle }) {
        const page = Object.entries(pages).find(([html]) => filename.endsWith(html))?.[1];
        const chunks = Object.values(bundle ?? {}).filter((output) => output.type === "chunk");
        const chunk = chunks.find((output) => output.facadeModuleId?.endsWith(page ?? "\0"));
        if (!chunk) return [];
        return [chunk.fileName, ...chunk.imports].map((file) => ({
          tag: "link",
          attrs: { rel: "modulepreload", crossorigin: true, href: `/${file}` },
          injectTo: "head" as const,
        }));
      },
    },
  };
}

/** Static pages for the server to serve; see web/README.md for which path gets which. */
export default defineConfig({
  root: import.meta.dirname,
  plugins: [
    svelte(),
    tailoredHls(),
    framedPages(),
    preloadPages({
      "index.html": "src/home.ts",
      "watch.html": "src/watch.ts",
      "404.html": "src/missing.ts",
    }),
  ],
  build: {
    outDir: "../dist",
    emptyOutDir: true,
    target: "es2022",
    cssCodeSplit: false,
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0, // data: addresses would need an exception in the content security policy
    rolldownOptions: {
      input: ["index.html", "watch.html", "404.html"].map((page) => `app/${page}`),
    },
  },
});
