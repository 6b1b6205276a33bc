/**
 * The two addresses that serve the same signed paths: the edge this page came from, and the gateway behind it, learnt from a
 * manifest and remembered. Whoever asks for something says which base failed; everyone else follows.
 */

const KEY = 'antiphon.gateway';
/** How long the gateway is used before the edge is asked again whether it lives. */
const PROBE_EVERY_MS = 15_000;
const PROBE_TIMEOUT_MS = 3_000;

export type BaseName = 'edge' | 'gateway';
type Listener = (current: BaseName) => void;

export class Bases {
  readonly edge: string;
  #gateway: string | null;
  #current: BaseName = 'edge';
  #listeners = new Set<Listener>();
  #probe: ReturnType<typeof setTimeout> | undefined;

  constructor(
    edge: string,
    private readonly memory: Pick<Storage, 'getItem' | 'setItem'> | null,
  ) {
    this.edge = edge;
    this.#gateway = memory?.getItem(KEY) ?? null;
  }

  get current(): BaseName {
    return this.#current;
  }

  get gateway(): string | null {
    return this.#gateway;
  }

  origin(base: BaseName = this.#current): string {
    return base === 'gateway' && this.#gateway ? this.#gateway : this.edge;
  }

  other(base: BaseName): BaseName | null {
    if (base === 'gateway') return 'edge';
    return this.#gateway ? 'gateway' : null;
  }

  /** The manifest names the gateway's address in `fallback_playlist_url`. */
  learn(fallback: string | null): void {
    if (!fallback) return;
    const origin = new URL(fallback, this.edge).origin;
    if (origin === this.edge || origin === this.#gateway) return;
    this.#gateway = origin;
    this.memory?.setItem(KEY, origin);
  }

  /** `url` at `base`, if it is one of the paths both serve; any other URL unchanged. */
  at(base: BaseName, url: string): string {
    const parsed = new URL(url, this.edge);
    const ours = parsed.origin === this.edge || parsed.origin === this.#gateway;
    if (!ours || !parsed.pathname.startsWith('/v1/')) return parsed.href;
    return this.origin(base) + parsed.pathname + parsed.search;
  }

  failed(base: BaseName): void {
    const next = this.other(base);
    if (base !== this.#current || !next) return;
    this.#use(next);
  }

  subscribe(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #use(base: BaseName): void {
    this.#current = base;
    console.warn(`antiphon: now using the ${base} at ${this.origin(base)}`);
    for (const listener of this.#listeners) listener(base);
    clearTimeout(this.#probe);
    if (base === 'gateway') this.#probe = setTimeout(() => void this.#tryEdge(), PROBE_EVERY_MS);
  }

  async #tryEdge(): Promise<void> {
    try {
      const answer = await fetch(`${this.edge}/healthz`, { cache: 'no-store', signal: AbortSignal.timeout(PROBE_TIMEOUT_MS) });
      if (answer.ok) return this.#use('edge');
    } catch {
      // Still down: the next probe asks again.
    }
    this.#probe = setTimeout(() => void this.#tryEdge(), PROBE_EVERY_MS);
  }
}

function pageStorage(): Storage | null {
  try {
    return globalThis.localStorage ?? null;
  } catch {
    return null; // storage is switched off in this browser
  }
}

export const bases = new Bases(globalThis.location?.origin ?? 'http://localhost', pageStorage());
