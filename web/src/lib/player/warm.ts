/**
 * A head start: the manifest's JSON already holds the first media playlist and names the first init section and segment, so they
 * are asked for while hls.js still reads the multivariant playlist. Each is handed over once; whatever fails here is simply asked for again.
 */
import { bases } from '../bases';
import type { Manifest } from '../types';

export interface Arrived {
  payload: string | ArrayBuffer | null;
  started: number;
  first: number;
  ended: number;
}

export class Warm {
  #waiting = new Map<string, Promise<Arrived>>();

  constructor(manifest: Manifest, fromTheStart: boolean) {
    const { first } = manifest;
    if (!first) return;
    const playlist = manifest.playlist_url.replace(/[^/]*$/, `${first.rung}.m3u8`);
    const now = performance.now();
    this.#waiting.set(nameOf(playlist), Promise.resolve({ payload: first.media_playlist, started: now, first: now, ended: now + 1 }));
    this.#fetch(first.init_url);
    if (fromTheStart) this.#fetch(first.segment_url);
  }

  take(url: string): Promise<Arrived> | undefined {
    const name = nameOf(url);
    const waiting = this.#waiting.get(name);
    this.#waiting.delete(name);
    return waiting;
  }

  #fetch(url: string): void {
    this.#waiting.set(nameOf(url), arrive(bases.at(bases.current, url)));
  }
}

/** Relative or absolute, edge or gateway: the path is what names an object. */
function nameOf(url: string): string {
  return new URL(url, bases.edge).pathname;
}

async function arrive(url: string): Promise<Arrived> {
  const started = performance.now();
  let first = started;
  try {
    const answer = await fetch(url, { credentials: 'omit' });
    first = performance.now();
    const payload = answer.ok ? await answer.arrayBuffer() : null;
    return { payload, started, first, ended: performance.now() };
  } catch {
    return { payload: null, started, first, ended: performance.now() };
  }
}
