/**
 * A head start: the manifest's JSON already holds the playlists, and names one object that is the init section and the first segment in one. It
 * is asked for while hls.js still sets itself up, so that a song sounds after two requests: the manifest, and that object. Each part is handed
 * over once, under the name hls.js asks for; whatever is missing or fails here is simply asked for again.
 */
import { bases } from '../bases';
import { RECEIPT_HEADER } from '../heartbeats/receipts';
import type { Manifest } from '../types';

/** A request that hangs is given up, and made again as any other is. */
const PATIENCE_MS = 8_000;

export interface Arrived {
  payload: string | ArrayBuffer | null;
  started: number;
  first: number;
  ended: number;
}

export class Warm {
  #waiting = new Map<string, Promise<Arrived>>();
  readonly #leaving = new AbortController();

  /** `onReceipt` hears of the receipts of segments that are fetched here. */
  constructor(
    manifest: Manifest,
    wishes: { start_ms: number; lossless: boolean },
    private readonly onReceipt: (receipt: string | null) => void = () => undefined,
  ) {
    const { first } = manifest;
    // Lossless is opened by its own playlist, of which the manifest holds nothing.
    if (!first || (wishes.lossless && manifest.lossless)) return;
    if (manifest.multivariant_playlist) this.#hold(manifest.playlist_url, manifest.multivariant_playlist);
    // Every rung has the same segments at the same instants, so one media playlist tells them all: a switch costs no request.
    for (const rung of manifest.allowed) {
      const playlist = first.media_playlist.replaceAll(`${first.rung}/`, `${rung}/`);
      this.#hold(manifest.playlist_url.replace(/[^/]*$/, `${rung}.m3u8`), playlist);
    }
    const fromTheStart = wishes.start_ms === 0;
    if (fromTheStart && first.url && first.init_bytes) {
      this.#expectBoth(first.url, first.init_bytes, first.init_url, first.segment_url);
      return;
    }
    this.#expect(first.init_url, this.#ask(first.init_url));
    if (fromTheStart) this.#expect(first.segment_url, this.#ask(first.segment_url));
  }

  take(url: string): Promise<Arrived> | undefined {
    const name = nameOf(url);
    const waiting = this.#waiting.get(name);
    this.#waiting.delete(name);
    return waiting;
  }

  /** The song is left: what is still on its way need not come. */
  cancel(): void {
    this.#leaving.abort();
    this.#waiting.clear();
  }

  #hold(url: string, payload: string): void {
    const now = performance.now();
    this.#expect(url, Promise.resolve({ payload, started: now, first: now, ended: now + 1 }));
  }

  #expectBoth(url: string, init_bytes: number, init_url: string, segment_url: string): void {
    const whole = this.#ask(url);
    const part = async (from: number, to?: number): Promise<Arrived> => {
      const arrived = await whole;
      const { payload } = arrived;
      const usable = payload instanceof ArrayBuffer && payload.byteLength > init_bytes;
      return { ...arrived, payload: usable ? payload.slice(from, to) : null };
    };
    this.#expect(init_url, part(0, init_bytes));
    this.#expect(segment_url, part(init_bytes));
  }

  #expect(url: string, arriving: Promise<Arrived>): void {
    this.#waiting.set(nameOf(url), arriving);
  }

  async #ask(url: string): Promise<Arrived> {
    const started = performance.now();
    let first = started;
    try {
      const signal = AbortSignal.any([this.#leaving.signal, AbortSignal.timeout(PATIENCE_MS)]);
      const answer = await fetch(bases.at(bases.current, url), { credentials: 'omit', signal });
      first = performance.now();
      const payload = answer.ok ? await answer.arrayBuffer() : null;
      this.onReceipt(answer.headers.get(RECEIPT_HEADER));
      return { payload, started, first, ended: performance.now() };
    } catch {
      return { payload: null, started, first, ended: performance.now() };
    }
  }
}

/** Relative or absolute, edge or gateway: the path is what names an object. */
function nameOf(url: string): string {
  return new URL(url, bases.edge).pathname;
}
