import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Manifest } from '../types';
import { Warm } from './warm';

const MEDIA = '/v1/media/tok';
const manifest = {
  playlist_url: `${MEDIA}/index.m3u8`,
  multivariant_playlist: '#EXTM3U\n#multivariant',
  allowed: ['aac-64', 'aac-128'],
  lossless: null,
  first: {
    rung: 'aac-128',
    url: `${MEDIA}/aac-128/first.mp4`,
    init_bytes: 3,
    init_url: `${MEDIA}/aac-128/init.mp4`,
    segment_url: `${MEDIA}/aac-128/0.m4s`,
    media_playlist: '#EXTM3U\naac-128/0.m4s\naac-128/1.m4s',
  },
} as unknown as Manifest;
const fromTheStart = { start_ms: 0, lossless: false };

/** A network that answers with `answer`, and notes what it was asked. */
function network(answer: () => Promise<Response>) {
  const asked: { path: string; signal: AbortSignal }[] = [];
  vi.stubGlobal('fetch', (url: string, { signal }: { signal: AbortSignal }) => {
    asked.push({ path: new URL(url).pathname, signal });
    return answer();
  });
  return asked;
}

const bytes = (...values: number[]) => async () => new Response(new Uint8Array(values));
const payload = async (warm: Warm, name: string) => {
  const arrived = await warm.take(`http://localhost${MEDIA}/${name}`);
  return arrived?.payload instanceof ArrayBuffer ? [...new Uint8Array(arrived.payload)] : arrived?.payload;
};

afterEach(() => vi.unstubAllGlobals());

describe('a song from the start', () => {
  it('is one request: the playlists are there, and init section and segment are cut from one object', async () => {
    const asked = network(bytes(1, 2, 3, 4, 5));
    const warm = new Warm(manifest, fromTheStart);
    expect(asked.map(({ path }) => path)).toEqual([`${MEDIA}/aac-128/first.mp4`]);
    expect(await payload(warm, 'index.m3u8')).toBe('#EXTM3U\n#multivariant');
    expect(await payload(warm, 'aac-128.m3u8')).toBe('#EXTM3U\naac-128/0.m4s\naac-128/1.m4s');
    expect(await payload(warm, 'aac-64.m3u8')).toBe('#EXTM3U\naac-64/0.m4s\naac-64/1.m4s');
    expect(warm.take(`${MEDIA}/aac-256.m3u8`)).toBeUndefined();
    expect(await payload(warm, 'aac-128/init.mp4')).toEqual([1, 2, 3]);
    expect(await payload(warm, 'aac-128/0.m4s')).toEqual([4, 5]);
    expect(asked).toHaveLength(1);
  });

  it('hands each part over once: what is asked for again comes from the network', async () => {
    network(bytes(1, 2, 3, 4));
    const warm = new Warm(manifest, fromTheStart);
    await payload(warm, 'aac-128/0.m4s');
    expect(warm.take(`${MEDIA}/aac-128/0.m4s`)).toBeUndefined();
    expect(warm.take(`${MEDIA}/aac-256/0.m4s`)).toBeUndefined();
  });

  it.each([
    ['refused', async () => new Response('no', { status: 404 })],
    ['lost', () => Promise.reject(new TypeError('network'))],
    ['cut short', bytes(1, 2, 3)],
  ])('gives nothing for an object that is %s, so that both parts are asked for as usual', async (_how, answer) => {
    network(answer);
    const warm = new Warm(manifest, fromTheStart);
    expect(await payload(warm, 'aac-128/init.mp4')).toBeNull();
    expect(await payload(warm, 'aac-128/0.m4s')).toBeNull();
  });

  it('asks for init section and segment apart where a server does not join them', async () => {
    const asked = network(bytes(9));
    const { url, init_bytes, ...first } = manifest.first ?? ({} as never);
    const warm = new Warm({ ...manifest, first, multivariant_playlist: undefined }, fromTheStart);
    expect(asked.map(({ path }) => path)).toEqual([`${MEDIA}/aac-128/init.mp4`, `${MEDIA}/aac-128/0.m4s`]);
    expect(warm.take(`${MEDIA}/index.m3u8`)).toBeUndefined();
    expect([url, init_bytes]).toEqual([`${MEDIA}/aac-128/first.mp4`, 3]);
  });
});

it('a song resumed in its middle has no use for its first segment', () => {
  const asked = network(bytes(1));
  const warm = new Warm(manifest, { start_ms: 61_000, lossless: false });
  expect(asked.map(({ path }) => path)).toEqual([`${MEDIA}/aac-128/init.mp4`]);
  expect(warm.take(`${MEDIA}/aac-128/0.m4s`)).toBeUndefined();
});

it('lossless begins with an object of its own', () => {
  const asked = network(bytes(1));
  new Warm({ ...manifest, lossless: 'flac' }, { start_ms: 0, lossless: true });
  expect(asked).toEqual([]);
});

it('a request that hangs is given up, so that it can be made again', async () => {
  vi.spyOn(AbortSignal, 'timeout').mockReturnValue(AbortSignal.abort(new DOMException('late', 'TimeoutError')));
  vi.stubGlobal('fetch', async (_url: string, { signal }: { signal: AbortSignal }) => signal.throwIfAborted());
  expect(await payload(new Warm(manifest, fromTheStart), 'aac-128/init.mp4')).toBeNull();
  vi.restoreAllMocks();
});

it('a song that is left is no longer fetched', () => {
  const asked = network(() => new Promise(() => undefined));
  const warm = new Warm(manifest, fromTheStart);
  warm.cancel();
  expect(asked[0]?.signal.aborted).toBe(true);
  expect(warm.take(`${MEDIA}/aac-128/0.m4s`)).toBeUndefined();
});

it('the receipt of a segment that was fetched ahead is handed on, once', async () => {
  const receipts: (string | null)[] = [];
  network(async () => new Response(new Uint8Array([1, 2, 3, 4]), { headers: { 'antiphon-receipt': 'a receipt' } }));
  const warm = new Warm(manifest, fromTheStart, (receipt) => void receipts.push(receipt));
  await payload(warm, 'aac-128/init.mp4');
  await payload(warm, 'aac-128/0.m4s');
  expect(receipts).toEqual(['a receipt']);
});
