/**
 * The next song, made ready while this one ends. Comes from the queue by way of the player; what is ready is taken when its turn comes, and
 * closed when another song's turn comes instead.
 */

/** A song is made ready when this much of the one before is left. */
const AHEAD_MS = 10_000;
/** The song that plays comes first. Only this close to its end may the next be fetched beside it. */
const BESIDE_MS = 4_000;
/** Playlists and buffers round. */
const SLACK_MS = 250;

export interface Closable {
  close(): void;
}

interface Prepared<T> {
  id: string;
  arriving: Promise<T | null>;
  /** It has arrived: taking it takes no time. */
  ready: boolean;
  leaving: AbortController;
}

export class Ahead<T extends Closable> {
  #prepared: Prepared<T> | null = null;

  /** `open` makes a song ready; it must look at the signal after each wait and throw once it is aborted. */
  constructor(private readonly open: (id: string, signal: AbortSignal) => Promise<T>) {}

  /** Once a song: one that failed is asked for again only when its turn comes. */
  prepare(id: string): void {
    if (this.#prepared?.id === id) return;
    this.drop();
    const leaving = new AbortController();
    const prepared: Prepared<T> = { id, leaving, ready: false, arriving: Promise.resolve(null) };
    prepared.arriving = this.open(id, leaving.signal).then(
      (song) => {
        prepared.ready = true;
        return song;
      },
      () => null,
    );
    this.#prepared = prepared;
  }

  /** Hands the song over, if it is the one that was prepared; drops it if it is not. */
  take(id: string): Pick<Prepared<T>, 'arriving' | 'ready'> | null {
    const prepared = this.#prepared;
    if (prepared?.id !== id) {
      this.drop();
      return null;
    }
    this.#prepared = null;
    return prepared;
  }

  /** Whether a song waits that could begin now. */
  get ready(): boolean {
    return this.#prepared?.ready ?? false;
  }

  drop(): void {
    const prepared = this.#prepared;
    this.#prepared = null;
    prepared?.leaving.abort();
    void prepared?.arriving.then((song) => song?.close());
  }
}

/** Whether the next song's turn is near enough. */
export function isNear(now: { position_ms: number; buffered_ms: number; duration_ms: number }): boolean {
  const left_ms = now.duration_ms - now.position_ms;
  if (now.duration_ms <= 0 || left_ms > AHEAD_MS) return false;
  return now.buffered_ms >= now.duration_ms - SLACK_MS || left_ms <= BESIDE_MS;
}
