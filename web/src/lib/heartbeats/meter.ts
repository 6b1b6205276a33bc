/**
 * What was heard, as numbers. A meter follows one play in one player: it is told where the playhead is whenever something happens, and
 * answers with the event that says which media was heard since the event before. Pure: no clock, no player, no network.
 */

export type EventKind = 'start' | 'progress' | 'pause' | 'resume' | 'seek' | 'stop' | 'end';

/** One event of POST /v1/me/play-event. `[from_ms, to_ms)` is the media heard since the sender's last event; equal where nothing was. */
export interface PlayEvent {
  seq: number;
  kind: EventKind;
  from_ms: number;
  to_ms: number;
  muted: boolean;
  background: boolean;
}

export interface Circumstances {
  muted: boolean;
  background: boolean;
}

/** The service takes no longer interval in one event. Reached only where a browser froze the page's timers and let the music play. */
const MAX_INTERVAL_MS = 600_000;

export class Meter {
  #seq = 0;
  /** Everything before this is reported. */
  #reported_ms: number;
  readonly #duration_ms: number;

  constructor(start_ms: number, duration_ms: number) {
    this.#duration_ms = Math.max(0, Math.round(duration_ms));
    this.#reported_ms = this.#clamp(start_ms);
  }

  /** The events for a playhead that moved on by playing alone. A playhead behind what is reported was moved by something else: nothing was heard. */
  take(kind: Exclude<EventKind, 'seek'>, position_ms: number, now: Circumstances): PlayEvent[] {
    return this.#until(kind, position_ms, now);
  }

  /** A seek ends the interval where the playhead left, and begins the next where it lands. */
  seek(left_ms: number, landed_ms: number, now: Circumstances): PlayEvent[] {
    const events = this.#until('seek', left_ms, now);
    this.#reported_ms = this.#clamp(landed_ms);
    return events;
  }

  /** Usually one event; more where the interval is longer than one may be. */
  #until(kind: EventKind, position_ms: number, now: Circumstances): PlayEvent[] {
    const to_ms = Math.max(this.#reported_ms, this.#clamp(position_ms));
    const events: PlayEvent[] = [];
    while (to_ms - this.#reported_ms > MAX_INTERVAL_MS) events.push(this.#event('progress', this.#reported_ms + MAX_INTERVAL_MS, now));
    events.push(this.#event(kind, to_ms, now));
    return events;
  }

  #event(kind: EventKind, to_ms: number, now: Circumstances): PlayEvent {
    const from_ms = this.#reported_ms;
    this.#reported_ms = to_ms;
    return { seq: this.#seq++, kind, from_ms, to_ms, muted: now.muted, background: now.background };
  }

  #clamp(ms: number): number {
    if (!Number.isFinite(ms)) return 0;
    return Math.min(this.#duration_ms, Math.max(0, Math.round(ms)));
  }
}
