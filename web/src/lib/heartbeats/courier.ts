/**
 * Carries kept events to the service until each is acknowledged: accepted, known as a duplicate, or refused for good.
 * Events come from the store, go to POST /v1/me/play-event at the edge, else at the gateway, and leave the store only on its answer.
 * Sending twice is harmless: (play, sender, seq) names an event.
 */
import type { BaseName } from '../bases';
import { MAX_RECEIPTS } from './receipts';
import type { EventStore, Kept, Unkept } from './store';

/** The service takes 200 events and 64 KiB; the ticket and sender are counted with the events. */
const MAX_EVENTS = 200;
const MAX_BODY_BYTES = 60 * 1024;
/** Read from the store at once: several plays may wait in it. */
const READ_AHEAD = 400;
/** The whole post was refused for what is in it. */
const UNREADABLE = new Set([400, 413, 422]);
/** The ticket is refused, or the play is over. */
const OVER = new Set([401, 403, 410]);
const FIRST_DELAY_MS = 1_000;
const MAX_DELAY_MS = 60_000;

export interface Reply {
  status: number;
  retryAfterS: number | null;
  body: Partial<{ accepted: number; duplicate: number; rejected: { index: number; code: string; detail: string }[]; stop: string | null; heartbeat_every_ms: number; code: string }>;
}

/** Powers of the page, handed in so that tests can take their place. */
export interface Outside {
  /** Rejects when the base cannot be reached. */
  post(base: BaseName, body: string): Promise<Reply>;
  bases(): BaseName[];
  random(): number;
  /** ms, of any origin. */
  now(): number;
  /** Runs `work` while no other tab of this browser does the same. */
  alone(work: () => Promise<void>): Promise<void>;
  warn(message: string, detail?: unknown): void;
}

export interface Post {
  ticket: string;
  sender: string;
  rows: Kept[];
}

type Verdict = 'settled' | 'later';

export class Courier {
  /** Events lost because more than the bound were waiting: shown in the console, never silent. */
  dropped = 0;
  /** Events the service refused for good. */
  refused = 0;
  onStop: (ticket: string) => void = () => undefined;
  /** How often the service wants plays to beat while it is filling up; null when it has no wish. */
  askedEveryMs: number | null = null;

  #failures = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #flushing: Promise<void> | null = null;
  #again = false;
  /** Until when the service asked to be left alone. */
  #quietUntil = 0;
  /** What this page has not seen acknowledged: a closing page has no time to read IndexedDB. */
  #fresh: Kept[] = [];

  constructor(
    private readonly store: EventStore,
    private readonly outside: Outside,
  ) {}

