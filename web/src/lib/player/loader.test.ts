import Hls, { type HlsConfig, type Loader, type LoaderCallbacks, type LoaderConfiguration, type LoaderContext, type LoaderStats } from 'hls.js/light';
import { beforeEach, expect, it, vi } from 'vitest';
import { bases } from '../bases';
import { loaderFor } from './loader';
import type { Arrived, Warm } from './warm';

const [EDGE, GATEWAY] = [bases.edge, 'http://gateway.test'];
const SEGMENT = '/v1/media/tok/aac-128/3.m4s';

type Sent = { url: string; headers: Record<string, string> };
/** What was asked of the network, and what it answers: bytes, or the status of a failure (0 for none at all). */
let sent: Sent[] = [];
let answers: Record<string, ArrayBuffer | string | number> = {};

/** hls.js's own loader, with the network replaced by `answers`. */
class Network implements Loader<LoaderContext> {
  context: LoaderContext | null = null;
  stats = { aborted: false, loaded: 0, retry: 0, total: 0, chunkCount: 0, bwEstimate: 0, loading: { start: 0, first: 0, end: 0 } } as LoaderStats;
  load(context: LoaderContext, _config: LoaderConfiguration, callbacks: LoaderCallbacks<LoaderContext>): void {
    sent.push({ url: context.url, headers: context.headers ?? {} });
    const answer = answers[new URL(context.url).origin] ?? 0;
    if (typeof answer === 'number') callbacks.onError({ code: answer, text: 'no' }, context, null, this.stats);
    else callbacks.onSuccess({ url: context.url, data: answer, code: 200 }, this.stats, context, request);
  }
  abort(): void {}
  destroy(): void {}
}

/** What hls.js hands on of the request that brought a segment. */
const request = { getResponseHeader: (name: string) => (name === 'antiphon-receipt' ? 'a receipt' : null) } as XMLHttpRequest;
const nothingWarm = { take: () => undefined } as unknown as Warm;

function load(context: Record<string, unknown>, warm = nothingWarm, onReceipt = (_receipt: string | null) => {}): Promise<unknown> {
  const loader = new (loaderFor(warm, onReceipt))({} as HlsConfig);
  const whole = { url: EDGE + SEGMENT, responseType: 'arraybuffer', ...context } as unknown as LoaderContext;
  return new Promise((resolve) =>
    loader.load(whole, { loadPolicy: {} } as LoaderConfiguration, {
      onSuccess: ({ data }) => resolve(data),
      onError: ({ code }) => resolve(code),
      onTimeout: () => resolve('timeout'),
    }),
  );
}

const warmWith = (payload: Arrived['payload']) => ({ take: async () => ({ payload, started: 1, first: 2, ended: 3 }) }) as unknown as Warm;
const bytes = new Uint8Array([1, 2]).buffer;

beforeEach(() => {
  vi.spyOn(console, 'warn').mockImplementation(() => undefined);
  Hls.DefaultConfig.loader = Network as never;
  sent = [];
  answers = { [EDGE]: bytes, [GATEWAY]: bytes };
  bases.learn(`${GATEWAY}/v1/media/tok/index.m3u8`);
  if (bases.current === 'gateway') bases.failed('gateway');
});

it('what is here already is not asked for', async () => {
  expect(await load({}, warmWith(bytes))).toBe(bytes);
  expect(sent).toEqual([]);
});

it('what did not arrive ahead is asked for as usual', async () => {
  expect(await load({}, warmWith(null))).toBe(bytes);
  expect(sent.map(({ url }) => url)).toEqual([EDGE + SEGMENT]);
});

it.each([0, 502, 503])('a base that answers %i costs one request: the other is asked, and stays', async (status) => {
  answers[EDGE] = status;
  expect(await load({})).toBe(bytes);
  expect(await load({})).toBe(bytes);
  expect(sent.map(({ url }) => new URL(url).origin)).toEqual([EDGE, GATEWAY, GATEWAY]);
});

it('a gateway that dies gives way to the edge again', async () => {
  bases.failed('edge');
  answers[GATEWAY] = 0;
  expect(await load({})).toBe(bytes);
  expect(bases.current).toBe('edge');
});

it('a refusal is an answer: nobody else is asked', async () => {
  answers[EDGE] = 403;
  expect(await load({})).toBe(403);
  expect(sent).toHaveLength(1);
});

it('hls.js hears of a failure only when both bases failed', async () => {
  answers = { [EDGE]: 0, [GATEWAY]: 503 };
  expect(await load({})).toBe(503);
});

it('the edge is told which segment comes next, the gateway and the last segment are not', async () => {
  await load({ frag: { endList: false } });
  await load({ frag: { endList: true } });
  bases.failed('edge');
  await load({ frag: { endList: false } });
  expect(sent.map(({ headers }) => headers['cmcd-request'])).toEqual(['nor="4.m4s"', undefined, undefined]);
});

it('the receipt of a segment is handed on, from whichever base brought it; a playlist has none', async () => {
  const receipts: (string | null)[] = [];
  const onReceipt = (receipt: string | null) => void receipts.push(receipt);
  await load({ frag: { endList: true } }, nothingWarm, onReceipt);
  answers[EDGE] = 503;
  await load({ frag: { endList: true } }, nothingWarm, onReceipt);
  await load({ type: 'level', responseType: 'text' }, nothingWarm, onReceipt);
  answers[GATEWAY] = 404;
  await load({ frag: { endList: true } }, nothingWarm, onReceipt);
  expect(receipts).toEqual(['a receipt', 'a receipt']);
});

it('a multivariant playlist is narrowed to one pathway, from wherever it came', async () => {
  const variants = ['edge', 'gateway'].map((pathway) => `#EXT-X-STREAM-INF:BANDWIDTH=1,PATHWAY-ID="${pathway}"\n${pathway}.m3u8`);
  const text = ['#EXTM3U', ...variants].join('\n');
  answers[EDGE] = text;
  const asked = { url: `${EDGE}/v1/media/tok/index.m3u8`, responseType: 'text', type: 'manifest' };
  for (const warm of [nothingWarm, warmWith(text)]) expect(await load(asked, warm)).not.toContain('gateway.m3u8');
});
