/**
 * One of the page's two <audio> elements and the song on it. One deck plays while the next song is made ready on the other, so that a song
 * begins where the one before ends, without a new player being set up in between.
 */
import type { Manifest } from '../types';
import { volumeFor } from './loudness';
import type { Source } from './source';

export class Deck {
  manifest: Manifest | null = null;
  /** What is heard, or what will be first. */
  rung: string | null = null;
  #source: Source | null = null;

  constructor(readonly audio: HTMLAudioElement) {}

  get source(): Source | null {
    return this.#source;
  }

  put(manifest: Manifest, rung: string, open: () => Source): void {
    this.close();
    this.manifest = manifest;
    this.rung = rung;
    this.#source = open();
  }

  /** Silence. The manifest's loudness is forgotten with the song. */
  close(): void {
    this.#source?.destroy();
    this.#source = null;
    this.manifest = null;
    this.rung = null;
  }

  setVolume(wanted: number, muted: boolean): void {
    this.audio.volume = volumeFor(wanted, this.manifest?.loudness?.gain_db ?? null);
    this.audio.muted = muted;
  }

  /** The end, in ms, of the buffered range that the playhead is in. */
  buffered_ms(): number {
    const { buffered, currentTime } = this.audio;
    for (let i = 0; i < buffered.length; i++) {
      if (buffered.start(i) <= currentTime + 0.1 && currentTime <= buffered.end(i)) return buffered.end(i) * 1000;
    }
    return currentTime * 1000;
  }
}
