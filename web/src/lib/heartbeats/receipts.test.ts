import { expect, it } from 'vitest';
import { MAX_RECEIPTS, Receipts } from './receipts';

const numbered = (count: number) => Array.from({ length: count }, (_, n) => `1.1.${n}.0.1.tag`);

it('hands each receipt over once, to its own play', () => {
  const receipts = new Receipts();
  for (const receipt of ['a', 'b', 'a']) receipts.add('one', receipt);
  receipts.add('two', 'c');
  expect([receipts.take('one'), receipts.take('one'), receipts.take('two'), receipts.take('three')]).toEqual([['a', 'b'], [], ['c'], []]);
});

it('hands over what fits into one post, and the rest next time', () => {
  const receipts = new Receipts();
  for (const receipt of numbered(MAX_RECEIPTS + 3)) receipts.add('one', receipt);
  expect(receipts.take('one')).toEqual(numbered(MAX_RECEIPTS));
  expect(receipts.take('one')).toEqual(numbered(MAX_RECEIPTS + 3).slice(-3));
});

it('keeps nothing that is none, and no more than it may', () => {
  const receipts = new Receipts();
  for (const none of [null, undefined, '', 'x'.repeat(97)]) receipts.add('one', none);
  expect(receipts.take('one')).toEqual([]);
  for (const receipt of numbered(5_000)) receipts.add('one', receipt);
  let taken = 0;
  for (let some = receipts.take('one'); some.length > 0; some = receipts.take('one')) taken += some.length;
  expect(taken).toBe(600);
});

it('forgets plays that were prepared and never heard, the longest ago first', () => {
  const receipts = new Receipts();
  for (let play = 0; play < 9; play++) receipts.add(`play ${play}`, 'r');
  receipts.add('play 1', 's');
  receipts.add('play 9', 'r');
  expect(['play 0', 'play 1', 'play 2', 'play 9'].map((play) => receipts.take(play))).toEqual([[], ['r', 's'], [], ['r']]);
});