  async keep(event: Unkept): Promise<void> {
    const { id, dropped } = await this.store.add(event);
    if (dropped > 0) {
      this.dropped += dropped;
      this.outside.warn(`antiphon: ${this.dropped} play events dropped, too many wait unsent`);
    }
    this.#fresh.push({ ...event, id });
    if (this.#fresh.length > MAX_EVENTS) this.#fresh.shift();
    if (this.#failures === 0) await this.flush();
  }

  /** Sends everything that waits; one flush at a time, and one more when asked meanwhile. */
  flush(): Promise<void> {
    if (this.#flushing) {
      this.#again = true;
      return this.#flushing;
    }
    // Whatever wakes the courier (the network came back, a page began), a wait that the service asked for is kept.
    if (this.outside.now() < this.#quietUntil) return Promise.resolve();
    clearTimeout(this.#timer);
    const flushing = this.outside
      .alone(() => this.#drain())
      .catch((error) => void this.#postpone(null, error))
      .finally(() => {
        this.#flushing = null;
        if (!this.#again) return;
        this.#again = false;
        if (this.#failures === 0) void this.flush();
      });
    this.#flushing = flushing;
    return flushing;
  }

  /** The bodies to hand to sendBeacon when the page goes away, newest play first. */
  lastWords(extra: Unkept[] = []): string[] {
    const rows = [...this.#fresh, ...extra.map((event) => ({ ...event, id: -1 }))];
    return posts(rows).reverse().map(bodyOf);
  }

  async #drain(): Promise<void> {
    for (;;) {
      const waiting = await this.store.oldest(READ_AHEAD);
      if (waiting.length === 0) return;
      for (const post of posts(waiting)) {
        if ((await this.#send(post)) === 'later') return;
      }
    }
  }

  async #send(post: Post): Promise<Verdict> {
    let reply: Reply | null = null;
    let trouble: unknown = null;
    for (const base of this.outside.bases()) {
      try {
        reply = await this.outside.post(base, bodyOf(post));
        // Full is an answer, and no failure of this base: the other one must not get what this one cannot take.
        if (reply.status < 500 || reply.body.code === 'buffer_full') break;
      } catch (error) {
        trouble = error;
      }
    }
    if (!reply) return this.#postpone(null, trouble);
    return await this.#settle(post, reply);
  }

  async #settle(post: Post, reply: Reply): Promise<Verdict> {
    if (reply.status >= 200 && reply.status < 300) {
      this.#failures = 0;
      this.askedEveryMs = reply.body.heartbeat_every_ms ?? null;
      for (const { index, code, detail } of reply.body.rejected ?? []) {
        this.refused += 1;
        this.outside.warn(`antiphon: play event ${post.rows[index]?.event.seq} refused: ${code}`, detail);
      }
      await this.#forget(post.rows);
      if (reply.body.stop === 'elsewhere') this.onStop(post.ticket);
      return 'settled';
    }
    if (UNREADABLE.has(reply.status)) return await this.#bisect(post, reply);
    if (OVER.has(reply.status)) {
      // The ticket is over: these events can never count. Keeping them would block the queue.
      this.refused += post.rows.length;
      this.outside.warn(`antiphon: ${post.rows.length} play events refused: ${reply.body.code ?? reply.status}`);
      await this.#forget(post.rows);
      return 'settled';
    }
    return this.#postpone(reply.retryAfterS, reply.status);
  }

  /** A body that cannot be read: halve it until the one bad event stands alone, and let that one go. */
  async #bisect(post: Post, reply: Reply): Promise<Verdict> {
    if (post.rows.length > 1) {
      const middle = post.rows.length >> 1;
      for (const rows of [post.rows.slice(0, middle), post.rows.slice(middle)]) {
        if ((await this.#send({ ...post, rows })) === 'later') return 'later';
      }
      return 'settled';
    }
    this.refused += post.rows.length;
    this.outside.warn(`antiphon: a play event refused: ${reply.body.code ?? reply.status}`, post.rows);
    await this.#forget(post.rows);
    return 'settled';
  }

  async #forget(rows: readonly Kept[]): Promise<void> {
    const ids = rows.map((row) => row.id);
    await this.store.remove(ids);
    const gone = new Set(ids);
    this.#fresh = this.#fresh.filter((row) => !gone.has(row.id));
  }

  #postpone(retryAfterS: number | null, why: unknown): Verdict {
    const backoff = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** this.#failures);
    // Half of it at random, so that players who lost one edge do not come back as one.
    const delay = Math.max((retryAfterS ?? 0) * 1000, backoff * (0.5 + this.outside.random() / 2));
    this.#failures += 1;
    if (retryAfterS !== null) this.#quietUntil = this.outside.now() + delay;
    this.outside.warn(`antiphon: play events wait ${Math.round(delay)} ms`, why);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.flush(), delay);
    return 'later';
  }
}

/** Rows cut into posts: one ticket and sender each, within the service's limits, in order. */
export function posts(rows: readonly Kept[]): Post[] {
  const open = new Map<string, { post: Post; bytes: number; receipts: number }>();
  const all: Post[] = [];
  for (const row of rows) {
    const name = `${row.sender} ${row.ticket}`;
    const receipts = row.receipts?.length ?? 0;
    const size = JSON.stringify([row.event, row.receipts ?? []]).length;
    let current = open.get(name);
    const isFull = (at: NonNullable<typeof current>) =>
      at.post.rows.length >= MAX_EVENTS || at.receipts + receipts > MAX_RECEIPTS || at.bytes + size > MAX_BODY_BYTES;
    if (!current || isFull(current)) {
      current = { post: { ticket: row.ticket, sender: row.sender, rows: [] }, bytes: name.length + 64, receipts: 0 };
      open.set(name, current);
      all.push(current.post);
    }
    current.post.rows.push(row);
    current.bytes += size;
    current.receipts += receipts;
  }
  return all;
}

export function bodyOf(post: Post): string {
  const events = post.rows.map((row) => row.event);
  const receipts = post.rows.flatMap((row) => row.receipts ?? []);
  return JSON.stringify({ ticket: post.ticket, sender: post.sender, events, ...(receipts.length > 0 ? { receipts } : {}) });
}
