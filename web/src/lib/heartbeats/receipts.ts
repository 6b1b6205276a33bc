/**
 * Receipts of fetched segments. They come with segments, from the loader and the warm first request, and go out with the next heartbeat of
 * their play, which is how the service knows that what was heard was also fetched. One play may be fetched before it is heard (the next song),
 * and be opened anew while it is heard, so they wait here under the play's id. Pure: no network, no player.
 */

/** The response header; the service exposes it to pages. */
export const RECEIPT_HEADER = 'antiphon-receipt';
/** The service takes so many in a post, and none that is longer. */
export const MAX_RECEIPTS = 64;
const MAX_CHARS = 96;
/** Plays that wait: the one that is heard, the next, and some that were prepared and never heard. */
const MAX_PLAYS = 8;
/** Of one play: an hour of segments that nobody has heard yet. */
const MAX_WAITING = 600;

export class Receipts {
  /** By play, the one that was fetched for last at the end. */
  #waiting = new Map<string, Set<string>>();

  add(play: string, receipt: string | null | undefined): void {
    if (!receipt || receipt.length > MAX_CHARS) return;
    const waiting = this.#waiting.get(play) ?? new Set();
    this.#waiting.delete(play);
    this.#waiting.set(play, waiting);
    if (waiting.size < MAX_WAITING) waiting.add(receipt);
    for (const name of this.#waiting.keys()) {
      if (this.#waiting.size <= MAX_PLAYS) break;
      this.#waiting.delete(name);
    }
  }

  /** Hands over what fits into one post, the oldest first. What is left goes with the next heartbeat. */
  take(play: string): string[] {
    const waiting = this.#waiting.get(play);
    if (!waiting) return [];
    const taken = [...waiting].slice(0, MAX_RECEIPTS);
    for (const receipt of taken) waiting.delete(receipt);
    if (waiting.size === 0) this.#waiting.delete(play);
    return taken;
  }
}
