/**
 * When the next song begins. `ended` is told some tens of milliseconds late, and from `play()` to sound it takes some more, which is heard as a
 * gap; so a song that is ready is begun by the clock, ahead by what its predecessors took, and the last moment of the one before goes on under
 * it. Comes from the playhead of the deck that is heard.
 */

/** The playhead is told four times a second: at least one of those falls into this much before the end. */
const NEAR_MS = 500;
/** From `play()` to sound, before this page has measured it. */
const LEAD_MS = 50;
/** A measurement beyond this was of something else. */
const LEAD_MS_MAX = 150;
/** The clock of a song that has just begun is not steady yet. */
const STEADY_MS = 150;
/** A timer that finds more than this left was overtaken by a seek. */
const LAST_MOMENT_MS = 250;

export type Playhead = Pick<HTMLAudioElement, 'duration' | 'currentTime' | 'paused' | 'playbackRate'>;

export class Handover {
  #timer: ReturnType<typeof setTimeout> | undefined;
  #lead_ms = LEAD_MS;
  #started: { at_ms: number; from_s: number } | null = null;

  /** `play()` is called, on what is ready to sound. */
  starts(heard: Playhead, now_ms: number): void {
    this.#started = { at_ms: now_ms, from_s: heard.currentTime };
  }

  /** The playhead moved. Near the end, `begin` is set to the moment the song ends. */
  moves(heard: Playhead, now_ms: number, begin: (() => void) | null): void {
    this.#measure(heard, now_ms);
    const left_ms = leftOf(heard);
    if (!begin || this.#timer !== undefined || heard.paused || !(left_ms < NEAR_MS)) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (isEnding(heard)) begin();
    }, Math.max(0, left_ms - this.#lead_ms));
  }

  /** The song is over, or another one's turn has come. */
  cancel(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#started = null;
  }

  #measure(heard: Playhead, now_ms: number): void {
    if (!this.#started) return;
    const moved_ms = (heard.currentTime - this.#started.from_s) * 1000;
    if (moved_ms >= 0 && moved_ms < STEADY_MS) return;
    const took_ms = now_ms - moved_ms - this.#started.at_ms;
    if (took_ms >= 0 && took_ms <= LEAD_MS_MAX) this.#lead_ms = took_ms;
    this.#started = null;
  }
}

/** What is left will have been heard before anyone could stop it. */
export function isEnding(heard: Playhead): boolean {
  return !heard.paused && leftOf(heard) < LAST_MOMENT_MS;
}

function leftOf({ duration, currentTime, playbackRate }: Playhead): number {
  return ((duration - currentTime) * 1000) / playbackRate;
}
