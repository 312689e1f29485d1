import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

/** Where `npm run dev` finds a running server. The built pages are same-origin and need no such thing. */
const server = process.env["WELL_DEV_SERVER"] ?? "http://127.0.0.1:4000";

export default defineConfig({
  plugins: [react()],
  build: {
    target: "es2022",
    // The Content-Security-Policy allows no `data:` scripts or styles, so nothing is inlined.
    assetsInlineLimit: 0,
  },
  server: {
    proxy: {
      "/api": server,
      "/yjs": { target: server, ws: true },
      "/well": { target: server, ws: true },
      "/webtransport.json": server,
      "/pit": {
        target: server,
        ws: true,
        // The same path is a page on a plain GET and a socket on upgrade: pages stay with Vite.
        bypass: (request) => (request.headers.upgrade === undefined ? "/index.html" : undefined),
      },
    },
  },
  test: {
    environment: "happy-dom",
    include: ["src/**/*.test.{ts,tsx}"],
    restoreMocks: true,
  },
});
