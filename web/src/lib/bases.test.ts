import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Bases } from './bases';

const EDGE = 'http://edge.test';
const GATEWAY = 'http://gateway.test:8080';

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(console, 'warn').mockImplementation(() => undefined);
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

function taught(): Bases {
  const bases = new Bases(EDGE, null);
  bases.learn(`${GATEWAY}/v1/media/token/index.m3u8`);
  return bases;
}

describe('the bases', () => {
  it('have nowhere to turn before a manifest has named the gateway', () => {
    const bases = new Bases(EDGE, null);
    bases.failed('edge');
    expect([bases.current, bases.other('edge')]).toEqual(['edge', null]);
  });

  it('give any of the common paths at either base, and leave other addresses alone', () => {
    const bases = taught();
    expect(bases.at('gateway', '/v1/media/t/aac-128/3.m4s?a=b')).toBe(`${GATEWAY}/v1/media/t/aac-128/3.m4s?a=b`);
    expect(bases.at('edge', `${GATEWAY}/v1/media/t/index.m3u8`)).toBe(`${EDGE}/v1/media/t/index.m3u8`);
    expect(bases.at('gateway', 'https://elsewhere.test/v1/x')).toBe('https://elsewhere.test/v1/x');
    expect(bases.at('gateway', '/favicon.svg')).toBe(`${EDGE}/favicon.svg`);
  });

  it('remember the gateway across a reload', () => {
    const stored = new Map<string, string>();
    const memory = { getItem: (key: string) => stored.get(key) ?? null, setItem: (key: string, value: string) => void stored.set(key, value) };
    new Bases(EDGE, memory).learn(`${GATEWAY}/v1/media/t/index.m3u8`);
    expect(new Bases(EDGE, memory).gateway).toBe(GATEWAY);
  });

  it('turn to the gateway when the edge fails, once, and back when the edge lives again', async () => {
    const bases = taught();
    const turns: string[] = [];
    bases.subscribe((base) => turns.push(base));
    const alive = vi.fn().mockRejectedValueOnce(new TypeError('down')).mockResolvedValue({ ok: true });
    vi.stubGlobal('fetch', alive);
    bases.failed('edge');
    bases.failed('edge'); // a second request that was under way
    expect(turns).toEqual(['gateway']);
    await vi.advanceTimersByTimeAsync(15_000);
    expect(bases.current).toBe('gateway');
    await vi.advanceTimersByTimeAsync(15_000);
    expect(turns).toEqual(['gateway', 'edge']);
    expect(alive.mock.calls.map(([url]) => url)).toEqual([`${EDGE}/healthz`, `${EDGE}/healthz`]);
  });
});
