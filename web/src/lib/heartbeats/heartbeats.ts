/**
 * Heartbeats of one play: where the player's doings become events. The player tells what happens; the meter says what was heard; the
 * courier keeps and carries it. A play that goes on by itself beats every `heartbeat_every_ms`, or less often while the service asks for it.
 */
import { bases } from '../bases';
import { Courier, type Outside, type Reply } from './courier';
import { Meter, type Circumstances, type PlayEvent } from './meter';
import { openStore, type Unkept } from './store';

const PATH = '/v1/me/play-event';
const POST_TIMEOUT_MS = 10_000;

export interface Watched {
  ticket: string;
  heartbeat_every_ms: number;
  duration_ms: number;
  start_ms: number;
  position_ms(): number;
  muted(): boolean;
  /** Receipts of segments fetched for the play that no event took along yet. */
  receipts(): string[];
}

export class Heartbeats {
  readonly #meter: Meter;
  readonly #sender = randomName();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #over = false;

  constructor(
    private readonly play: Watched,
    private readonly courier: Pick<Courier, 'keep' | 'askedEveryMs'>,
  ) {
    this.#meter = new Meter(play.start_ms, play.duration_ms);
  }

  start(): void {
    this.#report('start');
    this.#beat();
  }

  pause(): void {
    clearTimeout(this.#timer);
    this.#report('pause');
  }

  resume(): void {
    this.#report('resume');
    this.#beat();
  }

  seek(left_ms: number, landed_ms: number): void {
    if (!this.#over) this.#keep(this.#meter.seek(left_ms, landed_ms, this.#now()));
  }

  /** The listener went on to something else. Nothing follows. */
  stop(): void {
    this.#finish('stop');
  }

  /** The song was heard to its end. Nothing follows. */
  end(): void {
    this.#finish('end');
  }

  /**
   * The page goes away: the last interval, for the beacon. It is kept too; if both arrive they count once. A page that may come back
   * (the browser's back-forward cache) has not stopped.
   */
  lastWords(mayComeBack: boolean): Unkept[] {
    if (this.#over) return [];
    const events = this.#meter.take(mayComeBack ? 'progress' : 'stop', this.play.position_ms(), this.#now());
    this.#over = !mayComeBack;
    return this.#keep(events);
  }

  #finish(kind: 'stop' | 'end'): void {
    if (this.#over) return;
    clearTimeout(this.#timer);
    this.#report(kind);
    this.#over = true;
  }

  #beat(): void {
    clearTimeout(this.#timer);
    const everyMs = Math.max(this.play.heartbeat_every_ms, this.courier.askedEveryMs ?? 0);
    this.#timer = setTimeout(() => {
      this.#report('progress');
      this.#beat();
    }, everyMs);
  }

  #report(kind: Exclude<PlayEvent['kind'], 'seek'>): void {
    if (!this.#over) this.#keep(this.#meter.take(kind, this.play.position_ms(), this.#now()));
  }

  #keep(events: PlayEvent[]): Unkept[] {
    const kept = events.map((event) => {
      const receipts = this.play.receipts();
      return { ticket: this.play.ticket, sender: this.#sender, event, ...(receipts.length > 0 ? { receipts } : {}) };
    });
    for (const event of kept) void this.courier.keep(event);
    return kept;
  }

  #now(): Circumstances {
    return { muted: this.play.muted(), background: document.visibilityState === 'hidden' };
  }
}

/** The page's one courier. It starts at once: events of an earlier page may wait. */
export async function startCourier(): Promise<Courier> {
  const courier = new Courier(await openStore(), page);
  addEventListener('online', () => void courier.flush());
  void courier.flush();
  return courier;
}

/** A closing page may only start requests that need no answer. */
export function sendLastWords(bodies: string[]): void {
  const url = bases.origin() + PATH;
  for (const body of bodies) {
    const sent = navigator.sendBeacon?.(url, new Blob([body], { type: 'application/json' }));
    if (!sent) void post(bases.current, body, true).catch(() => undefined);
  }
}

const page: Outside = {
  post: (base, body) => post(base, body, false),
  bases: () => {
    const other = bases.other(bases.current);
    return other ? [bases.current, other] : [bases.current];
  },
  random: Math.random,
  now: () => Date.now(),
  alone: async (work) => {
    if (!navigator.locks) return await work();
    await navigator.locks.request('antiphon.heartbeats', work);
  },
  warn: (message, detail) => console.warn(message, detail ?? ''),
};

async function post(base: 'edge' | 'gateway', body: string, keepalive: boolean): Promise<Reply> {
  let answer: Response;
  try {
    answer = await fetch(bases.origin(base) + PATH, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
      keepalive,
      credentials: 'omit',
      signal: keepalive ? null : AbortSignal.timeout(POST_TIMEOUT_MS),
    });
  } catch (error) {
    bases.failed(base);
    throw error;
  }
  const retryAfter = Number(answer.headers.get('retry-after'));
  return {
    status: answer.status,
    retryAfterS: Number.isFinite(retryAfter) && retryAfter > 0 ? retryAfter : null,
    body: ((await answer.json().catch(() => ({}))) as Reply['body']) ?? {},
  };
}

function randomName(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
