import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

// The page is static files with hashed names, served by the edge. In development ANTIPHON_EDGE names a running edge to talk to.
const edge = process.env.ANTIPHON_EDGE ?? 'http://127.0.0.1:8787';

export default defineConfig({
  plugins: [svelte()],
  build: { target: 'es2022', sourcemap: false, chunkSizeWarningLimit: 700, modulePreload: { polyfill: false } },
  server: { host: '127.0.0.1', proxy: { '/v1': edge } },
  test: { include: ['src/**/*.test.ts'], environment: 'node' },
});
