/**
 * Events that no service has acknowledged yet, oldest first. They live in IndexedDB, so that a reload, a crash or a night without
 * network loses none; where the browser has no IndexedDB (some private modes) they live as long as the page.
 */
import type { PlayEvent } from './meter';

export interface Kept {
  /** Order of arrival; given by the store. */
  id: number;
  ticket: string;
  sender: string;
  event: PlayEvent;
  /** Of segments fetched since the event before: they go where the event goes, and are forgotten with it. */
  receipts?: string[];
}

export type Unkept = Omit<Kept, 'id'>;

export interface EventStore {
  /** Keeps the event and answers how many of the oldest had to go to stay within the bound. */
  add(event: Unkept): Promise<{ id: number; dropped: number }>;
  /** The oldest `limit` events. */
  oldest(limit: number): Promise<Kept[]>;
  remove(ids: readonly number[]): Promise<void>;
  count(): Promise<number>;
}

/** A listener who is away from any network this long has other troubles: 5,000 events are about 20 hours of play. */
export const MAX_KEPT = 5_000;

export class MemoryStore implements EventStore {
  #kept: Kept[] = [];
  #next = 1;

  constructor(private readonly bound = MAX_KEPT) {}

  async add(event: Unkept): Promise<{ id: number; dropped: number }> {
    const id = this.#next++;
    this.#kept.push({ ...event, id });
    const dropped = Math.max(0, this.#kept.length - this.bound);
    this.#kept.splice(0, dropped);
    return { id, dropped };
  }

  async oldest(limit: number): Promise<Kept[]> {
    return this.#kept.slice(0, limit);
  }

  async remove(ids: readonly number[]): Promise<void> {
    const gone = new Set(ids);
    this.#kept = this.#kept.filter((event) => !gone.has(event.id));
  }

  async count(): Promise<number> {
    return this.#kept.length;
  }
}

const TABLE = 'events';

export class IdbStore implements EventStore {
  private constructor(
    private readonly db: IDBDatabase,
    private readonly bound: number,
  ) {}

  static async open(name = 'antiphon', bound = MAX_KEPT): Promise<IdbStore> {
    const opening = indexedDB.open(name, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(TABLE, { keyPath: 'id', autoIncrement: true });
    return new IdbStore(await answer(opening), bound);
  }

  async add(event: Unkept): Promise<{ id: number; dropped: number }> {
    const transaction = this.db.transaction(TABLE, 'readwrite');
    const events = transaction.objectStore(TABLE);
    const id = (await answer(events.add(event))) as number;
    const surplus = Math.max(0, (await answer(events.count())) - this.bound);
    if (surplus > 0) {
      for (const key of await answer(events.getAllKeys(null, surplus))) events.delete(key);
    }
    await done(transaction);
    return { id, dropped: surplus };
  }

  async oldest(limit: number): Promise<Kept[]> {
    return await answer(this.db.transaction(TABLE).objectStore(TABLE).getAll(null, limit));
  }

  async remove(ids: readonly number[]): Promise<void> {
    const transaction = this.db.transaction(TABLE, 'readwrite');
    for (const id of ids) transaction.objectStore(TABLE).delete(id);
    await done(transaction);
  }

  async count(): Promise<number> {
    return await answer(this.db.transaction(TABLE).objectStore(TABLE).count());
  }
}

export async function openStore(): Promise<EventStore> {
  try {
    return await IdbStore.open();
  } catch (error) {
    console.warn('antiphon: no IndexedDB, unsent play events will not outlive this page', error);
    return new MemoryStore();
  }
}

function answer<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function done(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
    transaction.onerror = () => reject(transaction.error);
  });
}
