/** The song: as the packager cuts it (a first segment of about 2 s, then 6 s) and as large as its three AAC rungs are. */
import { Random } from './random.js';

export const RUNGS = [
  { name: 'aac-64', kbps: 64 },
  { name: 'aac-128', kbps: 128 },
  { name: 'aac-256', kbps: 256 },
];

/** Sizes of the other answers, bytes, as measured on a song of this length. */
export const BYTES = { multivariant: 1500, media_playlist: 1700, manifest_json: 6000, init: 720 };
/** What the edge ponders, ms: a decision with its signatures, and an object or playlist out of its cache (docs/performance.md, rounded up). */
export const SERVER_MS = { decide: 2, object: 2 };

const FIRST_S = 2;
const NEXT_S = 6;
const SONG_S = 212;
/** `moof` of a segment. */
const HEAD_BYTES = 1200;
/** `BANDWIDTH` is the measured peak, `AVERAGE-BANDWIDTH` the measured average. */
const PEAK = 1.1;

export function song(seed) {
  const random = new Random('song', seed);
  const durations_s = [FIRST_S];
  for (let left_s = SONG_S - FIRST_S; left_s > 0; left_s -= NEXT_S) durations_s.push(Math.min(NEXT_S, left_s));
  // A loud passage is large on every rung.
  const loudness = durations_s.map(() => Math.min(PEAK, Math.exp(random.normal() * 0.04)));
  const rungs = RUNGS.map((rung) => ({
    ...rung,
    average_bps: rung.kbps * 1000,
    peak_bps: rung.kbps * 1000 * PEAK,
    segment_bytes: durations_s.map((duration_s, n) => Math.round(HEAD_BYTES + (duration_s * rung.kbps * 1000 * loudness[n]) / 8)),
  }));
  return { durations_s, rungs, duration_s: SONG_S };
}
