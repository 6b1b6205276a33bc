import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Courier, posts, type Outside, type Reply } from './courier';
import { MemoryStore, type Kept } from './store';

const kept = (seq: number, ticket = 't', sender = 's'): Omit<Kept, 'id'> => ({
  ticket,
  sender,
  event: { seq, kind: 'progress', from_ms: 0, to_ms: 1, muted: false, background: false },
});
const ok = (body: Reply['body'] = {}): Reply => ({ status: 202, retryAfterS: null, body });

/** A service that answers what it is told to, in turn, and then 202. */
function scene(...answers: (Reply | 'down')[]) {
  const sent: { base: string; body: { ticket: string; sender: string; events: { seq: number }[] } }[] = [];
  const warnings: string[] = [];
  const outside: Outside = {
    async post(base, body) {
      sent.push({ base, body: JSON.parse(body) });
      const answer = answers.shift() ?? ok();
      if (answer === 'down') throw new TypeError('Failed to fetch');
      return answer;
    },
    bases: () => ['edge', 'gateway'],
    random: () => 1,
    now: () => Date.now(),
    alone: (work) => work(),
    warn: (message) => warnings.push(message),
  };
  const store = new MemoryStore(10);
  return { sent, warnings, store, courier: new Courier(store, outside) };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe('the courier', () => {
  it('removes an event only once the service has it', async () => {
    const { courier, store, sent } = scene('down', 'down');
    await courier.keep(kept(0));
    expect(await store.count()).toBe(1);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await store.count()).toBe(0);
    expect(sent.map((s) => s.base)).toEqual(['edge', 'gateway', 'edge']);
  });

  it('goes to the gateway when the edge cannot be reached or has lost its origin', async () => {
    for (const answer of ['down', { status: 503, retryAfterS: null, body: {} }] as const) {
      const { courier, store, sent } = scene(answer);
      await courier.keep(kept(0));
      expect(sent.map((s) => s.base)).toEqual(['edge', 'gateway']);
      expect(await store.count()).toBe(0);
    }
  });

  it('waits as long as the service asks, and longer each time it fails', async () => {
    const full = { status: 429, retryAfterS: 5, body: {} };
    const { courier, sent } = scene(full, 'down', 'down', 'down', 'down');
    await courier.keep(kept(0));
    await vi.advanceTimersByTimeAsync(4_999);
    expect(sent).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1); // second failure: 2 s
    expect(sent).toHaveLength(3);
    await vi.advanceTimersByTimeAsync(2_000); // third: 4 s
    expect(sent).toHaveLength(5);
    await vi.advanceTimersByTimeAsync(3_999);
    expect(sent).toHaveLength(5);
    await vi.advanceTimersByTimeAsync(1);
    expect(sent).toHaveLength(6);
  });

  it('keeps the wait the service asked for, whatever wakes it, and takes nothing to the gateway that the edge is too full for', async () => {
    const full = { status: 503, retryAfterS: 30, body: { code: 'buffer_full' } };
    const { courier, sent, store } = scene(full);
    await courier.keep(kept(0));
    expect(sent.map((s) => s.base)).toEqual(['edge']);
    await vi.advanceTimersByTimeAsync(29_000);
    await courier.flush(); // "online"
    expect(sent).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1_000);
    expect([sent.length, await store.count()]).toEqual([2, 0]);
  });

  it('tells how often the service wants plays to beat, until it no longer does', async () => {
    const { courier } = scene(ok({ heartbeat_every_ms: 45_000 }), ok());
    await courier.keep(kept(0));
    expect(courier.askedEveryMs).toBe(45_000);
    await courier.keep(kept(1));
    expect(courier.askedEveryMs).toBeNull();
  });

  it('sends what waited in one post, in order', async () => {
    const { courier, sent } = scene('down', 'down');
    for (const seq of [0, 1, 2]) await courier.keep(kept(seq));
    await vi.advanceTimersByTimeAsync(1_000);
    expect(sent.at(-1)?.body.events.map((e) => e.seq)).toEqual([0, 1, 2]);
  });

  it('lets go of rejected events and of those whose ticket is over', async () => {
    const rejected = scene(ok({ accepted: 0, rejected: [{ index: 0, code: 'interval_too_long', detail: '' }] }));
    await rejected.courier.keep(kept(0));
    expect([await rejected.store.count(), rejected.courier.refused]).toEqual([0, 1]);

    const expired = scene({ status: 401, retryAfterS: null, body: { code: 'ticket_expired' } });
    await expired.courier.keep(kept(0));
    expect([await expired.store.count(), expired.courier.refused]).toEqual([0, 1]);
  });

  it('finds the one unreadable event and keeps it from blocking the rest', async () => {
    const bad = { status: 400, retryAfterS: null, body: { code: 'bad_body' } };
    const { courier, store, sent } = scene('down', 'down', bad, ok(), bad, bad, ok());
    for (const seq of [0, 1, 2, 3]) await courier.keep(kept(seq));
    await vi.advanceTimersByTimeAsync(1_000);
    expect(sent.slice(2).map((s) => s.body.events.map((e) => e.seq))).toEqual([[0, 1, 2, 3], [0, 1], [2, 3], [2], [3]]);
    expect([await store.count(), courier.refused]).toEqual([0, 1]);
  });

  it('says which play must stop', async () => {
    const { courier } = scene(ok({ stop: 'elsewhere' }));
    const stopped = vi.fn();
    courier.onStop = stopped;
    await courier.keep(kept(0, 'ticket-7'));
    expect(stopped).toHaveBeenCalledWith('ticket-7');
  });

  it('counts what it had to drop', async () => {
    const { courier, warnings } = scene(...Array(2).fill('down'));
    for (let seq = 0; seq < 12; seq++) await courier.keep(kept(seq));
    expect(courier.dropped).toBe(2);
    expect(warnings.some((w) => w.includes('2 play events dropped'))).toBe(true);
  });

  it('has the last words of a closing page ready without reading the store', async () => {
    const { courier } = scene('down', 'down');
    await courier.keep(kept(0));
    const [body] = courier.lastWords([kept(1)]);
    expect(JSON.parse(body ?? '').events.map((e: { seq: number }) => e.seq)).toEqual([0, 1]);
  });
});

