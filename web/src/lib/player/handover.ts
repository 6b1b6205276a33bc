/**
 * When the next song begins. `ended` is told some tens of milliseconds late, which is heard as a gap; so a song that is ready is begun by the
 * clock, and what is left of the one before fades into nothing under it. Comes from the playhead of the deck that is heard.
 */

/** The playhead is told four times a second: at least one of those falls into this much before the end. */
const NEAR_MS = 400;
/** From `play()` to sound. */
const LEAD_MS = 20;
/** A timer that finds more than this left was overtaken by a seek. */
const ROUNDING_MS = 80;

export type Playhead = Pick<HTMLAudioElement, 'duration' | 'currentTime' | 'paused' | 'playbackRate'>;

export class Handover {
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Called as the playhead moves: near the end, `begin` is set to the moment the song ends. */
  watch(heard: Playhead, begin: () => void): void {
    const left_ms = leftOf(heard);
    if (this.#timer !== undefined || heard.paused || !(left_ms < NEAR_MS)) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (isEnding(heard)) begin();
    }, Math.max(0, left_ms - LEAD_MS));
  }

  /** The song is over, or another one's turn has come. */
  cancel(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

/** What is left will have been heard before anyone could stop it. */
export function isEnding(heard: Playhead): boolean {
  return !heard.paused && leftOf(heard) < ROUNDING_MS;
}

function leftOf({ duration, currentTime, playbackRate }: Playhead): number {
  return ((duration - currentTime) * 1000) / playbackRate;
}
