/** The simulator does what can be worked out by hand, and the same twice. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RUNGS, song } from '../src/media.js';
import { Connection } from '../src/network.js';
import { table } from '../src/report.js';
import { play } from '../src/sides.js';
import { SHAPES, Trace, trace } from '../src/traces.js';

const EVERY_RUNG = RUNGS.map((rung) => rung.name);
const STOCK = { rungs: EVERY_RUNG, start: null, joined: false };
const OURS = { rungs: EVERY_RUNG, start: 'aac-128', joined: true };
const near = (actual, expected) => assert.ok(Math.abs(actual - expected) < 0.01, `${actual} is not ${expected}`);

/** One rung, 2 s in 30,000 bytes and 6 s in 90,000. */
const small = {
  durations_s: [2, 6],
  duration_s: 8,
  rungs: [{ name: 'aac-128', kbps: 128, average_bps: 128_000, peak_bps: 128_000, segment_bytes: [30_000, 90_000] }],
};

/** 800 kbit/s, which is 100 bytes a millisecond, 100 ms away. */
const steady = () => new Trace([800], [100]);

test('a start takes as long as its requests: three after each other for a stock player, two for ours', () => {
  // 102 ms to the first byte of each; 15 + 17 + 300 ms of bytes, the init section beside the segment; 5 ms to append.
  near(play(steady(), small, STOCK).startup_ms, 102 + 15 + 102 + 17 + 102 + 300 + 5);
  // 60 + 307.2 ms of bytes.
  near(play(steady(), small, OURS).startup_ms, 102 + 60 + 102 + 307.2 + 5);
});

test('far away, slow start costs a round trip for each window', () => {
  // 14,600 bytes at once, then nothing until a round trip has passed since they began; 29,200 after that.
  const far = new Connection(new Trace([8000], [600]));
  near(far.request(0, 30_000, 0).end_ms, 600 + 600 + 15.4);
  // A window that was not filled does not grow: the next answer finds what this one left.
  near(far.request(1300, 1000, 0).end_ms, 1300 + 600 + 1);
  near(far.request(2000, 43_801, 0).end_ms, 2000 + 600 + 600 + 14.601);
});

test('an outage stalls the song until what was lost is sent again', () => {
  const tunnel = new Trace([800, 800, ...Array(16).fill(0), 800], [100]);
  const heard = play(tunnel, small, OURS);
  // Playing from 576.2 with 2 s in hand. The second segment begins to come at 678.2 and has 32,180 bytes at 1000, when the tunnel begins.
  // It ends at 9000, but what is sent again at 2000, 4000 and 8000 is lost; at 16,000 it gets through, and 57,820 bytes follow.
  assert.equal(heard.stalls, 1);
  near(heard.stalled_ms, 16_000 + 578.2 + 5 - 2576.2);
  assert.equal(heard.ended, true);
});

test("hls.js's own rate adaptation finds the rung that a slow connection carries, and the one a fast one does", () => {
  const media = song(1);
  assert.equal(play(new Trace([90_000], [20]), media, STOCK).kbps, 256);
  const slow = play(new Trace([110], [100]), media, STOCK);
  assert.ok(slow.ended && slow.kbps < 80 && slow.switches > 0, JSON.stringify(slow));
});

test('the same seed gives the same table, another seed another', () => {
  const run = (seeds) => {
    const plays = Object.keys(SHAPES).map((name) => {
      const each = (start) => seeds.map((seed) => play(trace(name, seed), song(seed), start));
      return [name, { 'stock hls.js': each(STOCK), 'ours, first play': each(OURS) }];
    });
    return table(Object.fromEntries(plays), seeds.length);
  };
  assert.equal(run([1, 2]), run([1, 2]));
  assert.notEqual(run([1, 2]), run([1, 3]));
});
