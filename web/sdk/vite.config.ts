import { defineConfig } from "vite";

/** The client alone, for any page: one ES module, `psyne.js`, without dependencies. */
export default defineConfig({
  root: import.meta.dirname,
  build: {
    outDir: "../dist/sdk",
    emptyOutDir: true,
    target: "es2022",
    rolldownOptions: { output: { minify: true } },
    lib: { entry: "src/index.ts", formats: ["es"], fileName: () => "psyne.js" },
  },
});
