import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Heartbeats } from './heartbeats';
import { Receipts } from './receipts';
import type { Unkept } from './store';

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal('document', { visibilityState: 'visible' });
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

it('a play beats as its manifest says, less often while the service asks for it, and not while paused', async () => {
  const kept: Unkept[] = [];
  const courier = { askedEveryMs: null as number | null, keep: async (event: Unkept) => void kept.push(event) };
  let position = 0;
  const play = new Heartbeats(
    { ticket: 't', heartbeat_every_ms: 15_000, duration_ms: 600_000, start_ms: 0, position_ms: () => position, muted: () => false, receipts: () => [] },
    courier,
  );
  const listen = async (ms: number) => {
    position += ms;
    await vi.advanceTimersByTimeAsync(ms);
    return kept.splice(0).map(({ event }) => event.kind);
  };
  play.start();
  expect(await listen(45_000)).toEqual(['start', 'progress', 'progress', 'progress']);
  courier.askedEveryMs = 45_000;
  expect(await listen(15_000)).toEqual(['progress']); // it was on its way
  expect(await listen(90_000)).toEqual(['progress', 'progress']);
  courier.askedEveryMs = null;
  expect(await listen(75_000)).toEqual(['progress', 'progress', 'progress']);
  play.pause();
  expect(await listen(60_000)).toEqual(['pause']);
});

it('receipts go out once, with the first event after their segments came, and with the last words of a page', async () => {
  const kept: Unkept[] = [];
  const receipts = new Receipts();
  const play = new Heartbeats(
    { ticket: 't', heartbeat_every_ms: 15_000, duration_ms: 600_000, start_ms: 0, position_ms: () => 0, muted: () => false, receipts: () => receipts.take('p') },
    { askedEveryMs: null, keep: async (event) => void kept.push(event) },
  );
  receipts.add('p', 'r0');
  receipts.add('other', 'x0');
  play.start();
  play.pause();
  receipts.add('p', 'r1');
  receipts.add('p', 'r2');
  play.resume();
  receipts.add('p', 'r3');
  const last = play.lastWords(false);
  expect(kept.map(({ event, receipts }) => [event.kind, receipts])).toEqual([
    ['start', ['r0']],
    ['pause', undefined],
    ['resume', ['r1', 'r2']],
    ['stop', ['r3']],
  ]);
  expect(last).toEqual(kept.slice(-1));
});
