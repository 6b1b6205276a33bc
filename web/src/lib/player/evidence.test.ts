import { afterEach, expect, it, vi } from 'vitest';
import { cmcd, nextObject, recallDataSaver, rememberDataSaver } from './evidence';

const evidence = { throughput_kbps: null, buffer_ms: 0, dataSaver: false };

afterEach(() => vi.unstubAllGlobals());

it('says what was measured, in the steps and the order of CTA-5004', () => {
  expect(cmcd({ ...evidence, throughput_kbps: 25_360, buffer_ms: 21_349 })).toBe('bl=21300,mtp=25400');
});

it('says nothing of a throughput that nobody measured, and never that there is none', () => {
  expect(cmcd(evidence)).toBe('bl=0');
  expect(cmcd({ ...evidence, throughput_kbps: 12 })).toBe('bl=0,mtp=100');
});

it('asks for little where data is to be saved', () => {
  expect(cmcd({ ...evidence, dataSaver: true, throughput_kbps: 8_000 })).toBe('bl=0,mtp=8000,rtp=100');
});

it('names the segment that comes next, beside the one it is asked with', () => {
  expect(nextObject('/v1/media/tok/aac-128/5.m4s')).toBe('nor="6.m4s"');
  expect(nextObject('http://edge.test/v1/media/tok/aac-128/99.m4s?x=1')).toBe('nor="100.m4s"');
  expect(nextObject('/v1/media/tok/aac-128/init.mp4')).toBeNull();
});

it("follows the browser's data saver until the listener says otherwise", () => {
  const memory = new Map<string, string>();
  vi.stubGlobal('localStorage', { getItem: (key: string) => memory.get(key) ?? null, setItem: (key: string, value: string) => memory.set(key, value) });
  vi.stubGlobal('navigator', { connection: { saveData: true } });
  expect(recallDataSaver()).toBe(true);
  rememberDataSaver(false);
  expect(recallDataSaver()).toBe(false);
});
