import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Handover, isEnding, type Playhead } from './handover';

const at = (currentTime: number, paused = false): Playhead => ({ duration: 100, currentTime, paused, playbackRate: 1 });

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it('the next song begins when this one ends, told by the clock and told once', () => {
  const begin = vi.fn();
  const handover = new Handover();
  const heard = at(99.7);
  handover.moves(heard, 0, begin);
  heard.currentTime = 99.9;
  handover.moves(heard, 0, begin);
  vi.advanceTimersByTime(240);
  expect(begin).not.toHaveBeenCalled();
  heard.currentTime = 99.95;
  vi.advanceTimersByTime(10_000);
  expect(begin).toHaveBeenCalledTimes(1);
});

it('it is ahead by what the song before took from being told to play to being heard', () => {
  const handover = new Handover();
  const heard = at(0);
  handover.starts(heard, 1_000);
  heard.currentTime = 0.02; // a clock that has just begun to move tells nothing
  handover.moves(heard, 1_025, null);
  heard.currentTime = 0.4;
  handover.moves(heard, 1_520, null);
  const begin = vi.fn();
  heard.currentTime = 99.8;
  handover.moves(heard, 100_000, begin);
  vi.advanceTimersByTime(79);
  expect(begin).not.toHaveBeenCalled();
  vi.advanceTimersByTime(2);
  expect(begin).toHaveBeenCalledTimes(1);
});

it('nothing begins where nothing is ready', () => {
  new Handover().moves(at(99.9), 0, null);
  expect(vi.getTimerCount()).toBe(0);
});

it.each([
  ['mid-song', at(50)],
  ['a song that is paused', at(99.9, true)],
  ['a song of unknown length', { ...at(99.9), duration: Number.NaN }],
])('%s sets no time', (_which, heard) => {
  const handover = new Handover();
  handover.moves(heard, 0, () => undefined);
  expect(vi.getTimerCount()).toBe(0);
});

it('a seek or a pause in the last moment keeps the song, and its end is watched again', () => {
  const begin = vi.fn();
  const handover = new Handover();
  const heard = at(99.7);
  handover.moves(heard, 0, begin);
  heard.currentTime = 20;
  vi.advanceTimersByTime(1_000);
  heard.currentTime = 99.8;
  handover.moves(heard, 0, begin);
  heard.currentTime = 99.9;
  Object.assign(heard, { paused: true });
  vi.advanceTimersByTime(1_000);
  expect(begin).not.toHaveBeenCalled();
  Object.assign(heard, { paused: false, currentTime: 99.99 });
  handover.moves(heard, 0, begin);
  vi.advanceTimersByTime(1_000);
  expect(begin).toHaveBeenCalledTimes(1);
});

it('a song that another replaced does not begin the next', () => {
  const begin = vi.fn();
  const handover = new Handover();
  handover.moves(at(99.99), 0, begin);
  handover.cancel();
  vi.advanceTimersByTime(1_000);
  expect(begin).not.toHaveBeenCalled();
});

it('only a playing song in its last moment is ending', () => {
  expect([at(99.95), at(99.7), at(99.99, true)].map(isEnding)).toEqual([true, false, false]);
});
