/**
 * hls.js's own rate adaptation: `AbrController` with its `EwmaBandWidthEstimator`, bundled from the TypeScript in the npm package, and the
 * package's own default configuration. The only thing changed is the time: `self` and `performance` are the simulation's clock.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import Hls from 'hls.js';

const require = createRequire(import.meta.url);
const source = join(dirname(require.resolve('hls.js/package.json')), 'src');

/** What hls.js's own build switches with; of all of it rate adaptation asks for one. */
const SWITCHES = ['__USE_MEDIA_CAPABILITIES__', '__USE_EME_DRM__', '__USE_ALT_AUDIO__', '__USE_VARIABLE_SUBSTITUTION__', '__IN_WORKER__'];

const ENTRY = `
export { default as AbrController } from './controller/abr-controller';
export { Events } from './events';
export { ErrorDetails } from './errors';
`;

async function load() {
  const folder = await mkdtemp(join(dirname(fileURLToPath(import.meta.url)), '../node_modules/.abr-'));
  try {
    const outfile = join(folder, 'abr.mjs');
    await build({
      stdin: { contents: ENTRY, resolveDir: source },
      bundle: true,
      format: 'esm',
      outfile,
      logLevel: 'error',
      define: {
        'performance.now': 'globalThis.__simulation.now',
        self: 'globalThis.__simulation',
        ...Object.fromEntries(SWITCHES.map((name) => [name, 'false'])),
      },
    });
    return await import(pathToFileURL(outfile));
  } finally {
    await rm(folder, { recursive: true });
  }
}

export const { AbrController, Events, ErrorDetails } = await load();
export const DEFAULTS = Hls.DefaultConfig;

/** Makes `clock` the time that hls.js's code lives in. One simulation runs at a time. */
export function enter(clock) {
  globalThis.__simulation = {
    now: () => clock.now_ms,
    performance: { now: () => clock.now_ms },
    setTimeout: (call, ms) => clock.after(ms, call),
    setInterval: (call, ms) => clock.every(ms, call),
    clearTimeout: (id) => clock.cancel(id),
    clearInterval: (id) => clock.cancel(id),
  };
}
