/**
 * The sides of the comparison, each a way to begin a play. Ours asks the real `protocol::choose` through `bench choose`, with the evidence
 * that our player and the edge have; nothing of it is written again here.
 */
import { spawnSync } from 'node:child_process';
import { Clock } from './clock.js';
import { Random } from './random.js';
import { RUNGS, song } from './media.js';
import { Player } from './player.js';
import { trace } from './traces.js';

const EVERY_RUNG = RUNGS.map((rung) => rung.name);
/** The loader of our page waits this long for a first byte before it turns to the gateway (web/src/lib/player/source.ts). */
const FIRST_BYTE_TIMEOUT_MS = 6000;
/** A song may take this long with all its stalls. */
const PATIENCE_MS = 900_000;
/** An hour later the same network is a little different. */
const MEMORY_NOISE = 0.15;
/** What a seed is moved by for the play before. */
const EARLIER = 100_000;

const STOCK = { rungs: EVERY_RUNG, start: null, joined: false };

/** Plays the song once and tells what was heard. */
export function play(connection, media, start) {
  const clock = new Clock();
  const player = new Player(clock, connection, media, start);
  player.play();
  clock.run(PATIENCE_MS, () => player.heard.ended);
  const { startup_ms, stalls, stalled_ms, switches, kbit, ended } = player.heard;
  const measured_kbps = player.bandwidth_bps === null ? null : player.bandwidth_bps / 1000;
  return { startup_ms: startup_ms ?? PATIENCE_MS, stalls, stalled_ms, switches, kbps: kbit / Math.max(1, player.buffered_s), ended, measured_kbps };
}

/**
 * Every side on every seed of one trace.
 * @returns {Record<string, object[]>}
 */
export function sides(name, seeds, bench) {
  const each = (side) => seeds.map((seed) => side(seed, trace(name, seed), song(seed)));
  const first = choices(bench, each((seed, connection) => ({ cmcd: '', round_trip_ms: connection.rttAt(0) })));
  const later = choices(bench, each((seed, connection, media) => ({ cmcd: remembered(name, seed, media), round_trip_ms: connection.rttAt(0) })));
  const ours = (choices) => each((seed, connection, media) => play(connection, media, choices[seeds.indexOf(seed)]));
  return {
    'stock hls.js': each((seed, connection, media) => play(connection, media, STOCK)),
    'fixed 128': each((seed, connection, media) => play(connection, media, { ...STOCK, rungs: ['aac-128'] })),
    'ours, first play': ours(first),
    'ours, later play': ours(later),
  };
}

/** What our player says at the next manifest: the throughput it measured on the play before, an hour ago, rounded as CTA-5004 wants. */
function remembered(name, seed, media) {
  const { measured_kbps } = play(trace(name, seed + EARLIER), media, STOCK);
  if (measured_kbps === null) return '';
  const noisy = measured_kbps * Math.exp(new Random('memory', name, seed).normal() * MEMORY_NOISE);
  return `mtp=${Math.max(100, Math.round(noisy / 100) * 100)}`;
}

/** Asks the real choice, one line of evidence each, and makes of each answer the way our player begins. */
function choices(bench, evidence) {
  const input = evidence.map((line) => JSON.stringify({ ...line, round_trip_ms: Math.round(line.round_trip_ms) })).join('\n');
  const { status, stdout, stderr } = spawnSync(bench, ['choose'], { input, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${bench} choose failed: ${stderr}`);
  const answers = stdout.trim().split('\n').map((line) => JSON.parse(line));
  if (answers.length !== evidence.length) throw new Error(`${bench} choose answered ${answers.length} of ${evidence.length} lines`);
  return answers.map(({ start, allowed }, n) => ({
    rungs: allowed, start, joined: true, first_byte_timeout_ms: FIRST_BYTE_TIMEOUT_MS,
    estimate_bps: Number(/mtp=(\d+)/.exec(evidence[n].cmcd)?.[1] ?? 0) * 1000 || undefined,
  }));
}
