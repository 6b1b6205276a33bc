// Serves worker.js through the workerd and Miniflare of the pinned wrangler, as edge/serve.mjs serves the edge, for `bench ttfb`.
//
//   node bench/empty-worker/serve.mjs
//
// One JSON line on stdout says that it serves: {"ready":true,"url":...}. It ends when its stdin does, so it never outlives the bench.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

process.env.WRANGLER_SEND_METRICS = 'false';
process.env.CLOUDFLARE_CF_FETCH_ENABLED = 'false';

const here = path.dirname(fileURLToPath(import.meta.url));
const fromEdge = createRequire(path.join(here, '../../edge/package.json'));
const { Miniflare, Log, LogLevel, convertV4MiniflareOptions } = createRequire(fromEdge.resolve('wrangler'))('miniflare');

const miniflare = new Miniflare(
  convertV4MiniflareOptions({
    host: '127.0.0.1',
    port: 0,
    log: new Log(LogLevel.WARN),
    logRequests: false,
    cf: false,
    modules: true,
    script: readFileSync(path.join(here, 'worker.js'), 'utf8'),
    compatibilityDate: '2026-11-01',
  }),
);
const url = await miniflare.ready;
process.stdout.write(`${JSON.stringify({ ready: true, url: url.origin })}\n`);

process.stdin.resume();
process.stdin.on('end', () => void miniflare.dispose().finally(() => process.exit(0)));
