import { expect, it } from 'vitest';
import { clock, hue, money, rungName, spoken } from './format';

it('writes times as people read and hear them', () => {
  expect([0, 61_500, 3_600_000, -5].map(clock)).toEqual(['0:00', '1:01', '1:00:00', '0:00']);
  expect([1_000, 61_000, 120_000].map(spoken)).toEqual(['1 second', '1 minute 1 second', '2 minutes 0 seconds']);
});

it('shows a fraction of a cent only where it is the whole of it', () => {
  const digits = (micros: number) => money({ micros, currency: 'EUR' }).replace(/[^0-9.,-]/g, '').replace(',', '.');
  expect([4_123_456, 1_200, 0, 500_000].map(digits)).toEqual(['4.12', '0.0012', '0.00', '0.50']);
});

it('names rungs and gives every id a steady hue', () => {
  expect(['aac-128', 'flac'].map(rungName)).toEqual(['AAC 128 kbit/s', 'FLAC lossless']);
  expect(hue('019ab000-0000-7000-8000-000000000001')).toBe(hue('019ab000-0000-7000-8000-000000000001'));
  expect(new Set(Array.from({ length: 20 }, (_, n) => hue(`019ab000-0000-7000-8000-0000000000${n + 10}`))).size).toBeGreaterThan(15);
});
