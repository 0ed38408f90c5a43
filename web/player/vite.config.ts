import { defineConfig } from "vite";
import { tailoredHls } from "./hls_build.ts";

/** The player alone, for embedding in any page: one ES module, `streamr-player.js`. */
export default defineConfig({
  root: import.meta.dirname,
  plugins: [tailoredHls()],
  build: {
    outDir: "../dist/embed",
    emptyOutDir: true,
    target: "es2022",
    rolldownOptions: { output: { minify: true } },
    lib: { entry: "src/index.ts", formats: ["es"], fileName: () => "streamr-player.js" },
  },
});
