import { expect, it } from 'vitest';
import { volumeFor } from './loudness';

it('turns a loud track down by its gain and never turns one up', () => {
  expect(volumeFor(1, -6.02)).toBeCloseTo(0.5, 3);
  expect(volumeFor(0.5, 4)).toBe(0.5);
  expect(volumeFor(0.5, null)).toBe(0.5);
  expect(volumeFor(0, -3)).toBe(0);
});