describe('receipts', () => {
  const withReceipts = (seq: number, ...receipts: string[]) => ({ ...kept(seq), receipts });

  it('go with their events until the service has both, also from an earlier page', async () => {
    const { courier, store, sent } = scene('down', 'down');
    await store.add(withReceipts(0, 'r0', 'r1'));
    await courier.keep(kept(1));
    await courier.keep(withReceipts(2, 'r2'));
    expect(await store.count()).toBe(3);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(sent.at(-1)?.body).toMatchObject({ receipts: ['r0', 'r1', 'r2'] });
    expect(await store.count()).toBe(0);
  });

  it('are left out of a post that has none', async () => {
    const { courier, sent } = scene();
    await courier.keep(kept(0));
    expect(sent[0]?.body).not.toHaveProperty('receipts');
  });

  it('are 64 in a post at most', () => {
    const rows = Array.from({ length: 5 }, (_, id) => ({ ...withReceipts(id, ...Array.from({ length: 30 }, (_, n) => `r${id}.${n}`)), id }));
    expect(posts(rows).map((post) => post.rows.map((row) => row.id))).toEqual([[0, 1], [2, 3], [4]]);
  });

  it('are among the last words of a closing page', () => {
    const { courier } = scene();
    expect(courier.lastWords([withReceipts(0, 'r0')]).map((body) => JSON.parse(body).receipts)).toEqual([['r0']]);
  });
});

describe('posts', () => {
  it('never mixes plays or senders, and stays within 200 events', () => {
    const rows = Array.from({ length: 450 }, (_, seq) => ({ ...kept(seq, seq % 2 ? 'a' : 'b'), id: seq }));
    const cut = posts(rows);
    expect(cut.map((p) => p.rows.length).sort()).toEqual([200, 200, 25, 25].sort());
    for (const post of cut) expect(new Set(post.rows.map((r) => r.ticket)).size).toBe(1);
  });
});
