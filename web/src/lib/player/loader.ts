/**
 * How hls.js gets playlists and segments here: from whichever base works now. A request that fails at one base is made once at the other
 * before hls.js hears of it, so a dying edge costs one request, not the song; the position is never touched.
 * The playlists, the first init section and segment may be here already, or on their way: see `Warm`.
 */
import Hls, {
  type FragmentLoaderContext,
  type HlsConfig,
  type Loader,
  type LoaderCallbacks,
  type LoaderConfiguration,
  type LoaderContext,
  type LoaderStats,
} from 'hls.js/light';
import { bases, type BaseName } from '../bases';
import { RECEIPT_HEADER } from '../heartbeats/receipts';
import { nextObject } from './evidence';
import { onePathway } from './pathways';
import type { Warm } from './warm';

/** What an edge answers when it cannot reach its origin, and 0 for no answer at all. Anything else is an answer, and stands. */
const FAILED = new Set([0, 500, 502, 503, 504]);

/** `onReceipt` hears of the receipts of segments that are fetched here. */
export function loaderFor(warm: Warm, onReceipt: (receipt: string | null) => void = () => undefined) {
  return class BaseLoader implements Loader<LoaderContext> {
    context: LoaderContext | null = null;
    stats: LoaderStats;
    #inner: Loader<LoaderContext>;
    #over = false;

    constructor(private readonly config: HlsConfig) {
      this.#inner = this.#network();
      this.stats = this.#inner.stats;
    }

    load(context: LoaderContext, config: LoaderConfiguration, heard: LoaderCallbacks<LoaderContext>): void {
      this.context = context;
      const callbacks = isMultivariant(context) ? { ...heard, onSuccess: narrowed(heard.onSuccess) } : heard;
      const waiting = warm.take(context.url);
      if (!waiting) return this.#attempt(bases.current, context, config, callbacks, true);
      void waiting.then(({ payload, started, first, ended }) => {
        if (this.#over) return;
        const text = context.responseType !== 'arraybuffer';
        const usable = payload !== null && (text ? typeof payload === 'string' : payload instanceof ArrayBuffer);
        if (!usable) return this.#attempt(bases.current, context, config, callbacks, true);
        const length = typeof payload === 'string' ? payload.length : payload.byteLength;
        Object.assign(this.stats.loading, { start: started, first, end: ended });
        Object.assign(this.stats, { loaded: length, total: length, bwEstimate: (length * 8000) / Math.max(1, ended - first) });
        callbacks.onProgress?.(this.stats, context, payload, null);
        callbacks.onSuccess({ url: bases.at(bases.current, context.url), data: payload, code: 200 }, this.stats, context, null);
      });
    }

    abort(): void {
      this.#over = true;
      this.#inner.abort();
    }

    destroy(): void {
      this.#over = true;
      this.#inner.destroy();
    }

    getCacheAge(): number | null {
      return this.#inner.getCacheAge?.() ?? null;
    }

    getResponseHeader(name: string): string | null {
      return this.#inner.getResponseHeader?.(name) ?? null;
    }

    #network(): Loader<LoaderContext> {
      const Network = Hls.DefaultConfig.loader;
      return new Network(this.config) as Loader<LoaderContext>;
    }

    #attempt(base: BaseName, context: LoaderContext, config: LoaderConfiguration, callbacks: LoaderCallbacks<LoaderContext>, mayTurn: boolean): void {
      const url = bases.at(base, context.url);
      const other = mayTurn ? bases.other(base) : null;
      const turn = () => {
        if (this.#over || !other) return;
        bases.failed(base);
        this.#inner.destroy();
        this.#inner = this.#network();
        // hls.js holds on to the stats object it got first: the second request writes to the same.
        Object.assign(this.stats, { aborted: false, loaded: 0, retry: 0, total: 0 });
        Object.assign(this.stats.loading, { start: 0, first: 0, end: 0 });
        this.#inner.stats = this.stats;
        this.#attempt(other, context, config, callbacks, false);
      };
      // Retries at a base that may be dead would eat the buffer: where there is another base, the first failure turns to it.
      const policy = other ? { ...config, loadPolicy: { ...config.loadPolicy, errorRetry: null, timeoutRetry: null } } : { ...config };
      const headers = { ...context.headers, ...hintFor(base, context) };
      this.#inner.load({ ...context, url, headers }, policy, {
        ...callbacks,
        onSuccess: (response, stats, _context, details) => {
          if ('frag' in context) onReceipt(receiptOf(details as XMLHttpRequest | null));
          callbacks.onSuccess(response, stats, context, details);
        },
        onError: (error, _context, details, stats) =>
          other && FAILED.has(error.code) ? turn() : callbacks.onError(error, context, details, stats),
        onTimeout: (stats, _context, details) => (other ? turn() : callbacks.onTimeout(stats, context, details)),
      });
    }
  };
}

/** From the request itself: hls.js's own way to a header answers only those that are numbers. */
function receiptOf(details: XMLHttpRequest | null): string | null {
  return details?.getResponseHeader(RECEIPT_HEADER) ?? null;
}

function isMultivariant(context: LoaderContext): boolean {
  return 'type' in context && context.type === 'manifest';
}

function narrowed(onSuccess: LoaderCallbacks<LoaderContext>['onSuccess']): LoaderCallbacks<LoaderContext>['onSuccess'] {
  return (response, stats, context, details) => {
    const { data } = response;
    onSuccess(typeof data === 'string' ? { ...response, data: onePathway(data) } : response, stats, context, details);
  };
}

/** Which segment comes next. To the edge alone, where this page came from: elsewhere a header costs a preflight for every segment. */
function hintFor(base: BaseName, context: LoaderContext): Record<string, string> {
  const { frag } = context as Partial<FragmentLoaderContext>;
  const next = base === 'edge' && frag && !frag.endList ? nextObject(context.url) : null;
  return next ? { 'cmcd-request': next } : {};
}
