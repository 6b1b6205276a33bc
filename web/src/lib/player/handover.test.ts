import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Handover, isEnding, type Playhead } from './handover';

const at = (currentTime: number, paused = false): Playhead => ({ duration: 100, currentTime, paused, playbackRate: 1 });

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it('the next song begins when this one ends, told by the clock and told once', () => {
  const begin = vi.fn();
  const handover = new Handover();
  const heard = at(99.7);
  handover.watch(heard, begin);
  heard.currentTime = 99.9;
  handover.watch(heard, begin);
  vi.advanceTimersByTime(270);
  expect(begin).not.toHaveBeenCalled();
  heard.currentTime = 99.98;
  vi.advanceTimersByTime(10_000);
  expect(begin).toHaveBeenCalledTimes(1);
});

it.each([
  ['mid-song', at(50)],
  ['a song that is paused', at(99.9, true)],
  ['a song of unknown length', { ...at(99.9), duration: Number.NaN }],
])('%s sets no time', (_which, heard) => {
  const handover = new Handover();
  handover.watch(heard, () => undefined);
  expect(vi.getTimerCount()).toBe(0);
});

it('a seek or a pause in the last moment keeps the song, and its end is watched again', () => {
  const begin = vi.fn();
  const handover = new Handover();
  const heard = at(99.7);
  handover.watch(heard, begin);
  heard.currentTime = 20;
  vi.advanceTimersByTime(1_000);
  heard.currentTime = 99.8;
  handover.watch(heard, begin);
  heard.currentTime = 99.9;
  Object.assign(heard, { paused: true });
  vi.advanceTimersByTime(1_000);
  expect(begin).not.toHaveBeenCalled();
  Object.assign(heard, { paused: false, currentTime: 99.99 });
  handover.watch(heard, begin);
  vi.advanceTimersByTime(1_000);
  expect(begin).toHaveBeenCalledTimes(1);
});

it('a song that another replaced does not begin the next', () => {
  const begin = vi.fn();
  const handover = new Handover();
  handover.watch(at(99.99), begin);
  handover.cancel();
  vi.advanceTimersByTime(1_000);
  expect(begin).not.toHaveBeenCalled();
});

it('only a playing song in its last moment is ending', () => {
  expect([at(99.95), at(99.8), at(99.99, true)].map(isEnding)).toEqual([true, false, false]);
});
