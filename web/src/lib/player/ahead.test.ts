import { expect, it } from 'vitest';
import { Ahead, isNear } from './ahead';

class Song {
  closed = false;
  constructor(readonly id: string) {}
  close(): void {
    this.closed = true;
  }
}

/** An `Ahead` whose songs arrive when the test says so. */
function setUp() {
  const asked: string[] = [];
  const arrive = new Map<string, (song: Song | Error) => void>();
  const signals = new Map<string, AbortSignal>();
  const ahead = new Ahead<Song>((id, signal) => {
    asked.push(id);
    signals.set(id, signal);
    return new Promise((resolve, reject) => arrive.set(id, (song) => (song instanceof Song ? resolve(song) : reject(song))));
  });
  return { ahead, asked, arrive: (id: string, song: Song | Error) => arrive.get(id)?.(song), signals };
}

const settled = () => new Promise((resolve) => setTimeout(resolve));

it('a song is asked for once, however often its turn comes nearer, and handed over ready', async () => {
  const { ahead, asked, arrive } = setUp();
  ahead.prepare('b');
  ahead.prepare('b');
  arrive('b', new Song('b'));
  await settled();
  const taken = ahead.take('b');
  expect(asked).toEqual(['b']);
  expect(taken?.ready).toBe(true);
  expect((await taken?.arriving)?.closed).toBe(false);
  expect(ahead.take('b')).toBeNull();
});

it('a song whose turn comes before it has arrived is waited for, not asked for again', async () => {
  const { ahead, arrive } = setUp();
  ahead.prepare('b');
  const taken = ahead.take('b');
  expect(taken?.ready).toBe(false);
  arrive('b', new Song('b'));
  expect(await taken?.arriving).toMatchObject({ id: 'b', closed: false });
});

it('another song than the one prepared closes it, wherever it was', async () => {
  const { ahead, arrive, signals } = setUp();
  const [ready, late] = [new Song('b'), new Song('c')];
  ahead.prepare('b');
  arrive('b', ready);
  await settled();
  expect(ahead.take('x')).toBeNull();
  ahead.prepare('c');
  ahead.prepare('d');
  expect(signals.get('c')?.aborted).toBe(true);
  arrive('c', late);
  await settled();
  expect([ready.closed, late.closed]).toEqual([true, true]);
});

it('a song that cannot be made ready is left to its turn', async () => {
  const { ahead, asked, arrive } = setUp();
  ahead.prepare('b');
  arrive('b', new Error('the network is away'));
  await settled();
  ahead.prepare('b');
  const taken = ahead.take('b');
  expect(asked).toEqual(['b']);
  expect(taken?.ready).toBe(false);
  expect(await taken?.arriving).toBeNull();
});

it.each([
  ['mid-song', 60_000, 200_000, false],
  ['ten seconds before the end, all of it here', 190_500, 200_000, true],
  ['ten seconds before the end, its own end still to come', 190_500, 195_000, false],
  ['at the very end, whatever is here', 197_000, 198_000, true],
])('%s', (_where, position_ms, buffered_ms, near) => {
  expect(isNear({ position_ms, buffered_ms, duration_ms: 200_000 })).toBe(near);
});

it('a song of unknown length has no end to be near to', () => {
  expect(isNear({ position_ms: 0, buffered_ms: 0, duration_ms: 0 })).toBe(false);
});
