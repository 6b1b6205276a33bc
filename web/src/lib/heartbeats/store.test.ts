import 'fake-indexeddb/auto';
import { describe, expect, it } from 'vitest';
import { IdbStore, MemoryStore, type EventStore, type Unkept } from './store';

const event = (seq: number): Unkept => ({
  ticket: 't',
  sender: 's',
  event: { seq, kind: 'progress', from_ms: 0, to_ms: 1, muted: false, background: false },
});
const seqs = async (store: EventStore, limit = 100) => (await store.oldest(limit)).map((kept) => kept.event.seq);

let databases = 0;
const stores: [string, (bound?: number) => Promise<EventStore>][] = [
  ['memory', async (bound) => new MemoryStore(bound)],
  ['IndexedDB', async (bound) => await IdbStore.open(`test-${databases++}`, bound)],
];

describe.each(stores)('the %s store', (_name, open) => {
  it('gives events back in the order they came', async () => {
    const store = await open();
    for (const seq of [0, 1, 2, 3]) await store.add(event(seq));
    expect(await seqs(store)).toEqual([0, 1, 2, 3]);
    expect(await seqs(store, 2)).toEqual([0, 1]);
  });

  it('keeps the receipts of an event with it', async () => {
    const store = await open();
    await store.add({ ...event(0), receipts: ['r0', 'r1'] });
    expect((await store.oldest(1)).map((kept) => kept.receipts)).toEqual([['r0', 'r1']]);
  });

  it('forgets just what was acknowledged', async () => {
    const store = await open();
    const { id } = await store.add(event(0));
    await store.add(event(1));
    await store.remove([id]);
    expect(await seqs(store)).toEqual([1]);
  });

  it('drops the oldest beyond its bound and says how many', async () => {
    const store = await open(3);
    const dropped = [];
    for (const seq of [0, 1, 2, 3, 4]) dropped.push((await store.add(event(seq))).dropped);
    expect(dropped).toEqual([0, 0, 0, 1, 1]);
    expect(await seqs(store)).toEqual([2, 3, 4]);
    expect(await store.count()).toBe(3);
  });
});

describe('the IndexedDB store', () => {
  it('still has its events after the page is gone', async () => {
    await (await IdbStore.open('reloaded')).add(event(7));
    expect(await seqs(await IdbStore.open('reloaded'))).toEqual([7]);
  });
});
